"""The events of one turn: written to the journal, then handed to whoever follows.

An event is published only after it is committed. So a sequence number that a client has seen is in the journal
whatever dies, and a client that comes back misses nothing and gets nothing twice. Followers pull: each has nothing
but its own position, and reads from a bounded ring of recent events or, where it fell behind, from the journal. A
client that does not read costs no memory.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from codex_control.errors import LimitExceeded, StoreUnavailable
from codex_control.service.clock import Clock
from codex_control.service.owned_tasks import News
from codex_control.v1 import turns_pb2

from codex_supervisor.store.records import EventRow, TurnEnd, TurnRecord
from codex_supervisor.store.store import Store
from codex_supervisor.turn.messages import timestamp, turn_message

# How much of the journal a follower that fell behind reads at once. It holds that much while its client does not read,
# and there may be many such clients.
_PAGE_EVENTS = 256
_PAGE_BYTES = 128 * 1024

# Text deltas that wait for a commit are joined up to this size: one row then stands for many.
_JOINED_BYTES = 32 * 1024

# What comes this soon after a commit waits for company, so that a stream of small events costs few commits and few
# wake-ups. Nobody reads faster, and what comes after a pause is committed at once.
_GATHER_S = 0.004

# Wait between two tries to write while the disk is full or the store is not there.
_RETRY_S = 1.0

# How long the supervisor's end waits for the last events of a turn that goes on under the next one.
_FLUSH_TIMEOUT_S = 3.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class LogLimits:
    """Bounds of one turn's events, in bytes, from the configuration."""

    ring_bytes: int = 256 * 1024
    """Recent events kept in memory."""
    recorded_bytes: int = 64 * 1024 * 1024
    """Streamed text (deltas) recorded; past it deltas are dropped with a notice. Whole messages are always kept."""
    pending_bytes: int = 4 * 1024 * 1024
    """Streamed text that may wait for a slow disk; past it deltas are dropped with a notice."""


@dataclass(slots=True)
class _Dropped:
    count: int = 0
    size: int = 0
    reason: str = ""


@dataclass(slots=True)
class TurnLog:
    """Journal and live feed of one turn that has no outcome yet."""

    turn_id: str
    store: Store
    clock: Clock
    limits: LogLimits
    on_dropped: Callable[[int], None] = lambda _count: None
    last_seq: int = 0
    interactive_followers: int = 0
    record: TurnRecord | None = None
    """The final record, once the outcome is committed."""
    _pending: list[turns_pb2.TurnEvent] = field(default_factory=list)
    _pending_bytes: int = 0
    _recorded_bytes: int = 0
    _dropped: _Dropped = field(default_factory=_Dropped)
    _ring: deque[EventRow] = field(default_factory=deque)
    _ring_size: int = 0
    _published: int = 0
    _news: News = field(default_factory=News)
    _flushing: asyncio.Task[None] | None = None
    _gathering: asyncio.TimerHandle | None = None
    _flushed_at: float = 0.0
    _failing: bool = False
    _last_rows: list[EventRow] | None = None
    """What is written with the outcome; set once the end has begun."""

    def resume_at(self, last_seq: int, rows: Sequence[EventRow] = ()) -> None:
        """Go on after event `last_seq`, which is in the journal already.

        `rows` are the events up to it, as far as they are at hand: a follower then need not read them back.
        """
        self.last_seq = self._published = last_seq
        self._ring.extend(rows)
        self._ring_size += sum(len(row.payload) for row in rows)

    def append(self, event: turns_pb2.TurnEvent) -> None:
        """Take an event (its `event` field set) into the record. Never waits; the commit follows within milliseconds.

        Text deltas may be joined with the one before while that one waits, and are dropped past the limits. What comes
        once the end has begun is no part of the turn.
        """
        if self._last_rows is not None:
            return
        kind = event.WhichOneof("event")
        if kind in ("text", "reasoning"):
            delta = event.text if kind == "text" else event.reasoning
            size = len(delta.text.encode())
            reason = self._over_limit(size)
            if reason:
                self._dropped = _Dropped(self._dropped.count + 1, self._dropped.size + size, reason)
                self.on_dropped(1)
                return
            self._recorded_bytes += size
            self._pending_bytes += size
            # Never over a gap: the notice of it stands where it is.
            if not self._dropped.count and self._join(kind, delta.item_id, delta.text, size):
                return
        self._note_dropped()
        self._number(event)
        self._pending.append(event)
        self._schedule()

    def _over_limit(self, size: int) -> str:
        if self._recorded_bytes + size > self.limits.recorded_bytes:
            return "the turn streamed more than turns.recorded_output_limit; whole messages are still recorded"
        if self._pending_bytes + size > self.limits.pending_bytes:
            return "the disk is slower than Codex; whole messages are still recorded"
        return ""

    def _join(self, kind: str, item_id: str, text: str, size: int) -> bool:
        if not self._pending:
            return False
        last = self._pending[-1]
        if last.WhichOneof("event") != kind:
            return False
        delta = last.text if kind == "text" else last.reasoning
        # The length in characters bounds the length in bytes well enough here.
        if delta.item_id != item_id or len(delta.text) + size > _JOINED_BYTES:
            return False
        delta.text += text
        return True

    def _note_dropped(self) -> None:
        if self._dropped.count:
            dropped, self._dropped = self._dropped, _Dropped()
            notice = turns_pb2.TurnEvent(
                dropped=turns_pb2.EventsDropped(count=dropped.count, bytes=dropped.size, reason=dropped.reason)
            )
            self._number(notice)
            self._pending.append(notice)

    def _number(self, event: turns_pb2.TurnEvent) -> None:
        self.last_seq += 1
        event.turn_id = self.turn_id
        event.seq = self.last_seq
        event.at.CopyFrom(timestamp(self.clock.wall_ns()))

    def _schedule(self) -> None:
        if self._flushing is not None or self._gathering is not None:
            return
        wait_s = self._flushed_at + _GATHER_S - self.clock.monotonic()
        if wait_s > 0:
            self._gathering = asyncio.get_running_loop().call_later(wait_s, self._start_flush)
        else:
            self._start_flush()

    def _start_flush(self) -> asyncio.Task[None]:
        self._stop_gathering()
        # Held here, and awaited in `end`.
        self._flushing = asyncio.get_running_loop().create_task(self._flush(), name=f"journal {self.turn_id}")
        return self._flushing

    def _stop_gathering(self) -> None:
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None

    async def _flush(self) -> None:
        try:
            rows = self._take_pending()
            await self._write(rows)
            self._publish(rows)
        finally:
            self._flushing = None
            self._flushed_at = self.clock.monotonic()
        if self._pending:
            self._schedule()

    async def _write(self, rows: list[EventRow]) -> None:
        # A full disk or a locked store passes; what was taken waits for it, and new deltas are dropped with a notice.
        while True:
            try:
                await self.store.append_events(self.turn_id, rows)
            except (LimitExceeded, StoreUnavailable) as error:
                if not self._failing:
                    _log.error("events_not_recorded", extra={"turn": self.turn_id, "error": str(error)})
                self._failing = True
                await asyncio.sleep(_RETRY_S)
            else:
                self._failing = False
                return

    def _take_pending(self) -> list[EventRow]:
        rows = [EventRow(event.seq, event.SerializeToString()) for event in self._pending]
        self._pending.clear()
        self._pending_bytes = 0
        return rows

    def _publish(self, rows: list[EventRow]) -> None:
        for row in rows:
            self._ring.append(row)
            self._ring_size += len(row.payload)
            self._published = row.seq
        while self._ring_size > self.limits.ring_bytes and len(self._ring) > 1:
            self._ring_size -= len(self._ring.popleft().payload)
        self._news.tell()

    async def flushed(self) -> None:
        """Wait, at most a few seconds, until what was appended is in the journal."""
        try:
            async with asyncio.timeout(_FLUSH_TIMEOUT_S):
                while self._pending or self._flushing is not None:
                    await asyncio.wait({self._flushing or self._start_flush()})
        except TimeoutError:
            return

    async def end(self, end: TurnEnd) -> bool:
        """Commit the outcome together with the last event; return False where the turn had one already.

        Raises what the store raises; it may be called again then.
        """
        if self.record is not None:
            return False
        while self._flushing is not None:
            await self._flushing
        self._stop_gathering()
        if self._last_rows is None:
            self._note_dropped()
            last = turns_pb2.TurnEvent(ended=turns_pb2.TurnEnded())
            self._number(last)
            self._pending.append(last)
            # Kept until they are written: a second try has the same rows.
            self._last_rows = self._take_pending()
        record = await self.store.finish_turn(self.turn_id, end, self._last_rows)
        self.record = record or await self.store.get_turn(self.turn_id)
        self._publish(self._last_rows)
        return record is not None

    @contextmanager
    def attached(self, *, interactive: bool) -> Iterator[None]:
        """Count a follower who can answer approvals while the block runs."""
        self.interactive_followers += interactive
        try:
            yield
        finally:
            self.interactive_followers -= interactive

    async def follow(self, after_seq: int) -> AsyncIterator[turns_pb2.TurnEvent]:
        """Yield every event past `after_seq`, recorded and live, and end after the turn's last one."""
        position = after_seq
        while True:
            news = self._news.next()
            rows = await self._rows_after(position)
            for row in rows:
                position = row.seq
                event = turns_pb2.TurnEvent.FromString(row.payload)
                if event.WhichOneof("event") == "ended":
                    yield fill_ended(event, self.record)
                    return
                yield event
            if not rows:
                if self.record is not None and position >= self._published:
                    return
                await news.wait()

    async def _rows_after(self, position: int) -> list[EventRow]:
        if position >= self._published:
            return []
        if self._ring and self._ring[0].seq <= position + 1:
            return [row for row in self._ring if row.seq > position]
        rows = await self.store.read_events(self.turn_id, position, _PAGE_EVENTS, _PAGE_BYTES)
        # The last event is in the journal a moment before the record that goes with it is here.
        return [row for row in rows if row.seq <= self._published]


def fill_ended(event: turns_pb2.TurnEvent, record: TurnRecord | None) -> turns_pb2.TurnEvent:
    """Put the record into a last event: the journal keeps the answer once, in the record."""
    if record is not None:
        event.ended.turn.CopyFrom(turn_message(record))
    return event


async def replay(store: Store, record: TurnRecord, after_seq: int) -> AsyncIterator[turns_pb2.TurnEvent]:
    """Yield the recorded events of a turn that has ended, past `after_seq`.

    Where its events were pruned, the last event alone, made from the record.
    """
    position = after_seq
    while rows := await store.read_events(record.id, position, _PAGE_EVENTS, _PAGE_BYTES):
        for row in rows:
            position = row.seq
            event = turns_pb2.TurnEvent.FromString(row.payload)
            if event.WhichOneof("event") == "ended":
                yield fill_ended(event, record)
                return
            yield event
    # A turn that ended without any event (no such is written) still has a last one.
    last_seq = max(1, await store.last_seq(record.id))
    if position < last_seq:
        event = turns_pb2.TurnEvent(turn_id=record.id, seq=last_seq, ended=turns_pb2.TurnEnded())
        if record.ended_ns is not None:
            event.at.CopyFrom(timestamp(record.ended_ns))
        yield fill_ended(event, record)
