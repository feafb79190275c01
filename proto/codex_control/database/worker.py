"""A thread that owns one database connection and serves requests from the event loop.

Requests are served in the order in which they were made, and their results arrive on the loop in that order too. The
number and the bytes of the waiting requests are bounded: past the bound, callers wait.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from codex_control.database import failures
from codex_control.errors import CodexError

_log = logging.getLogger(__name__)

T = TypeVar("T")

MAX_WAITING = 512
"""Most requests that wait for or run in one thread."""

MAX_WAITING_BYTES = 32 * 1024 * 1024
"""Most bytes of their payloads; one larger request passes when nothing else waits."""


@dataclass(eq=False)
class Request:
    """One piece of work. `work` may be run again after a rollback: it changes nothing but the database."""

    work: Callable[[sqlite3.Connection], Any]
    future: asyncio.Future[Any]
    durable: bool = False
    cost_bytes: int = 0
    result: Any = None
    error: BaseException | None = field(default=None, repr=False)

    def run(self, db: sqlite3.Connection) -> None:
        """Do the work and keep its result; errors pass through."""
        self.error = None
        self.result = self.work(db)


class Worker:
    """See the module. Subclasses say how a batch of requests is served (`_serve`)."""

    def __init__(self, name: str, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._loop = asyncio.get_running_loop()
        self._inbox: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._gate = asyncio.Lock()
        self._room: asyncio.Future[None] | None = None
        self._ended: asyncio.Future[None] = self._loop.create_future()
        self._waiting = 0
        self._waiting_bytes = 0
        self._closing = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self._thread.name} alive={self._thread.is_alive()} waiting={self._waiting} "
            f"bytes={self._waiting_bytes} closing={self._closing}>"
        )

    async def start(self) -> None:
        """Start the thread and return when its connection is open; raises what the opening raised."""
        opened: asyncio.Future[Any] = self._loop.create_future()
        self._waiting += 1
        self._inbox.put(Request(lambda _db: None, opened))
        self._thread.start()
        try:
            await opened
        except BaseException:
            await self.close()
            raise

    async def call(self, work: Callable[[sqlite3.Connection], T], *, durable: bool = False, cost_bytes: int = 0) -> T:
        """Run `work` in the thread and return its result.

        A caller that is cancelled while it waits for room has done nothing; later the work goes on without it. Raises
        `StoreUnavailable` or `LimitExceeded` for SQLite's errors, and what `work` raised.
        """
        # The lock is fair, so requests enter in the order of the calls even where some wait for room.
        async with self._gate:
            while self._is_full(cost_bytes) and not self._closing:
                self._room = self._loop.create_future()
                await self._room
            if self._closing or self._ended.done():
                raise failures.closed(self._path)
            self._waiting += 1
            self._waiting_bytes += cost_bytes
            request = Request(work, self._loop.create_future(), durable, cost_bytes)
            self._inbox.put(request)
        result: T = await request.future
        return result

    async def close(self) -> None:
        """Serve what waits, close the connection and end the thread."""
        self._closing = True
        self._make_room()
        self._inbox.put(None)
        # Shielded: a second caller, or a cancelled one, must not lose the news for the others.
        await asyncio.shield(self._ended)
        self._thread.join()

    def _is_full(self, cost_bytes: int) -> bool:
        if self._waiting >= MAX_WAITING:
            return True
        return self._waiting > 0 and self._waiting_bytes + cost_bytes > MAX_WAITING_BYTES

    def _make_room(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)

    def _run(self) -> None:
        db: sqlite3.Connection | None = None
        batch: list[Request] = []
        try:
            first = self._inbox.get()
            batch = [first] if first else []
            db = self._connect()
            self._deliver(batch)
            closing = False
            while not closing:
                batch, closing = self._next_batch()
                if batch:
                    self._serve(db, batch)
        except BaseException as error:  # the thread's last act: nobody may wait for ever
            for request in batch:
                # A SystemExit or the like must not end the event loop.
                request.error = error if isinstance(error, Exception) else failures.closed(self._path)
            self._deliver(batch)
            if not isinstance(error, CodexError):
                _log.critical("a thread of the store has died", extra={"worker": self._thread.name}, exc_info=True)
        finally:
            if db is not None:
                self._disconnect(db)
            self._post(self._end)

    def _next_batch(self) -> tuple[list[Request], bool]:
        """Everything that waits now, at least one request; and whether the end was asked for behind it."""
        batch: list[Request] = []
        item = self._inbox.get()
        while item is not None:
            batch.append(item)
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

    def _serve(self, db: sqlite3.Connection, batch: list[Request]) -> None:
        raise NotImplementedError

    def _disconnect(self, db: sqlite3.Connection) -> None:
        try:
            db.close()
        except sqlite3.Error:
            _log.warning("the store did not close cleanly", extra={"path": str(self._path)}, exc_info=True)

    def _deliver(self, batch: Sequence[Request]) -> None:
        """Hand the results over to the loop, in order."""
        for request in batch:
            if isinstance(request.error, sqlite3.Error):
                request.error = failures.explained(request.error, self._path)
        self._post(self._resolve, batch)

    def _post(self, function: Callable[..., None], *args: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, *args)
        except RuntimeError:
            # The loop was closed without `close`; nobody waits any more.
            _log.warning("the store was not closed before its event loop", extra={"worker": self._thread.name})

    def _resolve(self, batch: Sequence[Request]) -> None:
        for request in batch:
            self._waiting -= 1
            self._waiting_bytes -= request.cost_bytes
            if request.future.done():
                continue  # its caller was cancelled
            if request.error is not None:
                request.future.set_exception(request.error)
            else:
                request.future.set_result(request.result)
        self._make_room()

    def _end(self) -> None:
        """On the loop, when the thread is done: nobody may wait for it any longer."""
        self._closing = True
        left: list[Request] = []
        while True:
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                break
            if item is not None:
                item.error = failures.closed(self._path)
                left.append(item)
        self._resolve(left)
        if not self._ended.done():
            self._ended.set_result(None)
