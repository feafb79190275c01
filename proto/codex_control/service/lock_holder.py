"""Who holds the lock of a service: whether that runs, whatever started it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path


def holder_of(lock_file: Path) -> int | None:
    """Return the process that holds a lock (see `lock.SupervisorLock`); None where nobody does."""
    try:
        descriptor = os.open(lock_file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        text = os.read(descriptor, 32).strip()
        if not text.isdigit() or not _lives(int(text)):
            return None
        # Only now: for this moment one that starts could not take its lock.
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return int(text)
        return None
    finally:
        os.close(descriptor)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        pass
    return True
