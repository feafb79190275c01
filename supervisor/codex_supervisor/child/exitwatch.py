"""Hearing of a process's end without a thread for each: a pidfd on Linux, a kqueue on macOS.

Both work for processes that are not our children too (an adopted child of an earlier supervisor); their exit status is
the kernel's secret then, and `ExitStatus` says so.
"""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from codex_supervisor.child.processes import read_process


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a process ended: with a code, by a signal, or unknown (both None) where it was not our child."""

    code: int | None = None
    signal: int | None = None

    @classmethod
    def from_returncode(cls, returncode: int) -> Self:
        """Take the convention of `subprocess`: negative for a signal."""
        return cls(signal=-returncode) if returncode < 0 else cls(code=returncode)

    def __str__(self) -> str:
        if self.signal is not None:
            return f"killed by {_signal_name(self.signal)}"
        return f"exited with code {self.code}" if self.code is not None else "ended in an unknown way"

    def __repr__(self) -> str:
        return f"<ExitStatus {self}>"


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


class ProcessHandle:
    """One process, held so that its pid cannot be taken for another's.

    On Linux it holds a pidfd: signals reach this process or nobody. macOS has no such thing: there a signal is sent
    only while the start time is still the one seen at opening, which leaves a window of microseconds.
    """

    def __init__(self, pid: int, fd: int, start_time: int = 0) -> None:
        self.pid = pid
        self._fd = fd
        self._start_time = start_time
        self._on_exit: list[Callable[[ExitStatus], None]] = []
        self._status: ExitStatus | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    @classmethod
    def open(cls, pid: int) -> ProcessHandle | None:
        """Hold the process that has `pid` now, or return None where there is none. Check who it is after this."""
        try:
            if sys.platform != "darwin":
                return cls(pid, os.pidfd_open(pid))
            fd = _open_kqueue(pid)
        except ProcessLookupError:
            return None
        process = read_process(pid)
        if process is None:
            os.close(fd)
            return None
        return cls(pid, fd, process.start_time)

    def __repr__(self) -> str:
        state = "closed" if self._fd < 0 else "running" if self._status is None else str(self._status)
        return f"<ProcessHandle pid={self.pid} {state}>"

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; False where the process is gone (or the handle closed)."""
        if self._fd < 0 or self._status is not None:
            return False
        try:
            if sys.platform == "darwin":
                process = read_process(self.pid)
                if process is None or process.start_time != self._start_time:
                    return False
                os.kill(self.pid, number)
            else:
                signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return False
        return True

    def on_exit(self, callback: Callable[[ExitStatus], None]) -> None:
        """Call `callback` on the running loop once the process has ended; after `close` never.

        A child of ours is reaped by this, so only one handle may watch a child.
        """
        self._on_exit.append(callback)
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(self._fd, self._readable)

    def close(self) -> None:
        """Let go of the process."""
        if self._fd < 0:
            return
        if self._loop is not None:
            self._loop.remove_reader(self._fd)
            self._loop = None
        os.close(self._fd)
        self._fd = -1

    def _readable(self) -> None:
        if self._loop is None:
            return
        self._loop.remove_reader(self._fd)
        status = self._status = reap(self.pid) or ExitStatus()
        for callback in self._on_exit:
            callback(status)


def reap(pid: int) -> ExitStatus | None:
    """Take the exit status of an ended child of ours; None where it runs, or is not our child (any more)."""
    try:
        reaped, wait_status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:
        return None
    return ExitStatus.from_returncode(os.waitstatus_to_exitcode(wait_status)) if reaped == pid else None


async def wait_for_exit(pid: int) -> ExitStatus:
    """Wait until the process that has `pid` now has ended; at once where there is none.

    Works for own children, which are reaped, and for adopted ones.
    """
    handle = ProcessHandle.open(pid)
    if handle is None:
        return ExitStatus()
    exited: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()

    def settle(status: ExitStatus) -> None:
        if not exited.done():
            exited.set_result(status)

    handle.on_exit(settle)
    try:
        return await exited
    finally:
        handle.close()


def _open_kqueue(pid: int) -> int:
    """A kqueue that becomes readable when the process ends (kqueue(2), EVFILT_PROC). Raises ProcessLookupError."""
    if sys.platform != "darwin":
        raise NotImplementedError
    queue = select.kqueue()
    try:
        watch = select.kevent(pid, select.KQ_FILTER_PROC, select.KQ_EV_ADD | select.KQ_EV_ONESHOT, select.KQ_NOTE_EXIT)
        queue.control([watch], 0, 0)
        # The object closes its descriptor when it is collected: keep a copy. The copy is the same queue.
        return os.dup(queue.fileno())
    finally:
        queue.close()
