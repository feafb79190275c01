"""What a dead child left behind becomes ours (PR_SET_CHILD_SUBREAPER), and must be reaped when it ends.

macOS has no subreaper: there launchd takes and reaps orphans.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable

from codex_supervisor.child.exitwatch import reap
from codex_supervisor.child.processes import read_process

_log = logging.getLogger(__name__)

# <linux/prctl.h>
_PR_SET_CHILD_SUBREAPER = 36
# Whoever waits for a process that it started takes the status within milliseconds. What is still a zombie after this
# time was inherited, and nobody else will take it.
ORPHAN_GRACE_S = 2.0


def become_subreaper() -> bool:
    """Make orphans of our tree our children instead of init's; False where the system cannot (macOS)."""
    if sys.platform != "linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        _log.warning("no_subreaper", extra={"error": os.strerror(ctypes.get_errno())})
        return False
    return True


def our_children() -> list[int]:
    """Pids of our direct children, zombies too, also of those that other threads started. Linux only; else empty."""
    pids: list[int] = []
    try:
        for thread in os.listdir("/proc/self/task"):  # noqa: PTH208
            with open(f"/proc/self/task/{thread}/children", "rb") as children:  # noqa: PTH123
                pids += [int(pid) for pid in children.read().split()]
    except OSError:
        # No such file on macOS, or in a kernel without CONFIG_PROC_CHILDREN.
        return []
    return pids


class OrphanReaper:
    """Reaps inherited zombies on SIGCHLD, and leaves every status that somebody may still want.

    `is_own(pid)` says of which pids the status is always left. The others are reaped when they were seen as zombies
    `grace_s` seconds ago.
    """

    def __init__(self, is_own: Callable[[int], bool], grace_s: float = ORPHAN_GRACE_S) -> None:
        self._is_own = is_own
        self._grace_s = grace_s
        self._first_seen: dict[tuple[int, int], float] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.reaped_total = 0

    def __repr__(self) -> str:
        return f"<OrphanReaper {len(self._first_seen)} waiting, {self.reaped_total} reaped>"

    def start(self) -> None:
        """Begin; must be called in the main thread with a running loop. Takes SIGCHLD's handler."""
        self._loop = asyncio.get_running_loop()
        self._loop.add_signal_handler(signal.SIGCHLD, self._soon)
        self._soon()

    def close(self) -> None:
        """End, and give SIGCHLD back."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._loop is not None:
            self._loop.remove_signal_handler(signal.SIGCHLD)
            self._loop = None

    def _soon(self) -> None:
        # One look for many deaths: a stopped tree is a burst of SIGCHLD.
        if self._timer is None and self._loop is not None:
            self._timer = self._loop.call_later(self._grace_s / 4, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._loop is None:
            return
        now = self._loop.time()
        zombies: dict[tuple[int, int], float] = {}
        for pid in our_children():
            process = None if self._is_own(pid) else read_process(pid)
            if process is None or not process.zombie:
                continue
            key = (pid, process.start_time)
            first_seen = self._first_seen.get(key, now)
            if now - first_seen < self._grace_s:
                zombies[key] = first_seen
            elif reap(pid) is not None:
                self.reaped_total += 1
        self._first_seen = zombies
        if zombies:
            self._soon()
