"""One writer at a time: commands of this user that change the same file wait for each other."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def one_writer(directory: Path) -> Iterator[None]:
    """Hold `directory`, whose files are read, changed and replaced meanwhile; readers need not wait. Not twice in one
    process. Raises `OSError`."""
    # The directory itself: it stays while its files are replaced.
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
