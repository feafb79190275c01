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

from codex_supervisor.clock import Clock
from codex_supervisor.store import failures
from codex_supervisor.store.opening import mark_suspect
from codex_supervisor.store.worker import Request, Worker


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
        try:
            whole = self._commit(db, batch)
        except sqlite3.Error as error:
            # The transaction could not even be begun: the lock or the disk, the same for all.
            if db.in_transaction:
                db.execute("ROLLBACK")
            for request in batch:
                request.error = error
            whole = True
        if not whole:
            # The transaction is gone and with it the good requests in it. Each gets one of its own, so that only the
            # guilty one fails: a small outcome may find space where a large answer beside it did not.
            for request in batch:
                self._commit_alone(db, request)
        if any(isinstance(request.error, sqlite3.Error) and failures.is_damage(request.error) for request in batch):
            mark_suspect(self._path)
        self._deliver(batch)
        if self._on_commit is not None and db.total_changes != changes:
            self._post(self._on_commit, self._clock.monotonic() - began)

    def _commit(self, db: sqlite3.Connection, batch: list[Request]) -> bool:
        """Run the batch in one transaction; False where SQLite rolled all of it back."""
        full = any(request.durable for request in batch)
        if full != self._synchronous_full:
            db.execute("PRAGMA synchronous = FULL" if full else "PRAGMA synchronous = NORMAL")
            self._synchronous_full = full
        db.execute("BEGIN IMMEDIATE")
        for request in batch:
            db.execute("SAVEPOINT request")
            try:
                request.run(db)
            except Exception as error:  # it belongs to the request, and is delivered to it
                request.error = error
                # A full disk and some others end the whole transaction (https://www.sqlite.org/lang_transaction.html).
                if not db.in_transaction:
                    return len(batch) == 1
                db.execute("ROLLBACK TO request")
            db.execute("RELEASE request")
        try:
            db.execute("COMMIT")
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if len(batch) > 1:
                return False
            batch[0].error = batch[0].error or error
        return True

    def _commit_alone(self, db: sqlite3.Connection, request: Request) -> None:
        try:
            self._commit(db, [request])
        except sqlite3.Error as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            request.error = error
