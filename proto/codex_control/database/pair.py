"""The two threads on one file, started together."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from codex_control.database.opening import open_for_reading, opened_thoroughly
from codex_control.database.reader import Reader
from codex_control.database.writer import Writer
from codex_control.service.clock import Clock


async def start_pair(
    path: Path,
    connect: Callable[[], sqlite3.Connection],
    *,
    clock: Clock,
    lock_wait_s: float,
    on_commit: Callable[[float], None] | None = None,
) -> tuple[Writer, Reader]:
    """Start a writer, whose connection `connect` opens (see `opened_thoroughly`), and then a reader.

    `on_commit` gets the seconds of every transaction that wrote, on the event loop. Raises what opening raises; no
    thread is left then. Close the reader first: the last connection to close folds the log into the database.
    """
    writer = Writer(path, lambda: opened_thoroughly(path, connect), clock=clock, on_commit=on_commit)
    await writer.start()
    reader = Reader(path, lambda: open_for_reading(path, lock_wait_s=lock_wait_s))
    try:
        await reader.start()
    except BaseException:
        await writer.close()
        raise
    return writer, reader
