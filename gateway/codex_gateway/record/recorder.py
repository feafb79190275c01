"""The one writer of the records: it takes entries from the event loop and never makes it wait.

Ended requests are written in batches. One that takes long is written while it runs, so that it can be seen, and so that
the next gateway finds what died with this one. Records are no promise to anybody: where the disk is full or slow, they
are dropped and counted, and requests go on.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from codex_control.database.failures import explained
from codex_control.database.opening import open_for_writing, opened_thoroughly
from codex_control.database.writer import Writer
from codex_control.errors import CodexError, StoreUnavailable
from codex_control.service.clock import Clock

from codex_gateway.config.model import Bodies, Price, RecordsConfig
from codex_gateway.record import facts, retention, rows
from codex_gateway.record.cost import Prices
from codex_gateway.record.schema import SCHEMA
from codex_gateway.route.learned import Fact
from codex_gateway.upstream.trail import Attempt, Entry

_log = logging.getLogger(__name__)

WRITE_EVERY_S = 0.25
"""Longest time that an ended request waits to be written."""
BATCH = 1000
"""Ended requests that are written at once without waiting for that."""
MAX_WAITING = 20_000
MAX_WAITING_BYTES = 64 * 1024 * 1024
"""Past either bound ended requests are dropped, and counted."""
SHOWN_AFTER_S = 1.0
"""A request that runs for longer is written while it runs."""
TIDY_EVERY_S = 60.0
DAY_NS = 86_400 * 10**9


class RequestLog:
    """A `Recorder` (see `ingress.recording`) that writes to SQLite."""

    def __init__(
        self,
        writer: Writer,
        clock: Clock,
        config: RecordsConfig,
        prices: Sequence[Price],
        *,
        known: list[Fact],
        used_today: dict[str, int],
    ) -> None:
        self._writer = writer
        self._clock = clock
        self._run = uuid.uuid4().hex
        self._open: dict[str, tuple[float, Entry]] = {}
        self._shown: set[str] = set()
        self._ended: list[Entry] = []
        self._waiting_bytes = 0
        self._more = asyncio.Event()
        self._loop: asyncio.Task[None] | None = None
        self._underway: set[asyncio.Task[None]] = set()
        self._tidied_s = clock.monotonic()
        self.known_facts = known
        """What the gateway before this one had learned."""
        self.used_today = used_today
        """Tokens in and out that each client token has used since midnight (UTC), before this gateway started."""
        self.dropped = 0
        """Requests that were not written."""
        self.body_limit = 0
        self.change(config, prices)

    def __repr__(self) -> str:
        return f"<RequestLog open={len(self._open)} waiting={len(self._ended)} dropped={self.dropped}>"

    @classmethod
    async def open(cls, path: Path, *, clock: Clock, config: RecordsConfig, prices: Sequence[Price] = ()) -> RequestLog:
        """Open or make the database at `path`.

        A damaged file is set aside and a new one begun. Raises `StoreUnavailable`, `UnsafePath` or `LimitExceeded`.
        """

        known: list[Fact] = []
        used_today: dict[str, int] = {}

        def connect() -> sqlite3.Connection:
            db, aside = open_for_writing(path, clock=clock, schema=SCHEMA)
            if aside is not None:
                _log.error("records_damaged", extra={"set_aside": str(aside)})
            try:
                # It looks further than the opening does: damage that it meets is for a second opening.
                known[:], used = _begin(db, clock.wall_ns() // DAY_NS * DAY_NS)
                used_today.update(used)
            except sqlite3.Error as error:
                db.close()
                raise explained(error, path) from error
            return db

        writer = Writer(path, lambda: opened_thoroughly(path, connect), clock=clock)
        await writer.start()
        log = cls(writer, clock, config, prices, known=known, used_today=used_today)
        log._loop = asyncio.get_running_loop().create_task(log._write_on(), name="write request records")
        return log

    def change(self, config: RecordsConfig, prices: Sequence[Price]) -> None:
        """Take a new configuration."""
        self._config = config
        self._prices = Prices(prices)
        # One byte more than is kept tells that a body was cut; a key at the cut is still known as one.
        self.body_limit = 0 if config.bodies is Bodies.NONE or not config.enabled else config.body_limit + 1024

    async def ping(self) -> None:
        """Go through the writer and the database once; raises `StoreUnavailable` where the records do not work."""
        await self._writer.call(lambda db: db.execute("SELECT max(number) FROM requests").fetchone())
        if self._loop is not None and self._loop.done():
            raise StoreUnavailable(
                "nobody writes the records any more", why="of an error in the program", next_step="see the log"
            )

    async def close(self) -> None:
        """Write what waits, and end."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
        await self._write()
        await asyncio.gather(*self._underway)
        await self._writer.close()

    # --- what the event loop calls ----------------------------------------------------------------------------------

    def begun(self, entry: Entry) -> None:
        """See `Recorder`."""
        self._open[entry.id] = (self._clock.monotonic(), entry)

    def attempted(self, entry: Entry, attempt: Attempt) -> None:
        """See `Recorder`."""

    def first_byte(self, entry: Entry) -> None:
        """See `Recorder`."""

    def ended(self, entry: Entry) -> None:
        """See `Recorder`."""
        self._open.pop(entry.id, None)
        if not self._config.enabled:
            return
        if not self._wants_bodies(entry):
            entry.body = b""
            for attempt in entry.attempts:
                attempt.sent = b""
                attempt.answer.clear()
        held = _held_bytes(entry)
        if len(self._ended) >= MAX_WAITING or self._waiting_bytes + held > MAX_WAITING_BYTES:
            self._drop(1, "more requests end than can be written")
            return
        self._ended.append(entry)
        self._waiting_bytes += held
        if len(self._ended) >= BATCH:
            self._more.set()

    def learn(self, fact: Fact) -> None:
        """Keep a fact for the gateways after this one."""
        self._soon(partial(facts.write, [fact]), "a learned fact")

    def forget(self, gone: Sequence[Fact]) -> None:
        """Forget facts for good."""
        if gone:
            self._soon(partial(facts.delete, list(gone)), "forgotten facts")

    def under_way(self) -> list[tuple[float, Entry]]:
        """The requests that run now, each with the seconds since it began, the oldest first."""
        now = self._clock.monotonic()
        return [(now - since, entry) for since, entry in self._open.values()]

    # --- beside it --------------------------------------------------------------------------------------------------

    def _wants_bodies(self, entry: Entry) -> bool:
        match self._config.bodies:
            case Bodies.NONE:
                return False
            case Bodies.FAILED:
                return entry.outcome != "ok" or len(entry.attempts) > 1
            case Bodies.ALL:
                return True

    def _soon(self, work: Callable[[sqlite3.Connection], None], what: str) -> None:
        task = asyncio.get_running_loop().create_task(self._call(work, what), name=f"write {what}")
        self._underway.add(task)
        task.add_done_callback(self._underway.discard)

    async def _call(self, work: Callable[[sqlite3.Connection], None], what: str) -> None:
        try:
            await self._writer.call(work)
        except CodexError as error:
            _log.warning("not_recorded", extra={"what": what, "because": str(error)})

    async def _write_on(self) -> None:
        while True:
            try:
                async with asyncio.timeout(WRITE_EVERY_S):
                    await self._more.wait()
            except TimeoutError:
                pass
            self._more.clear()
            await self._write()
            if self._clock.monotonic() - self._tidied_s >= TIDY_EVERY_S:
                await self.tidy()

    async def _write(self) -> None:
        ended, self._ended = self._ended, []
        self._waiting_bytes = 0
        now = self._clock.monotonic()
        long = [
            entry
            for since, entry in (self._open.values() if self._config.enabled else ())
            if now - since > SHOWN_AFTER_S and entry.id not in self._shown
        ]
        self._shown.update(entry.id for entry in long)
        self._shown.difference_update(entry.id for entry in ended)
        if not ended and not long:
            return
        with_bodies = [entry for entry in ended if entry.body or any(one.sent or one.answer for one in entry.attempts)]
        try:
            table = [rows.row_of(entry, self._run, self._prices) for entry in (*ended, *long)]
            await self._writer.call(
                partial(_write, table, with_bodies, self._config.body_limit), cost_bytes=sum(map(_held_bytes, ended))
            )
        except CodexError as error:
            self._drop(len(ended), str(error))
        except Exception:
            # An entry that no row can hold: the requests after it must not go unrecorded.
            _log.exception("records_not_written")
            self._drop(len(ended), "an entry could not be written")

    def _drop(self, count: int, because: str) -> None:
        if self.dropped % 1000 == 0:
            _log.warning("records_dropped", extra={"because": because, "dropped": self.dropped + count})
        self.dropped += count

    async def tidy(self) -> None:
        """Delete what is too old or too much."""
        self._tidied_s = self._clock.monotonic()
        try:
            while await self._writer.call(
                partial(retention.delete_some, config=self._config, now_ns=self._clock.wall_ns())
            ):
                pass
            await self._writer.call(retention.give_back)
        except CodexError as error:
            _log.warning("records_not_tidied", extra={"because": str(error)})


def _begin(db: sqlite3.Connection, midnight_ns: int) -> tuple[list[Fact], dict[str, int]]:
    # One gateway for a user (its lock says so): what has no outcome was another run's, and died with it.
    db.execute(
        "UPDATE requests SET outcome = ?, error = 'the gateway died' WHERE outcome = ?", (rows.LOST, rows.RUNNING)
    )
    used = db.execute(
        "SELECT token, sum(input + cache_read + cache_write + output) FROM requests WHERE at_ns >= ? GROUP BY token",
        (midnight_ns,),
    )
    return facts.read(db), dict(used.fetchall())


def _write(
    table: Sequence[tuple[object, ...]], with_bodies: Sequence[Entry], limit: int, db: sqlite3.Connection
) -> None:
    db.executemany(rows.WRITE, table)
    for entry in with_bodies:
        db.executemany(rows.WRITE_BODY, rows.body_rows_of(entry, limit))


def _held_bytes(entry: Entry) -> int:
    return len(entry.body) + sum(len(one.sent) + len(one.answer) for one in entry.attempts)
