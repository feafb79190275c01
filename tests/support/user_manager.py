"""A real `systemd --user` for tests, apart from the machine's own: in a mount namespace and a control group of its own.

Needs root (mounts, control groups) and systemd's programs; under `CI=true` their lack is a failure, elsewhere a skip.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.codex_home import short_private_dir
from tests.support.missing import leave_out
from tests.support.waiting import wait_for_sync

BIN = Path(sys.executable).parent
SYSTEMD = Path("/lib/systemd/systemd")
CGROUPS = Path("/sys/fs/cgroup")
TIMEOUT_S = 30.0

# Packages' scripts look at /run/systemd/system to learn whether systemd runs: only we may see ours.
_ENTER = """
set -eu
mount -t tmpfs tmpfs /run/systemd
mkdir -p /run/systemd/system
for group in "$@"; do echo $$ > "$group/cgroup.procs"; done
exec {systemd} --user --log-target=null
"""


class UserManager:
    """A running user manager. `environ` is what a program needs to talk to it, beside being in its namespace."""

    def __init__(self, pid: int, home: Path, environ: Mapping[str, str]) -> None:
        self.pid = pid
        self.home = home
        self.environ = dict(environ)

    def __repr__(self) -> str:
        return f"UserManager(pid={self.pid}, home={str(self.home)!r})"

    @property
    def unit_dir(self) -> Path:
        """Where the user's units go."""
        return self.home / ".config/systemd/user"

    def run(
        self, *argv: str, check: bool = True, environ: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a command where the manager can be seen."""
        return subprocess.run(
            ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", *argv],
            env={**self.environ, **(environ or {})},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=check,
        )

    def begins(self, *argv: str) -> subprocess.Popen[str]:
        """Begin a command where the manager can be seen."""
        return subprocess.Popen(
            ["nsenter", f"--mount=/proc/{self.pid}/ns/mnt", *argv],
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """Run `systemctl --user` and return what it printed. With `check`, its failure is a failure of the test."""
        ended = self.run("systemctl", "--user", *arguments, check=False)
        assert not check or ended.returncode == 0, f"systemctl --user {' '.join(arguments)}: {ended.stderr}"
        return ended.stdout.strip()

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        shown = self.systemctl("show", unit, *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in shown.splitlines())

    def wait_for_state(self, unit: str, state: str, timeout_s: float = 10.0) -> None:
        """Wait until the unit's ActiveState is `state`."""
        wait_for_sync(lambda: self.show(unit, "ActiveState")["ActiveState"] == state, timeout_s, f"{unit} {state}")

    def drop_in(self, unit: str, text: str) -> None:
        """Add settings to a unit, as `systemctl edit` does."""
        folder = self.unit_dir / f"{unit}.d"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "test.conf").write_text(text)
        self.systemctl("daemon-reload")


class AtATerminal:
    """A person who types commands in a login session of the user manager."""

    def __init__(self, manager: UserManager) -> None:
        self.manager = manager
        self.environ = {"PATH": f"{BIN}:{os.environ['PATH']}"}

    def tries(self, *argv: str) -> subprocess.CompletedProcess[str]:
        """Run a command that may fail."""
        return self.manager.run(*argv, check=False, environ=self.environ)

    def types(self, *argv: str) -> str:
        """Run a command that must not fail, and return what it printed."""
        ended = self.tries(*argv)
        assert ended.returncode == 0, f"{argv}: {ended.stdout}{ended.stderr}"
        return ended.stdout


def _missing() -> str:
    """Why no manager can be had here, or nothing."""
    if sys.platform != "linux":
        return "systemd runs on Linux alone"
    if os.geteuid() != 0:
        return "a user manager of its own needs root"
    if not SYSTEMD.exists():
        return "systemd is not installed"
    if lacking := [name for name in ("systemctl", "nsenter", "unshare", "dbus-daemon") if shutil.which(name) is None]:
        return f"{', '.join(lacking)} not on PATH"
    return ""


def _groups(name: str) -> list[Path]:
    """The control groups to make: one on a pure v2 hierarchy, two on a hybrid one, each below our own."""
    ours = dict(line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines())
    places = {"": CGROUPS if (CGROUPS / "cgroup.controllers").exists() else CGROUPS / "unified"}
    places["name=systemd"] = CGROUPS / "systemd"
    return [
        place / ours[hierarchy].lstrip("/") / name
        for hierarchy, place in places.items()
        if hierarchy in ours and place.exists()
    ]


@contextmanager
def running_user_manager() -> Iterator[UserManager]:
    """Start a user manager, and end it with everything that it runs."""
    groups = _groups(f"codex-test-{uuid.uuid4().hex[:12]}")
    with short_private_dir() as folder:
        home = folder / "home"
        home.mkdir()
        environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "XDG_RUNTIME_DIR": str(folder),
            "DBUS_SESSION_BUS_ADDRESS": f"unix:path={folder}/bus",
        }
        for group in groups:
            group.mkdir()
        enter = _ENTER.format(systemd=SYSTEMD)
        command = ["unshare", "--mount", "--propagation", "private", "sh", "-c", enter, "sh", *map(str, groups)]
        process = subprocess.Popen(command, env=environ, stdin=subprocess.DEVNULL, cwd="/")
        manager = UserManager(process.pid, home, environ)
        try:
            wait_for_sync(lambda: _is_up(manager, process), TIMEOUT_S, "the user manager to be up")
            yield manager
        finally:
            _end(process, manager, groups)


def _is_up(manager: UserManager, process: subprocess.Popen[bytes]) -> bool:
    if process.poll() is not None:
        # Not an AssertionError, which would count as "not yet".
        raise RuntimeError(f"the user manager ended at once with code {process.returncode}")
    return manager.systemctl("is-system-running", check=False) in ("running", "degraded")


def _end(process: subprocess.Popen[bytes], manager: UserManager, groups: Sequence[Path]) -> None:
    if process.poll() is None:
        manager.systemctl("exit", check=False)
    try:
        process.wait(TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(TIMEOUT_S)
    # KillMode=process leaves children on purpose; what a test did not end itself is ended here.
    for pid in _members(groups):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue
    wait_for_sync(lambda: not _members(groups), TIMEOUT_S, "the control group to be empty")
    for group in groups:
        for folder, _, _ in os.walk(group, topdown=False):
            Path(folder).rmdir()


def _members(groups: Sequence[Path]) -> set[int]:
    return {int(pid) for group in groups for file in group.rglob("cgroup.procs") for pid in file.read_text().split()}


@pytest.fixture
def user_manager() -> Iterator[UserManager]:
    """A real user manager, without any unit of ours."""
    if reason := _missing():
        leave_out(reason)
    with running_user_manager() as manager:
        yield manager
