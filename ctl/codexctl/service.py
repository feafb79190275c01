"""Is the service there, is its socket ours, and how is it started where it does not run."""

from __future__ import annotations

import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from codex_control.errors import CodexError, Exit, ServiceUnavailable, UnsafePath
from codex_control.paths import Paths, check_private_dir, checked_socket_path, make_private_dir

if TYPE_CHECKING:
    import subprocess

UNIT = "codex-supervisor.service"
# Recovery of running turns comes before readiness; beyond this something is wrong.
START_TIMEOUT_S = 30.0
_POLL_S = 0.02
_MAX_LOG_BYTES = 1 << 20
# They describe the shell that codexctl runs in, not the service.
_NOT_FOR_THE_SERVICE = ("CODEX_INSTANCE", "CLAUDE_CODE_SESSION_ID", "CODEXCTL_NO_START")
_PLACES = ("CODEX_SUPERVISOR_CONFIG", "CODEX_SUPERVISOR_STATE_DIR", "CODEX_SUPERVISOR_RUNTIME_DIR")

Notice = Callable[[str], None]

started: list[subprocess.Popen[bytes]] = []
"""Processes of the service that we started. They outlive us; a Popen that is collected before complains about that."""


def is_running(paths: Paths) -> bool:
    """Whether something of ours accepts connections on the control socket.

    Raises `UnsafePath` where the socket or its directory is not ours alone: nothing is sent there.
    """
    path = checked_socket_path(paths.control_socket)
    try:
        check_private_dir(paths.runtime_dir)
        status = paths.control_socket.lstat()
    except FileNotFoundError:
        return False
    if not stat.S_ISSOCK(status.st_mode):
        raise UnsafePath(f"{path} is not a socket", next_step=f"move {path} away")
    if status.st_uid != os.geteuid():
        raise UnsafePath(
            f"{path} belongs to another user",
            why=f"its owner is uid {status.st_uid}, we are uid {os.geteuid()}",
            next_step="remove it, or point CODEX_SUPERVISOR_RUNTIME_DIR to a directory of your own",
        )
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(START_TIMEOUT_S)
        try:
            probe.connect(path)
        except (ConnectionRefusedError, FileNotFoundError):
            return False
        except OSError as error:
            raise ServiceUnavailable(
                f"{path} cannot be reached", why=error.strerror or str(error), next_step="`codexctl doctor` says more"
            ) from error
    return True


def not_running(paths: Paths) -> ServiceUnavailable:
    """The error of a verb that needs the service and does not start it."""
    from codexctl.last_failure import last_failure, log_hint

    why = f"nothing answers on {paths.control_socket}"
    if failure := last_failure(paths):
        why += f"; {failure}"
    return ServiceUnavailable(
        "the service is not running",
        why=why,
        next_step=f"`{start_command(os.environ)}` starts it; `codexctl ask` does so by itself{log_hint(paths)}",
    )


def start_command(environ: Mapping[str, str]) -> str:
    """The command that a person would start the service with."""
    if installed_unit(environ):
        return "systemctl --user start codex-supervisor"
    if agent := installed_agent(environ):
        return f"launchctl kickstart gui/{os.getuid()}/{agent.stem}"
    # It returns when the service runs; `codex-supervisor serve` would hold the terminal.
    return "codexctl start"


def start(paths: Paths, environ: Mapping[str, str], notice: Notice, timeout_s: float = START_TIMEOUT_S) -> None:
    """Start the service and return when its socket answers.

    By the operating system's service manager where the service is installed there, else as a process of its own.
    Raises `ServiceUnavailable` with the last lines of the reason where it does not come up within `timeout_s`.
    """
    deadline = time.monotonic() + timeout_s
    explain: Callable[[bool], str | None]
    if unit := installed_unit(environ):
        notice(f"the service is not running: starting {unit.name}")
        _run_manager(["systemctl", "--user", "start", unit.name], timeout_s)
        explain = _unit_state
    elif agent := installed_agent(environ):
        notice(f"the service is not running: starting {agent.stem}")
        _run_manager(["launchctl", "kickstart", f"gui/{os.getuid()}/{agent.stem}"], timeout_s)
        explain = _no_explanation
    else:
        notice("the service is not running: starting it (codex-supervisor serve)")
        explain = _spawn(paths, environ)
    while not is_running(paths):
        late = time.monotonic() > deadline
        why = explain(late)
        if why is not None or late:
            raise ServiceUnavailable(
                "the service could not be started",
                why=why or f"nothing answers on {paths.control_socket} after {timeout_s:.0f} s",
                next_step="`codex-supervisor serve` shows in the foreground what is wrong",
            )
        time.sleep(_POLL_S)


def installed_unit(environ: Mapping[str, str]) -> Path | None:
    """The systemd user unit, where it is installed, serves our places, and a user manager runs to start it."""
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    if not _default_places(environ) or not runtime or not Path(runtime, "systemd", "private").exists():
        return None
    home = environ.get("HOME", "/")
    folders = (
        Path(environ.get("XDG_CONFIG_HOME") or f"{home}/.config", "systemd/user"),
        Path(environ.get("XDG_DATA_HOME") or f"{home}/.local/share", "systemd/user"),
        Path(runtime, "systemd/user"),
        Path("/etc/systemd/user"),
        Path("/usr/local/lib/systemd/user"),
        Path("/usr/lib/systemd/user"),
        Path("/lib/systemd/user"),
    )
    return next((folder / UNIT for folder in folders if (folder / UNIT).is_file()), None)


def installed_agent(environ: Mapping[str, str]) -> Path | None:
    """The launchd agent's plist, where it is installed and serves our places; its stem is its label."""
    folder = Path(environ.get("HOME", "/"), "Library/LaunchAgents")
    if sys.platform != "darwin" or not _default_places(environ):
        return None
    return next(iter(sorted(folder.glob("*codex-supervisor*.plist"))), None)


def _default_places(environ: Mapping[str, str]) -> bool:
    # With an override in our environment, the service manager's service would listen somewhere else.
    return not any(environ.get(name) for name in _PLACES)


def _run_manager(command: list[str], timeout_s: float) -> None:
    import subprocess

    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout_s, check=True)
    except FileNotFoundError as error:
        raise ServiceUnavailable(f"{command[0]} is not on PATH", next_step="start codex-supervisor serve") from error
    except subprocess.TimeoutExpired as error:
        raise ServiceUnavailable(
            "the service did not start", why=f"{command[0]} took more than {timeout_s:.0f} s", next_step=_LOOK
        ) from error
    except subprocess.CalledProcessError as error:
        raise ServiceUnavailable(
            "the service did not start", why=_last_lines(error.stderr or error.stdout), next_step=_LOOK
        ) from error


_LOOK = "systemctl --user status codex-supervisor (launchctl print on macOS) says more"


def _unit_state(_late: bool) -> str | None:
    import subprocess

    shown = subprocess.run(
        ["systemctl", "--user", "is-failed", UNIT], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=5
    )
    return f"{UNIT} has failed" if shown.stdout.strip() == "failed" else None


def _no_explanation(_late: bool) -> None:
    return None


def _spawn(paths: Paths, environ: Mapping[str, str]) -> Callable[[bool], str | None]:
    """Start `codex-supervisor serve` in a session of its own; the result says why it ended, None while it may come."""
    import subprocess

    program = supervisor_program(environ)
    log = make_private_dir(paths.log_dir) / "serve.log"
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "ab") as output:
        if os.fstat(output.fileno()).st_size > _MAX_LOG_BYTES:
            os.ftruncate(output.fileno(), 0)
        begin = os.fstat(output.fileno()).st_size
        process = subprocess.Popen(
            [program, "serve"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={name: value for name, value in environ.items() if name not in _NOT_FOR_THE_SERVICE},
            start_new_session=True,
            umask=0o077,
        )
    started.append(process)

    def explain(late: bool) -> str | None:
        code = process.poll()
        # Another codexctl was faster: its service holds the lock, and its socket will answer. If not, ours says whose.
        if code is None or (code == Exit.CONFLICT and not late):
            return None
        with log.open("rb") as written:
            written.seek(begin)
            return _last_lines(written.read(_MAX_LOG_BYTES).decode(errors="replace")) or f"it ended with code {code}"

    return explain


def supervisor_program(environ: Mapping[str, str]) -> str:
    """Path of `codex-supervisor`: the one installed with us, else the one on `PATH`."""
    beside = Path(sys.executable).parent / "codex-supervisor"
    if os.access(beside, os.X_OK):
        return str(beside)
    from shutil import which

    found = which("codex-supervisor", path=environ.get("PATH"))
    if found is None:
        raise ServiceUnavailable(
            "the service is not running and cannot be started",
            why="codex-supervisor is neither beside codexctl nor on PATH",
            next_step="install the package codex-supervisor again",
        )
    return found


def _last_lines(text: str, count: int = 3) -> str:
    """The error that the service ended with, with all its lines; the last few where it told none."""
    lines = [line.strip() for line in text.strip().splitlines()]
    told = max((number for number, line in enumerate(lines) if line.startswith("codex-supervisor: ")), default=-count)
    return "\n".join(lines[told:])


def reachable(paths: Paths, *, may_start: bool, environ: Mapping[str, str], notice: Notice) -> None:
    """Return when the service runs, started where it did not and `may_start`; raises a `CodexError` otherwise."""
    if is_running(paths):
        return
    if not may_start:
        raise not_running(paths)
    try:
        start(paths, environ, notice)
    except OSError as error:
        raise CodexError(
            "the service could not be started", why=str(error), next_step="`codexctl doctor` says more"
        ) from error
