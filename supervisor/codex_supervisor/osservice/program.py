"""What the service is to run, and with what environment: found once, at install time.

A service manager starts us with hardly any environment, so the PATH of the shell that installs is what Codex and its
commands are found on; and the places that were chosen by environment variables stay chosen.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from codex_control.errors import BadConfig

# Where things are; never secrets: unit files are open to all.
_KEPT = (
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "CODEX_HOME",
    "CODEX_SUPERVISOR_CONFIG",
    "CODEX_SUPERVISOR_STATE_DIR",
    "CODEX_SUPERVISOR_RUNTIME_DIR",
)
_KEPT_SWITCHES = ("CODEX_SUPERVISOR_DEMO",)
# What login shells have at the least (Debian's /etc/profile, macOS's /etc/paths).
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")


@dataclass(frozen=True)
class Program:
    """What the service runs. Each command is an argument vector whose first word is an absolute path."""

    supervisor: tuple[str, ...]
    ctl: tuple[str, ...]
    environment: Mapping[str, str]
    codex: str = ""
    """Where `codex` was found; empty where it was not."""


def find_program(
    argv0: str = sys.argv[0], python: str = sys.executable, environ: Mapping[str, str] = os.environ
) -> Program:
    """Find ourselves and our environment.

    The script that was started is kept as it was named, so that a link to the newest version stays one. Raises
    `BadConfig` where something holds a character that no service file can carry.
    """
    path = _search_path(environ)
    kept = {name: environ[name] for name in _KEPT if environ.get(name, "").startswith("/")}
    kept |= {name: "1" for name in _KEPT_SWITCHES if environ.get(name)}
    environment = {"PATH": path, **kept}
    found = Program(
        supervisor=_command("codex-supervisor", "codex_supervisor", argv0, python),
        ctl=_command("codexctl", "codexctl", argv0, python),
        environment=environment,
        codex=shutil.which("codex", path=path) or "",
    )
    for text in (*found.supervisor, *found.ctl, *environment.values()):
        _check_plain(text)
    return found


def codex_note(program: Program) -> str:
    """Say where Codex was found."""
    if program.codex:
        return f"Codex is {program.codex}; after a change of your PATH, install again"
    return "no codex is on your PATH: the Python package openai-codex-cli-bin is used where it is installed"


def _command(name: str, module: str, argv0: str, python: str) -> tuple[str, ...]:
    # Not resolved: links on the way (pipx, Homebrew, /usr/bin) are what an upgrade moves.
    folders: Sequence[Path] = (Path(os.path.abspath(argv0)).parent, Path(python).parent)  # noqa: PTH100 # see above
    if Path(argv0).name not in ("codex-supervisor", "codexctl"):
        folders = folders[1:]
    for folder in folders:
        if os.access(folder / name, os.X_OK) and (folder / name).is_file():
            return (str(folder / name),)
    return (python, "-m", module)


def _search_path(environ: Mapping[str, str]) -> str:
    # Relative and empty entries would mean the service's working directory.
    folders = [folder for folder in environ.get("PATH", "").split(os.pathsep) if folder.startswith("/")]
    return os.pathsep.join(dict.fromkeys((*folders, *_SYSTEM_PATH)))


def _check_plain(text: str) -> None:
    if not text.isprintable():
        raise BadConfig(
            f"{text!r} cannot be written into a service file",
            why="it holds a control character",
            next_step="rename that directory, or take it off the PATH",
        )
