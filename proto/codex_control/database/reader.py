"""The one reader: a connection of its own, which never stops the writer (SQLite's WAL mode).

Every request sees one snapshot of the database. Long readings come in slices, so that short ones get their turn.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from codex_control.database import failures
from codex_control.database.opening import mark_suspect
from codex_control.database.worker import Request, Worker


class Reader(Worker):
    """See the module."""

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        super().__init__("store-reader", path, connect)

    def _serve(self, db: sqlite3.Connection, batch: list[Request]) -> None:
        for request in batch:
            if request.future.cancelled():
                # Nobody waits for it, and reading changes nothing. The flag only ever turns one way.
                self._deliver([request])
                continue
            try:
                db.execute("BEGIN")
                try:
                    request.run(db)
                finally:
                    if db.in_transaction:
                        db.execute("ROLLBACK")
            except Exception as error:  # it belongs to the request, and is delivered to it
                request.error = error
                if isinstance(error, sqlite3.Error) and failures.is_damage(error):
                    mark_suspect(self._path)
            self._deliver([request])
