"""Who a process is: held so that its pid cannot become another's, and verified by its start time."""

from __future__ import annotations

import os

from codex_control.errors import NotFound, WrongState

from codex_supervisor.child.exitwatch import ProcessHandle
from codex_supervisor.child.processes import ProcessInfo, boot_id, read_process
from codex_supervisor.store.records import LeaseRecord


def hold_process(pid: int, start_time: int) -> tuple[ProcessHandle, ProcessInfo]:
    """Hold the running process `pid` of this user; a `start_time` of 0 is whoever has the pid now.

    Raises `NotFound` where it does not run, `WrongState` where it is another one or another user's.
    """
    handle = ProcessHandle.open(pid) if pid > 0 else None
    if handle is None:
        raise _not_running(pid)
    try:
        return handle, _verified(pid, start_time)
    except BaseException:
        handle.close()
        raise


def hold_again(lease: LeaseRecord) -> ProcessHandle | None:
    """Hold the process of a recorded lease, or return None where it is gone."""
    if lease.boot_id != boot_id():
        return None
    try:
        handle, _ = hold_process(lease.pid, lease.start_time)
    except (NotFound, WrongState):
        return None
    return handle


def _verified(pid: int, start_time: int) -> ProcessInfo:
    process = read_process(pid)
    if process is None or process.zombie:
        raise _not_running(pid)
    if start_time not in (0, process.start_time):
        raise WrongState(
            what=f"process {pid} is not the one that was meant",
            why=f"it started at {process.start_time}, not at {start_time}: the pid was used again",
            next_step="send the start time of the process that runs now",
        )
    try:
        os.kill(pid, 0)
    except PermissionError as error:
        raise WrongState(what=f"process {pid} belongs to another user") from error
    except ProcessLookupError as error:
        raise _not_running(pid) from error
    return process


def _not_running(pid: int) -> NotFound:
    return NotFound(what=f"process {pid} does not run", next_step="send the pid of the running Claude Code process")
