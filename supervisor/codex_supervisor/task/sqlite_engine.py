"""The embedded engine: tasks in an SQLite database of their own, nothing to start.

One supervisor uses it at a time (its lock says so), so its time limits and back-offs run on a clock without jumps: the
monotonic one. What it tells is the wall clock's time: where that is set, or the machine has slept, ours is set too, and
what is to come moves with it. Claims of an earlier run are found by `take_over`.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
from codex_control.database.opening import LOCK_WAIT_S, open_for_writing
from codex_control.database.pair import start_pair
from codex_control.database.reader import Reader
from codex_control.database.writer import Writer
from codex_control.service.clock import Clock
from codex_control.service.owned_tasks import TaskSet

from codex_supervisor.store.shelf import give_back
from codex_supervisor.task import encoding, rules, sqlite_rows
from codex_supervisor.task.records import (
    AttemptEnd,
    Claim,
    EventPage,
    NewEvent,
    Note,
    Policy,
    Renewal,
    Seat,
    TaskPage,
    TaskRecord,
    TaskRequest,
    TaskState,
    Worker,
    check_request,
)
from codex_supervisor.task.refusals import first_missing, id_taken, not_ended, unknown
from codex_supervisor.task.rules import NS
from codex_supervisor.task.signals import Signals, Told
from codex_supervisor.task.sqlite_rows import Transaction
from codex_supervisor.task.sqlite_schema import SCHEMA

_log = logging.getLogger(__name__)

T = TypeVar("T")

# Events of pruned tasks are many; so few tasks go in one transaction that a submit beside it waits for milliseconds.
_PRUNED_AT_ONCE = 50

# Free pages given back to the file system with each of those transactions; 4 MiB in pages of 4 KiB.
_FREED_PAGES = 1024

# The clock is set where it differs from the wall clock by more.
_JUMP_NS = NS

# Every query over many tasks names its index: without statistics SQLite takes the one on the state, and then sorts all
# tasks that wait.

# Queues and labels come as JSON arrays; an empty one of queues means all. The index has every column of it.
_NEXT = """
SELECT number FROM tasks INDEXED BY tasks_to_claim
WHERE state = 'PENDING' AND blocked = 0 AND not_before_ns <= ?1
  AND (?2 = '[]' OR queue IN (SELECT value FROM json_each(?2)))
  AND (labels = '' OR NOT EXISTS (
    SELECT 1 FROM json_each(labels) WHERE value NOT IN (SELECT value FROM json_each(?3))))
ORDER BY priority DESC, number LIMIT 1
"""


class SqliteEngine:
    """See the module and `contract.Engine`. Made by `open`."""

    name = "sqlite"

    def __init__(self, path: Path, writer: Writer, reader: Reader, clock: Clock, policy: Policy) -> None:
        self.path = path
        self.signals = Signals()
        self.quarantined: Path | None = None
        """Where a damaged database was set aside when this one was opened; None where it was sound."""
        self._writer = writer
        self._reader = reader
        self._clock = clock
        self._policy = policy
        self._base_ns = clock.wall_ns() - int(clock.monotonic() * NS)
        self._setting = asyncio.Lock()
        self._calls = TaskSet(lambda error: _log.critical("task_engine_failed", exc_info=error))

    def __repr__(self) -> str:
        return f"<SqliteEngine {self.path} writer={self._writer!r} signals={self.signals!r}>"

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        clock: Clock,
        policy: Policy | None = None,
        on_commit: Callable[[float], None] | None = None,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> SqliteEngine:
        """Open the database at `path`, or create it; a damaged one is set aside (`quarantined`).

        `on_commit` gets the seconds of every transaction that wrote. Raises `UnsafePath`, `StoreUnavailable` (locked,
        unwritable, of another program or a newer version) and `LimitExceeded` (full disk).
        """
        quarantined: list[Path | None] = []

        def connect() -> sqlite3.Connection:
            db, moved = open_for_writing(path, clock=clock, lock_wait_s=lock_wait_s, schema=SCHEMA)
            quarantined.append(moved)
            return db

        writer, reader = await start_pair(path, connect, clock=clock, lock_wait_s=lock_wait_s, on_commit=on_commit)
        engine = cls(path, writer, reader, clock, policy or Policy())
        engine.quarantined = quarantined[-1]
        return engine

    async def close(self) -> None:
        """See `Engine.close`. A second call does nothing."""
        # The writer last: the last connection to close folds the log into the database and deletes it.
        await self._reader.close()
        await self._writer.close()
        await self._calls.cancel()

    # For whoever hands work over and looks at it.

    async def submit(self, task_id: str, request: TaskRequest) -> tuple[TaskRecord, bool]:
        """See `Engine.submit`."""
        request = check_request(task_id, request)

        def work(transaction: Transaction) -> tuple[TaskRecord, bool]:
            present = sqlite_rows.read(transaction.db, task_id)
            if present is not None:
                if present.request != request:
                    raise id_taken(task_id, present)
                return present, True
            parents = transaction.find(request.after)
            if len(parents) < len(request.after):
                raise unknown(first_missing(request.after, [name for _number, name, _state in parents]))
            record = transaction.insert(task_id, request, parents)
            # Nobody can have asked for news of it yet, and the caller has it.
            transaction.told.changed.discard(task_id)
            return record, False

        size = len(request.prompt) + len(request.output_schema)
        record, existed = await self._write("submit", work, durable=True, cost_bytes=size)
        return msgspec.structs.replace(record, request=request), existed

    async def get(self, task_id: str) -> TaskRecord:
        """See `Engine.get`."""
        return (await self.get_many([task_id]))[0]

    async def get_many(self, task_ids: Collection[str]) -> list[TaskRecord]:
        """See `Engine.get_many`."""

        def work(db: sqlite3.Connection) -> list[TaskRecord]:
            return [_whole(db, task_id) for task_id in task_ids]

        return await self._reader.call(work)

    async def list_tasks(
        self,
        *,
        states: Collection[TaskState] = (),
        queue: str = "",
        limit: int = 50,
        before: int | None = None,
    ) -> TaskPage:
        """See `Engine.list_tasks`."""

        def work(db: sqlite3.Connection) -> TaskPage:
            numbers: list[int] = []
            # State by state, each from its index, because few of 100,000 tasks may be in the states that are wanted.
            for state in states or TaskState:
                found = db.execute(
                    "SELECT number FROM tasks INDEXED BY tasks_by_state"
                    " WHERE state = ?1 AND number < ?2 AND (?3 = '' OR queue = ?3)"
                    " ORDER BY number DESC LIMIT ?4",
                    (state, before if before is not None else (1 << 63) - 1, queue, limit + 1),
                )
                numbers += [number for (number,) in found]
            numbers = sorted(set(numbers), reverse=True)
            next_number = numbers[limit - 1] if len(numbers) > limit else None
            return TaskPage(tuple(sqlite_rows.read_listed(db, numbers[:limit])), next_number)

        return await self._reader.call(work)

    async def counts(self) -> Mapping[tuple[TaskState, str], int]:
        """See `Engine.counts`."""

        def work(db: sqlite3.Connection) -> dict[tuple[TaskState, str], int]:
            rows = db.execute(
                "SELECT state, queue, count(*) FROM tasks INDEXED BY tasks_by_state GROUP BY state, queue"
            )
            return {(TaskState(state), queue): count for state, queue, count in rows}

        return await self._reader.call(work)

    async def events(self, task_id: str, after_seq: int, *, limit: int = 256) -> EventPage:
        """See `Engine.events`."""

        def work(db: sqlite3.Connection) -> EventPage:
            task = db.execute(
                "SELECT number, last_seq, dropped_seq, ended_ns FROM tasks WHERE id = ?", (task_id,)
            ).fetchone()
            if task is None:
                raise unknown(task_id)
            number, last_seq, dropped_seq, ended_ns = task
            rows = db.execute(
                "SELECT seq, payload FROM events WHERE task = ? AND seq > ? ORDER BY seq LIMIT ?",
                (number, after_seq, limit),
            )
            events = tuple(encoding.event_from_bytes(seq, payload) for seq, payload in rows)
            return EventPage(events, last_seq, dropped_seq, ended_ns is not None)

        return await self._reader.call(work)

    async def cancel(self, task_id: str, reason: str = "") -> TaskRecord:
        """See `Engine.cancel`."""

        def work(transaction: Transaction) -> TaskRecord:
            row = transaction.load(task_id)
            transaction.apply(row, rules.cancelled(row.record, reason, transaction.now_ns))
            return _whole(transaction.db, task_id)

        return await self._write("cancel", work, durable=True)

    async def retry(self, task_id: str) -> TaskRecord:
        """See `Engine.retry`."""

        def work(transaction: Transaction) -> TaskRecord:
            row = transaction.load(task_id)
            transaction.retry(row, transaction.find(row.record.request.after))
            return _whole(transaction.db, task_id)

        return await self._write("retry", work, durable=True)

    async def prune(
        self,
        *,
        task_ids: Collection[str] = (),
        ended_before_s: float = 0.0,
        states: Collection[TaskState] = (),
        keep: int = 0,
        limit: int = 1000,
    ) -> int:
        """See `Engine.prune`."""
        named = list(dict.fromkeys(task_ids))
        pruned = 0

        def choose(transaction: Transaction) -> list[int]:
            db = transaction.db
            before_ns = transaction.now_ns - int(ended_before_s * NS)
            wanted = [state for state in states or TaskState if state.ended]
            if named:
                rows = [transaction.load(task_id).record for task_id in named]
                for record in rows:
                    if not record.ended:
                        raise not_ended(record)
                return [
                    record.number
                    for record in rows
                    if record.state in wanted and (record.status.ended_ns or 0) <= before_ns
                ][:limit]
            below = (1 << 63) - 1
            if keep:
                found = db.execute(
                    "SELECT number FROM tasks ORDER BY number DESC LIMIT 1 OFFSET ?", (keep - 1,)
                ).fetchone()
                below = found[0] if found else 0
            rows_ended = db.execute(
                "SELECT number FROM tasks INDEXED BY tasks_ended WHERE ended_ns <= ? AND number < ?"
                " AND state IN (SELECT value FROM json_each(?)) ORDER BY ended_ns LIMIT ?",
                (before_ns, below, json.dumps(wanted), limit),
            )
            return [number for (number,) in rows_ended]

        numbers = await self._write("prune", choose)
        for start in range(0, len(numbers), _PRUNED_AT_ONCE):
            batch = numbers[start : start + _PRUNED_AT_ONCE]

            def forget(transaction: Transaction, batch: Sequence[int] = batch) -> int:
                count = 0
                for number in batch:
                    # One that a person retried meanwhile stays.
                    found = transaction.db.execute(
                        "DELETE FROM tasks WHERE number = ? AND ended_ns IS NOT NULL RETURNING id", (number,)
                    ).fetchall()
                    transaction.told.changed.update(task_id for (task_id,) in found)
                    count += len(found)
                (free,) = transaction.db.execute("PRAGMA freelist_count").fetchone()
                give_back(transaction.db, min(free, _FREED_PAGES))
                return count

            pruned += await self._write("prune", forget)
        return pruned

    # For workers.

    async def claim(
        self, worker: Worker, *, lease_s: float, queues: Collection[str] = (), labels: Collection[str] = ()
    ) -> Claim | None:
        """See `Engine.claim`."""
        wanted = (json.dumps(list(queues)), json.dumps(list(labels)))

        def work(transaction: Transaction) -> Claim | None:
            while found := transaction.db.execute(_NEXT, (transaction.now_ns, *wanted)).fetchone():
                row = transaction.load_number(found[0])
                change = rules.claimed(row.record, worker, lease_s, transaction.policy, transaction.now_ns)
                record = transaction.apply(row, change)
                if not record.ended:
                    return Claim(record.id, record.status.token, _whole(transaction.db, record.id))
            return None

        return await self._write("claim", work)

    async def renew(self, claim: Claim, *, lease_s: float, heartbeat: bool = False) -> Renewal:
        """See `Engine.renew`."""

        def work(transaction: Transaction) -> Renewal:
            row = transaction.load_claimed(claim)
            status = transaction.apply(
                row, rules.renewed(row.record, claim.token, lease_s, heartbeat, transaction.now_ns)
            ).status
            return Renewal(status.lease.expires_ns if status.lease else 0, status.cancel_reason)

        return await self._write("renew", work)

    async def note(self, claim: Claim, note: Note, events: Sequence[NewEvent] = ()) -> None:
        """See `Engine.note`."""

        def work(transaction: Transaction) -> None:
            row = transaction.load_claimed(claim)
            answer = None if note.result is None else note.result.answer
            transaction.apply(row, rules.noted(row.record, claim.token, note, events), answer=answer)

        durable = note.thread_id is not None or note.turn_id is not None or note.deaths > 0
        await self._write("note", work, durable=durable, cost_bytes=sum(len(event.item) for event in events))

    async def finish(self, claim: Claim, end: AttemptEnd, *, delay_s: float = 0.0) -> TaskRecord:
        """See `Engine.finish`."""

        def work(transaction: Transaction) -> TaskRecord:
            row = transaction.load_claimed(claim)
            answer = None if end.note.result is None else end.note.result.answer
            change = rules.finished(row.record, claim.token, end, delay_s, transaction.policy, transaction.now_ns)
            transaction.apply(row, change, answer=answer)
            return _whole(transaction.db, claim.id)

        size = len(end.note.result.answer) if end.note.result else 0
        return await self._write("finish", work, durable=True, cost_bytes=size)

    async def give_back(self, claim: Claim, reason: str, *, delay_s: float = 0.0) -> TaskRecord:
        """See `Engine.give_back`."""

        def work(transaction: Transaction) -> TaskRecord:
            row = transaction.load_claimed(claim)
            change = rules.given_back(row.record, claim.token, reason, delay_s, transaction.now_ns)
            transaction.apply(row, change)
            return _whole(transaction.db, claim.id)

        return await self._write("give back", work, durable=True)

    async def enrol(self, worker: Worker, seat: Seat, *, for_s: float) -> None:
        """See `Engine.enrol`. Nobody else can have the database: there is a lock on the state directory."""

    async def leave(self, worker: Worker) -> None:
        """See `Engine.leave`."""

    async def take_over(self, worker: Worker, *, lease_s: float, known: Collection[str] | None = None) -> list[Claim]:
        """See `Engine.take_over`."""

        def work(transaction: Transaction) -> list[Claim]:
            claims = []
            found = transaction.db.execute(
                "SELECT number FROM tasks INDEXED BY tasks_running"
                " WHERE state = 'RUNNING' AND lease_worker = ?1 AND (lease_run <> ?2"
                " OR (?3 IS NOT NULL AND id NOT IN (SELECT value FROM json_each(?3))))",
                (worker.name, worker.run, None if known is None else json.dumps(list(known))),
            ).fetchall()
            for (number,) in found:
                row = transaction.load_number(number)
                record = transaction.apply(row, rules.taken_over(row.record, worker, lease_s, transaction.now_ns))
                claims.append(Claim(record.id, record.status.token, _whole(transaction.db, record.id)))
            return claims

        return await self._write("take over", work, durable=True)

    async def reclaim(self, *, delay_s: float = 0.0, limit: int = 100) -> list[TaskRecord]:
        """See `Engine.reclaim`."""

        def work(transaction: Transaction) -> list[TaskRecord]:
            found = transaction.db.execute(
                "SELECT number FROM tasks INDEXED BY tasks_running"
                " WHERE state = 'RUNNING' AND lease_expires_ns <= ? LIMIT ?",
                (transaction.now_ns, limit),
            ).fetchall()
            rows = [transaction.load_number(number) for (number,) in found]
            now_ns, policy = transaction.now_ns, transaction.policy
            return [transaction.apply(row, rules.expired(row.record, delay_s, policy, now_ns)) for row in rows]

        return await self._write("reclaim", work, durable=True)

    async def next_due_s(self) -> float | None:
        """See `Engine.next_due_s`."""
        now_ns = self._now_ns()

        def work(db: sqlite3.Connection) -> int | None:
            (due,) = db.execute(
                "SELECT min(due) FROM (SELECT min(not_before_ns) AS due FROM tasks INDEXED BY tasks_to_come"
                " WHERE state = 'PENDING' AND blocked = 0 AND not_before_ns > 0 AND not_before_ns > ?"
                " UNION ALL SELECT min(lease_expires_ns) FROM tasks INDEXED BY tasks_running"
                " WHERE state = 'RUNNING')",
                (now_ns,),
            ).fetchone()
            return None if due is None else int(due)

        due_ns = await self._reader.call(work)
        return None if due_ns is None else max(0.0, (due_ns - now_ns) / NS)

    def _now_ns(self) -> int:
        return self._base_ns + int(self._clock.monotonic() * NS)

    async def _write(
        self, name: str, work: Callable[[Transaction], T], *, durable: bool = False, cost_bytes: int = 0
    ) -> T:
        # To the end also where the caller is cancelled: what is committed is told.
        return await self._calls.to_the_end(self._write_and_tell(work, durable, cost_bytes), f"task {name}")

    def _jump_ns(self) -> int:
        jump_ns = self._clock.wall_ns() - self._now_ns()
        return jump_ns if abs(jump_ns) > _JUMP_NS else 0

    async def _set_clock(self) -> None:
        async with self._setting:
            if jump_ns := self._jump_ns():
                _log.info("task_clock_set", extra={"by_s": jump_ns / NS})
                await self._writer.call(lambda db: Transaction(db, self._now_ns(), self._policy).move(jump_ns))
                self._base_ns += jump_ns

    async def _write_and_tell(self, work: Callable[[Transaction], T], durable: bool, cost_bytes: int) -> T:
        if self._jump_ns():
            await self._set_clock()

        def run(db: sqlite3.Connection) -> tuple[T, Told]:
            transaction = Transaction(db, self._now_ns(), self._policy)
            return work(transaction), transaction.told

        result, told = await self._writer.call(run, durable=durable, cost_bytes=cost_bytes)
        self.signals.tell_changed(told.changed)
        for task_id in told.cancels:
            self.signals.tell_cancel(task_id)
        if told.work:
            self.signals.work.tell()
        return result


def _whole(db: sqlite3.Connection, task_id: str) -> TaskRecord:
    record = sqlite_rows.read(db, task_id)
    if record is None:
        raise unknown(task_id)
    return record
