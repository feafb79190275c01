"""Keeps the service small: it runs all day beside a person's work."""

from __future__ import annotations

import ctypes
import gc
import sys

# <malloc.h>
_M_ARENA_MAX = -8


def share_one_arena() -> None:
    """Have all threads allocate from one arena of glibc's; call it before there are threads.

    Each arena keeps freed pages for itself. Ours is one thread that works and a dozen that mostly wait.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    # musl has no arenas.
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


def settle() -> None:
    """Take what was made by the start out of the collector's sight: it stays, and looking through it takes 7 ms."""
    gc.collect()
    gc.freeze()
