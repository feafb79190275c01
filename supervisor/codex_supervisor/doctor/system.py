"""Checks of the machine: PATH, the configuration file, sockets, directories, disk, clock, limits, lingering."""

from __future__ import annotations

import asyncio
import datetime as dt
import os
import resource
import shutil
import stat
import sys
from pathlib import Path

from codex_control.errors import UnsafePath
from codex_control.paths import check_private_dir, checked_socket_path
from codex_control.service.config_key import format_size

from codex_supervisor.config.reading import load_config
from codex_supervisor.doctor.check import CheckResult, Surroundings, error, ok, run_program, warning

# SQLite, a log file and an archive file fit in; less is a full disk soon.
LEAST_FREE_BYTES = 200 * 1024**2
LOW_FREE_BYTES = 1024**3
_BUILT = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
"""No clock that is right shows less: this program is younger."""
_TOO_LATE = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)
# Each awake instance takes a socket and a pidfd or two; gRPC a few for each client.
LEAST_OPEN_FILES = 512
_LINGER_DIR = Path("/var/lib/systemd/linger")


def config_file(surroundings: Surroundings) -> CheckResult:
    """Is our own configuration file right? Its mistakes arrive as the error of the check."""
    path = surroundings.paths.config_file
    if not os.path.lexists(path):
        return ok("config file", f"{path} does not exist: the defaults hold")
    in_file = load_config(path)
    if in_file != surroundings.config:
        return warning("config file", f"{path} differs from what is in force", "codexctl reload")
    return ok("config file", str(path))


def search_path(surroundings: Surroundings) -> CheckResult:
    """Is PATH set, safe, and does it have what Codex's commands need?"""
    name = "PATH"
    value = surroundings.environ.get("PATH", "")
    entries = [entry for entry in value.split(os.pathsep) if entry]
    if not entries:
        return error(name, "it is empty", "run `codex-supervisor install` again from a shell with the right PATH")
    relative = [entry for entry in entries if not entry.startswith("/")]
    if relative or any(not entry for entry in value.split(os.pathsep)):
        shown = ", ".join(relative) or "an empty one"
        return warning(name, f"it has relative entries ({shown}), so what runs depends on the place", "remove them")
    open_to_all = [entry for entry in entries if _others_write(Path(entry))]
    if open_to_all:
        return warning(name, f"other users may put programs into {', '.join(open_to_all)}", "chmod o-w them")
    missing = [program for program in ("sh", "git") if shutil.which(program, path=value) is None]
    if missing:
        return warning(
            name, f"{' and '.join(missing)} not found on it", "install what is missing, or add its directory"
        )
    return ok(name, f"{len(entries)} directories")


def _others_write(path: Path) -> bool:
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return bool(mode & stat.S_IWOTH) and not mode & stat.S_ISVTX


def control_socket(surroundings: Surroundings) -> CheckResult:
    """Does the path of the socket fit, and is its directory ours alone?"""
    paths = surroundings.paths
    path = checked_socket_path(paths.control_socket)
    # A child's socket is a little deeper.
    checked_socket_path(paths.children_dir / ("x" * 12 + ".sock"))
    if not os.path.lexists(paths.runtime_dir):
        return ok("control socket", f"{path} (made when the service starts)")
    check_private_dir(paths.runtime_dir)
    return ok("control socket", path)


def directories(surroundings: Surroundings) -> CheckResult:
    """Are the state directory and the log directory ours, private and writable?"""
    name = "directories"
    paths = surroundings.paths
    for path in (paths.state_dir, paths.log_dir, paths.archive_dir):
        if not os.path.lexists(path):
            continue
        check_private_dir(path)
        if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise UnsafePath(
                f"{path} is not writable", next_step=f"run `chmod u+rwx {path}`, or mount its disk for writing"
            )
    return ok(name, str(paths.state_dir))


def disk(surroundings: Surroundings) -> CheckResult:
    """Is there room for the store?"""
    name = "disk"
    place = _nearest_existing(surroundings.paths.state_dir)
    found = os.statvfs(place)
    free = found.f_bavail * found.f_frsize
    text = f"{_rounded(free)} free at {place}"
    # A file system such as btrfs has no fixed number of inodes and says 0.
    if found.f_files and not found.f_favail:
        return error(name, f"no inodes left at {place}", "delete many small files there")
    if free < LEAST_FREE_BYTES:
        return error(name, text, f"free some: answers are recorded there (at least {format_size(LEAST_FREE_BYTES)})")
    if free < LOW_FREE_BYTES:
        return warning(name, text, "free some soon, or lower history.total_limit in config.yaml")
    return ok(name, text)


def _nearest_existing(path: Path) -> Path:
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def _rounded(size: int) -> str:
    return f"{size / 1024**3:.1f} GiB" if size >= 1024**3 else f"{size / 1024**2:.0f} MiB"


def clock(surroundings: Surroundings) -> CheckResult:
    """Does the wall clock show a time that can be?"""
    name = "clock"
    now = dt.datetime.fromtimestamp(surroundings.clock.wall_ns() / 1e9, dt.UTC)
    shown = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    if not _BUILT <= now <= _TOO_LATE:
        return error(name, f"it shows {shown}", "set it: TLS to the model provider fails with a wrong clock")
    latest = _newest(surroundings.paths.database)
    if latest is not None and latest > now + dt.timedelta(minutes=5):
        return warning(name, f"it shows {shown}, but the store was written at {latest:%Y-%m-%d %H:%M:%S}", "check it")
    return ok(name, shown)


def _newest(path: Path) -> dt.datetime | None:
    try:
        return dt.datetime.fromtimestamp(path.stat().st_mtime, dt.UTC)
    except OSError:
        return None


def open_files(surroundings: Surroundings) -> CheckResult:
    """Is the limit of open files high enough for the configured number of instances?"""
    name = "open files"
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    wanted = max(LEAST_OPEN_FILES, 8 * surroundings.config.instances.max_awake)
    if limit != resource.RLIM_INFINITY and limit < wanted:
        return warning(name, f"at most {limit}", f"raise it to {wanted} (LimitNOFILE= in the unit, ulimit -n)")
    return ok(name, "no limit" if limit == resource.RLIM_INFINITY else f"at most {limit}")


async def lingering(surroundings: Surroundings) -> CheckResult:
    """Does the service outlive the last login?"""
    name = "lingering"
    if sys.platform == "darwin":
        return ok(name, "launchd ends the service at logout; that is how macOS works")
    import pwd

    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return warning(name, f"uid {os.getuid()} has no name", "add the user to the system")
    if (_LINGER_DIR / user).exists():
        return ok(name, "on: the service outlives the last login")
    if shutil.which("loginctl", path=surroundings.environ.get("PATH")) is None:
        return ok(name, "there is no systemd-logind here")
    code, output = await run_program(
        ["loginctl", "show-user", user, "--property=Linger", "--value"], surroundings.environ, timeout_s=5.0
    )
    if code == 0 and output.strip() == "yes":
        return ok(name, "on: the service outlives the last login")
    if not await asyncio.to_thread(Path("/run/systemd/system").is_dir):
        return ok(name, "this system was not started by systemd")
    return warning(name, "off: the service ends with the last login", f"loginctl enable-linger {user}")
