"""The lock that makes a supervisor the only one of its user, with real processes."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest
from codex_control.errors import AlreadyRunning, UnsafePath
from codex_control.service.lock import SupervisorLock

from tests.support.waiting import wait_for_sync

_VARIABLE = "CODEX_SUPERVISOR_LOCK_FD"

_HOLD = """
import sys
from pathlib import Path
from codex_control.service.lock import SupervisorLock
lock = SupervisorLock(Path(sys.argv[1]))
lock.acquire()
print("held", flush=True)
sys.stdin.readline()
"""

_HAND_OVER = (
    _HOLD
    + """
import os
lock.hand_over()
os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], sys.argv[1]])
"""
)

_TAKE_OVER = (
    _HOLD.replace('print("held"', 'print("held again", lock._fd, os.get_inheritable(lock._fd)').replace(
        "import sys", "import os, sys", 1
    )
    + """
assert "CODEX_SUPERVISOR_LOCK_FD" not in os.environ
"""
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "supervisor.lock"


@pytest.fixture
def lock(path: Path) -> Iterator[SupervisorLock]:
    made = SupervisorLock(path)
    yield made
    made.release()


class Holder:
    """Another process that holds the lock, until a line or a signal comes."""

    def __init__(self, path: Path, program: str, *more: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", program, str(path), *more],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.line() == "held"

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def says_something(self) -> bool:
        assert self.process.stdout is not None
        return bool(select.select([self.process.stdout], [], [], 0)[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


def test_the_file_is_private_and_names_its_holder(lock: SupervisorLock, path: Path) -> None:
    lock.acquire()
    assert path.read_text() == f"{os.getpid()}\n"
    assert path.stat().st_mode & 0o777 == 0o600
    assert not os.get_inheritable(lock._fd)


def test_a_second_holder_is_told_who_has_it(lock: SupervisorLock, path: Path) -> None:
    with Holder(path, _HOLD) as holder:
        with pytest.raises(AlreadyRunning, match=f"pid {holder.process.pid} holds {path}"):
            lock.acquire()
        assert path.read_text() == f"{holder.process.pid}\n", "it still names the holder"


def test_a_second_file_is_locked_with_it_or_nothing_is(path: Path, tmp_path: Path) -> None:
    also = tmp_path / "state.lock"
    both = SupervisorLock(path, also=also)
    with Holder(also, _HOLD) as holder:
        with pytest.raises(AlreadyRunning, match=f"pid {holder.process.pid} holds {also}.*kill {holder.process.pid}"):
            both.acquire()
        with Holder(path, _HOLD):
            pass
    both.acquire()
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()} holds {also}"):
        SupervisorLock(also).acquire()
    both.release()
    with Holder(also, _HOLD):
        pass


def test_a_holder_that_has_not_written_its_pid_yet_is_one_too(lock: SupervisorLock, path: Path) -> None:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(AlreadyRunning, match="is locked"):
            lock.acquire()


def test_it_is_free_when_the_holder_is_killed(lock: SupervisorLock, path: Path) -> None:
    with Holder(path, _HOLD) as holder:
        holder.process.send_signal(signal.SIGKILL)
        holder.process.wait()
        lock.acquire()
    assert path.read_text() == f"{os.getpid()}\n"


def test_it_is_free_after_its_release(lock: SupervisorLock, path: Path) -> None:
    lock.acquire()
    lock.release()
    lock.release()
    with Holder(path, _HOLD):
        pass


def test_a_longer_pid_before_leaves_nothing_behind(lock: SupervisorLock, path: Path) -> None:
    path.write_text("123456789012345\n")
    lock.acquire()
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_program_that_is_replaced_never_lets_it_go(lock: SupervisorLock, path: Path) -> None:
    with Holder(path, _HAND_OVER, _TAKE_OVER) as holder:
        tries = 0

        def taken_over() -> bool:
            nonlocal tries
            with pytest.raises(AlreadyRunning):
                SupervisorLock(path).acquire()
            tries += 1
            return holder.says_something()

        holder.go_on()
        wait_for_sync(taken_over, what="the new program to hold the lock")
        words = holder.line().split()
        assert words[:2] == ["held", "again"]
        assert words[3] == "False", "its children do not inherit it"
        assert tries > 3
        assert path.read_text() == f"{holder.process.pid}\n"
        holder.go_on()
        assert holder.process.wait(10) == 0
    lock.acquire()


@pytest.mark.parametrize("handed_over", ["", "no number", "²", "-1", "999999", "9" * 40, "0"])
def test_a_descriptor_that_is_not_the_lock_is_not_taken_for_it(
    lock: SupervisorLock, path: Path, handed_over: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(_VARIABLE, handed_over)
    path.touch()
    lock.acquire()
    assert str(lock._fd) != handed_over
    assert _VARIABLE not in os.environ
    with pytest.raises(AlreadyRunning):
        SupervisorLock(path).acquire()


def test_a_lock_file_that_was_deleted_before_the_new_program_came_is_made_again(
    lock: SupervisorLock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(_VARIABLE, "0")
    lock.acquire()
    assert path.read_text() == f"{os.getpid()}\n"


def test_a_symbolic_link_is_refused_and_its_target_untouched(lock: SupervisorLock, path: Path) -> None:
    target = path.with_name("precious")
    target.write_text("precious")
    path.symlink_to(target)
    with pytest.raises(UnsafePath, match="cannot be taken"):
        lock.acquire()
    assert target.read_text() == "precious"


def test_a_symbolic_link_is_refused_also_where_its_target_was_handed_over(
    lock: SupervisorLock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = path.with_name("precious")
    target.write_text("precious")
    path.symlink_to(target)
    with target.open() as file:
        monkeypatch.setenv(_VARIABLE, str(file.fileno()))
        with pytest.raises(UnsafePath):
            lock.acquire()
    assert target.read_text() == "precious"


def test_a_directory_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(UnsafePath, match=r"No such file or directory\. Check its directory"):
        SupervisorLock(tmp_path / "missing" / "supervisor.lock").acquire()
