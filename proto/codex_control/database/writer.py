"""The one writer: group commit.

Everything that waits while a commit runs goes into the next transaction. A transaction with a durable request in it is
synced to the disk before any of its results is told (`synchronous=FULL`); one without is in the operating system's
hands (`NORMAL`): SIGKILL loses nothing of it, a power cut may lose its end. A request that fails is rolled back to its
savepoint and takes no other with it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

from codex_control.database import failures
from codex_control.database.opening import mark_suspect
from codex_control.database.worker import Request, Worker
from codex_control.service.clock import Clock


class Writer(Worker):
    """See the module. `on_commit` gets the seconds of every transaction that wrote something, on the event loop."""

    def __init__(
        self,
        path: Path,
        connect: Callable[[], sqlite3.Connection],
        *,
        clock: Clock,
        on_commit: Callable[[float], None] | None = None,
    ) -> None:
        super().__init__("store-writer", path, connect)
        self._clock = clock
        self._on_commit = on_commit
        self._synchronous_full: bool | None = None

    def _serve(self, db: sqlite3.Connection, batch: list[Request]) -> None:
        began = self._clock.monotonic()
        changes = db.total_changes
        if not self._commit(db, batch) and len(batch) > 1:
            # The transaction is gone and with it the good requests in it. Each gets one of its own, so that only the
            # guilty one fails: a small outcome may find space where a large answer beside it did not.
            for request in batch:
                self._commit(db, [request])
        if any(isinstance(request.error, sqlite3.Error) and failures.is_damage(request.error) for request in batch):
            mark_suspect(self._path)
        self._deliver(batch)
        if self._on_commit is not None and db.total_changes != changes:
            self._post(self._on_commit, self._clock.monotonic() - began)

    def _commit(self, db: sqlite3.Connection, batch: list[Request]) -> bool:
        """Run the batch in one transaction; False where it was begun and then rolled back as a whole."""
        try:
            self._begin(db, full=any(request.durable for request in batch))
        except sqlite3.Error as error:
            # The lock or the disk: the same for all, and waited for long enough.
            for request in batch:
                request.error = error
            return True
        try:
            for request in batch:
                if not self._run_in_savepoint(db, request):
                    return False
            db.execute("COMMIT")
        except sqlite3.Error as error:
            for request in batch:
                request.error = request.error or error
            if db.in_transaction:
                db.execute("ROLLBACK")
            return False
        return True

    def _begin(self, db: sqlite3.Connection, *, full: bool) -> None:
        if full != self._synchronous_full:
            db.execute("PRAGMA synchronous = FULL" if full else "PRAGMA synchronous = NORMAL")
            self._synchronous_full = full
        db.execute("BEGIN IMMEDIATE")

    def _run_in_savepoint(self, db: sqlite3.Connection, request: Request) -> bool:
        """Run one request; False where its failure ended the whole transaction."""
        db.execute("SAVEPOINT request")
        try:
            request.run(db)
        except Exception as error:  # it belongs to the request, and is delivered to it
            request.error = error
            # A full disk and some others end the whole transaction (https://www.sqlite.org/lang_transaction.html).
            if not db.in_transaction:
                return False
            db.execute("ROLLBACK TO request")
        db.execute("RELEASE request")
        return True
