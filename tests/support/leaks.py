"""What a test must not leave behind: open files, child processes, asyncio tasks."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
from pathlib import Path

from tests.support.waiting import wait_for_sync

# Closing goes through other threads (child watchers, grpc's poller) and the collector, so it is awaited, not assumed.
SETTLE_TIMEOUT_S = 2.0

# gRPC's core opens and closes these by itself, channel or no channel, and its number of them moves.
_POLLERS = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]")


def open_files() -> dict[int, str]:
    """This process's open file descriptors and what they lead to."""
    directory = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    found = {}
    for entry in directory.iterdir():
        try:
            found[int(entry.name)] = str(entry.readlink()) if sys.platform == "linux" else "open"
        except OSError:
            continue  # the descriptor that listed the directory
    return found


def child_processes() -> dict[int, str]:
    """Children of this process, zombies too, with their command names."""
    listing = ["ps", "-A", "-o", "ppid=,pid=,stat=,comm="]
    if sys.platform != "linux":
        rows = [line.split(None, 3) for line in subprocess.check_output(listing, text=True).splitlines()]
        return {int(pid): f"{name} ({state})" for ppid, pid, state, name in rows if int(ppid) == os.getpid()}
    found = {}
    for task in Path("/proc/self/task").iterdir():
        try:
            children = (task / "children").read_text().split()
        except OSError:
            continue  # the thread ended between the two looks
        for pid in children:
            try:
                found[int(pid)] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[0].partition("(")[2]
            except OSError:
                continue  # it ended between the two looks
    return found


def assert_nothing_left(files_before: dict[int, str], children_before: dict[int, str]) -> None:
    """Raise `AssertionError` naming the files and children that are new since then."""

    def left() -> list[str]:
        files = [
            f"{fd} -> {target}"
            for fd, target in open_files().items()
            if files_before.get(fd) != target and target not in _POLLERS
        ]
        children = [f"{pid} {name}" for pid, name in child_processes().items() if pid not in children_before]
        # The same number of files is no leak: a library may have opened one anew that was open before.
        found = [f"open files left behind: {files}"] if len(files) > _closed(files_before) else []
        return found + ([f"child processes left behind: {children}"] if children else [])

    def nothing_left() -> bool:
        if found := left():
            gc.collect()  # slow, so only where something is left
            found = left()
        assert not found, "; ".join(found)
        return True

    wait_for_sync(nothing_left, SETTLE_TIMEOUT_S, "the test to leave nothing behind")


def _closed(files_before: dict[int, str]) -> int:
    """How many of these files are open no more, or lead elsewhere.

    gRPC's own do not count: one that it closes by itself would excuse a file that somebody left open.
    """
    now = open_files()
    return sum(now.get(fd) != target for fd, target in files_before.items() if target not in _POLLERS)


async def assert_no_tasks_left(before: set[asyncio.Task[object]]) -> None:
    """Raise `AssertionError` naming the asyncio tasks that run on. Tasks that were cancelled get to end."""
    for _ in range(20):
        await asyncio.sleep(0)
    left = asyncio.all_tasks() - before - {asyncio.current_task()}
    assert not left, f"asyncio tasks left behind: {[f'{task.get_name()}: {task.get_coro()}' for task in left]}"
