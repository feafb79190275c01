"""Where the configuration, the state and the sockets are, for the supervisor and its clients alike.

Follows the XDG Base Directory Specification; macOS has no `XDG_RUNTIME_DIR`, there the sockets live in a 0700
directory under the state directory.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from codex_control.errors import BadConfig, UnsafePath

NAME = "codex-supervisor"

# sun_path holds 108 bytes on Linux with the closing NUL (unix(7)); macOS holds 104, the kernel's error then follows.
MAX_SOCKET_PATH_BYTES = 107


@dataclass(frozen=True)
class Paths:
    """The places of one user's supervisor.

    All are absolute. Nothing is created or checked until `make_private_dir` is called.
    """

    config_file: Path
    state_dir: Path
    runtime_dir: Path

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> Paths:
        """Work the places out from `HOME`, the `XDG_*` variables and the overrides `CODEX_SUPERVISOR_CONFIG`
        (a file), `CODEX_SUPERVISOR_STATE_DIR` and `CODEX_SUPERVISOR_RUNTIME_DIR`.

        Raises `BadConfig` where neither `HOME` nor the needed variable is set.
        """
        return cls(*xdg_places(environ, NAME, "CODEX_SUPERVISOR"))

    @property
    def control_socket(self) -> Path:
        """The gRPC socket."""
        return self.runtime_dir / "control.sock"

    @property
    def lock_file(self) -> Path:
        """The flock that makes the supervisor the only one of its user; it holds the holder's pid."""
        return self.runtime_dir / "supervisor.lock"

    @property
    def state_lock_file(self) -> Path:
        """A second one: the runtime directory goes at the last logout, and whoever holds the first may live on."""
        return self.state_dir / "supervisor.lock"

    @property
    def children_dir(self) -> Path:
        """Sockets of the children."""
        return self.runtime_dir / "children"

    @property
    def status_dir(self) -> Path:
        """A small file for each Claude Code session that is shown now: how its instance is, for status lines."""
        return self.runtime_dir / "status"

    @property
    def database(self) -> Path:
        """The SQLite store."""
        return self.state_dir / "supervisor.db"

    @property
    def archive_dir(self) -> Path:
        """Compressed history."""
        return self.state_dir / "archive"

    @property
    def log_dir(self) -> Path:
        """The supervisor's log and the children's error output."""
        return self.state_dir / "log"


def xdg_places(environ: Mapping[str, str], name: str, prefix: str) -> tuple[Path, Path, Path]:
    """Return the configuration file, the state directory and the runtime directory of the program `name`, whose
    variables begin with `prefix`.

    Raises `BadConfig` where neither `HOME` nor the needed variable is set.
    """
    state_dir = _absolute(environ, f"{prefix}_STATE_DIR") or (_base(environ, "XDG_STATE_HOME", ".local/state") / name)
    runtime_base = _absolute(environ, "XDG_RUNTIME_DIR")
    runtime_dir = _absolute(environ, f"{prefix}_RUNTIME_DIR") or (
        runtime_base / name if runtime_base else state_dir / "run"
    )
    config_file = _absolute(environ, f"{prefix}_CONFIG") or (
        _base(environ, "XDG_CONFIG_HOME", ".config") / name / "config.yaml"
    )
    return config_file, state_dir, runtime_dir


def _absolute(environ: Mapping[str, str], name: str) -> Path | None:
    # The XDG specification tells programs to ignore relative paths.
    value = environ.get(name, "")
    return Path(value) if value.startswith("/") else None


def _base(environ: Mapping[str, str], name: str, below_home: str) -> Path:
    base = _absolute(environ, name)
    if base is not None:
        return base
    home = _absolute(environ, "HOME")
    if home is None:
        raise BadConfig(
            what="HOME is not set",
            why="the places of the configuration and the state are found from it",
            next_step=f"set HOME, or {name}, to an absolute path",
        )
    return home / below_home


def checked_socket_path(path: Path) -> str:
    """Return `path` as text, or raise `BadConfig` where it is too long for a Unix socket."""
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH_BYTES:
        raise BadConfig(
            what=f"the socket path {path} is too long",
            why=f"it has {length} bytes, and a Unix socket's path holds {MAX_SOCKET_PATH_BYTES}",
            next_step="set CODEX_SUPERVISOR_RUNTIME_DIR to a shorter directory",
        )
    return str(path)


def make_private_dir(path: Path) -> Path:
    """Create `path` with mode 0700, or check that it is ours and private.

    What is missing above it is made with the same mode, as the XDG specification asks for its directories.

    Raises `UnsafePath` where it belongs to another user, is no directory, or others may enter it.
    """
    try:
        for directory in (*reversed(path.parents), path):
            # One by one: `parents=True` would give those above the mode that the umask leaves.
            if not directory.exists():
                directory.mkdir(mode=0o700, exist_ok=True)
        path.mkdir(exist_ok=True)
    except FileExistsError as error:
        raise UnsafePath(what=f"{path} is not a directory", next_step=f"move {path} away") from error
    except OSError as error:
        raise UnsafePath(
            what=f"{path} cannot be created", why=error.strerror or str(error), next_step="make its parent writable"
        ) from error
    check_private_dir(path)
    return path


def check_private_dir(path: Path) -> None:
    """Raise `UnsafePath` unless `path` is a directory of ours that only we may enter; symbolic links are refused."""
    status = path.lstat()
    if not stat.S_ISDIR(status.st_mode):
        raise UnsafePath(what=f"{path} is not a directory", next_step=f"move {path} away")
    if status.st_uid != os.geteuid():
        raise UnsafePath(
            what=f"{path} belongs to another user",
            why=f"its owner is uid {status.st_uid}, we are uid {os.geteuid()}",
            next_step="remove it, or point CODEX_SUPERVISOR_RUNTIME_DIR to a directory of your own",
        )
    if status.st_mode & 0o077:
        raise UnsafePath(
            what=f"{path} is open to other users",
            why=f"its mode is {stat.S_IMODE(status.st_mode):04o}",
            next_step=f"run `chmod 700 {path}`",
        )


def read_private_file(path: Path, what: str, limit_bytes: int) -> str:
    """Return the beginning, at most `limit_bytes`, of a file that holds a secret; `what` names it in errors.

    Raises `UnsafePath` where others may read it, and `OSError`.
    """
    with path.open("rb") as file:
        mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
        if mode & 0o077:
            raise UnsafePath(
                what=f"{what} can be read by other users",
                why=f"its mode is {mode:04o}",
                next_step=f"run `chmod 600 {path}`",
            )
        return file.read(limit_bytes).decode(errors="replace")
