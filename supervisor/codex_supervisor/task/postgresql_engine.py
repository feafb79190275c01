"""The engine for many machines: procrastinate's queue in PostgreSQL, our own tables for everything else.

Any number of supervisors work one queue. All change of state is one transaction under the lock of the task's row, with
the token checked there. Leases run on the server's clock, so the machines' clocks do not matter. procrastinate does not
retry the jobs of workers that died; here any supervisor `reclaim`s them.

The database may be away: the calls then raise `StoreUnavailable`, what runs goes on, and news come again by themselves.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import psycopg
from codex_control.errors import StoreUnavailable
from codex_control.service.owned_tasks import TaskSet
from msgspec.structs import replace
from procrastinate import PsycopgConnector

from codex_supervisor.task import encoding, rules
from codex_supervisor.task.postgresql_connection import Connection, Database
from codex_supervisor.task.postgresql_rows import Transaction
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
from codex_supervisor.task.signals import Signals

T = TypeVar("T")

DEFAULT_SCHEMA = "codex_supervisor"

_QUEUE_CHANNEL = "procrastinate_any_queue_v1"
"""procrastinate's channel for new jobs."""

_TRIES = 5
_TRY_AGAIN_S = 0.05
"""Longest random wait before a transaction that met another one is done again."""

_PRUNED_AT_ONCE = 50

_PAYLOAD_IDS = 100
"""Ids in one notification: PostgreSQL takes less than 8000 bytes, and an id has at most 64."""

_MET_ANOTHER = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.LockNotAvailable,
    psycopg.errors.UniqueViolation,
)


class PostgresqlEngine:
    """See the module and `contract.Engine`. Made by `open`."""

    name = "postgresql"

    def __init__(
        self, database: Database, policy: Policy, schema: str, on_failure: Callable[[BaseException], None]
    ) -> None:
        self.signals = Signals()
        self._database = database
        self._policy = policy
        self._channel = f"{schema}_tasks"
        self._queue = PsycopgConnector()
        self._calls = TaskSet(on_failure)
        self._longest_lease_s = 0.0

    def __repr__(self) -> str:
        return f"<PostgresqlEngine {self._database!r} signals={self.signals!r}>"

    @classmethod
    async def open(
        cls,
        dsn: str,
        *,
        policy: Policy | None = None,
        schema: str = DEFAULT_SCHEMA,
        connections: int = 4,
        on_failure: Callable[[BaseException], None] = lambda _error: None,
    ) -> PostgresqlEngine:
        """Return an engine on the database `dsn` (a connection string of libpq), in its `schema`.

        Does not wait for the database: the first call brings the schema up to date. `on_failure` gets the error where
        the engine cannot hear of changes any more, for a fault of ours; it is logged before. Raises `BadConfig`.
        """
        database = Database(dsn, schema, connections)
        engine = cls(database, policy or Policy(), schema, on_failure)
        await database.open()
        await engine._queue.open_async(database.pool)
        listening = database.listen(
            (_QUEUE_CHANNEL, engine._channel),
            engine._on_notify,
            on_gap=engine.signals.tell_all,
            # Whoever waits for work hears from its next call that the database is away.
            on_loss=engine.signals.work.tell,
        )
        engine._calls.start(listening, "task notifications")
        return engine

    @property
    def listens(self) -> bool:
        """Whether it hears of changes at once; else by looking, at the latest when it listens again."""
        return self._database.listens

    async def close(self) -> None:
        """See `Engine.close`. A second call does nothing."""
        await self._calls.cancel()
        await self._database.close()

    # For whoever hands work over and looks at it.

    async def submit(self, task_id: str, request: TaskRequest) -> tuple[TaskRecord, bool]:
        """See `Engine.submit`."""
        request = check_request(task_id, request)

        async def work(transaction: Transaction) -> tuple[TaskRecord, bool] | None:
            if await transaction.rows("SELECT 1 FROM tasks WHERE id = %s", task_id):
                present = await transaction.read(task_id)
                if present.request != request:
                    raise id_taken(task_id, present)
                return present, True
            parents = await transaction.find_locked(request.after)
            if len(parents) < len(request.after):
                raise unknown(first_missing(request.after, [name for _number, name, _state in parents]))
            record = await transaction.insert(task_id, request, parents)
            return None if record is None else (replace(record, request=request), False)

        # None where another one with the same id came in between: the second look finds it.
        result = await self._write(work) or await self._write(work)
        if result is None:
            raise StoreUnavailable(what=f"task {task_id} was taken and pruned at once", next_step="submit it again")
        return result

    async def get(self, task_id: str) -> TaskRecord:
        """See `Engine.get`."""
        return await self._read(lambda transaction: transaction.read(task_id))

    async def get_many(self, task_ids: Collection[str]) -> list[TaskRecord]:
        """See `Engine.get_many`."""
        return await self._read(lambda transaction: transaction.read_many(task_ids))

    async def list_tasks(
        self,
        *,
        states: Collection[TaskState] = (),
        queue: str = "",
        limit: int = 50,
        before: int | None = None,
    ) -> TaskPage:
        """See `Engine.list_tasks`."""
        records = await self._read(lambda transaction: transaction.read_listed(states, queue, limit + 1, before))
        return TaskPage(tuple(records[:limit]), records[limit - 1].number if len(records) > limit else None)

    async def counts(self) -> Mapping[tuple[TaskState, str], int]:
        """See `Engine.counts`."""
        rows = await self._read(
            lambda transaction: transaction.rows("SELECT state, queue, count(*) FROM tasks GROUP BY state, queue")
        )
        return {(TaskState(state), queue): count for state, queue, count in rows}

    async def events(self, task_id: str, after_seq: int, *, limit: int = 256) -> EventPage:
        """See `Engine.events`."""

        async def work(transaction: Transaction) -> EventPage:
            # One statement, and so one moment. A task without events past the position has one row without an event.
            rows = await transaction.rows(
                "SELECT t.last_seq, t.dropped_seq, t.ended_ns, e.seq, e.payload FROM tasks t LEFT JOIN LATERAL"
                " (SELECT seq, payload FROM events WHERE task = t.number AND seq > %s ORDER BY seq LIMIT %s) e ON true"
                " WHERE t.id = %s ORDER BY e.seq",
                after_seq,
                limit,
                task_id,
            )
            if not rows:
                raise unknown(task_id)
            last_seq, dropped_seq, ended_ns = rows[0][:3]
            events = tuple(encoding.event_from_bytes(row[3], row[4]) for row in rows if row[3] is not None)
            return EventPage(events, last_seq, dropped_seq, ended_ns is not None)

        return await self._read(work)

    async def cancel(self, task_id: str, reason: str = "") -> TaskRecord:
        """See `Engine.cancel`."""

        async def work(transaction: Transaction) -> TaskRecord:
            row = await transaction.lock(task_id)
            await transaction.apply(row, rules.cancelled(row.record, reason, transaction.now_ns))
            return await transaction.read(task_id)

        return await self._write(work)

    async def retry(self, task_id: str) -> TaskRecord:
        """See `Engine.retry`."""

        async def work(transaction: Transaction) -> TaskRecord:
            await transaction.retry(task_id)
            return await transaction.read(task_id)

        return await self._write(work)

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
        wanted = [str(state) for state in states or TaskState if state.ended]

        async def check(transaction: Transaction) -> None:
            for record in await transaction.read_many(task_ids):
                if not record.ended:
                    raise not_ended(record)

        async def forget(transaction: Transaction, count: int) -> int:
            found = await transaction.rows(
                "DELETE FROM tasks WHERE number IN (SELECT number FROM tasks"
                " WHERE ended_ns <= %s AND state = ANY(%s) AND (cardinality(%s::text[]) = 0 OR id = ANY(%s))"
                " AND (%s = 0 OR number < (SELECT number FROM tasks ORDER BY number DESC LIMIT 1 OFFSET %s))"
                " ORDER BY ended_ns LIMIT %s FOR UPDATE SKIP LOCKED) RETURNING id",
                transaction.now_ns - int(ended_before_s * NS),
                wanted,
                list(task_ids),
                list(task_ids),
                0 if task_ids else keep,
                max(0, keep - 1),
                count,
            )
            transaction.told.changed.update(task_id for (task_id,) in found)
            return len(found)

        await self._read(check)
        pruned = 0
        while pruned < limit:
            # Few at once: their events are many, and a statement has a time limit.
            count = min(_PRUNED_AT_ONCE, limit - pruned)
            gone = await self._write(partial(forget, count=count))
            pruned += gone
            if gone < count:
                break
        return pruned

    # For workers.

    async def claim(
        self, worker: Worker, *, lease_s: float, queues: Collection[str] = (), labels: Collection[str] = ()
    ) -> Claim | None:
        """See `Engine.claim`."""
        self._longest_lease_s = max(self._longest_lease_s, lease_s)

        async def work(transaction: Transaction) -> Claim | None:
            row = await transaction.claim_next(worker, lease_s, queues, labels)
            if row is None:
                return None
            record = await transaction.read(row.record.id)
            return Claim(record.id, record.status.token, record)

        return await self._write(work)

    async def renew(self, claim: Claim, *, lease_s: float, heartbeat: bool = False) -> Renewal:
        """See `Engine.renew`."""
        self._longest_lease_s = max(self._longest_lease_s, lease_s)

        async def work(transaction: Transaction) -> Renewal:
            row = await transaction.lock_claimed(claim)
            change = rules.renewed(row.record, claim.token, lease_s, heartbeat, transaction.now_ns)
            status = (await transaction.apply(row, change)).status
            return Renewal(status.lease.expires_ns if status.lease else 0, status.cancel_reason)

        return await self._write(work)

    async def note(self, claim: Claim, note: Note, events: Sequence[NewEvent] = ()) -> None:
        """See `Engine.note`."""

        async def work(transaction: Transaction) -> None:
            row = await transaction.lock_claimed(claim)
            answer = None if note.result is None else note.result.answer
            await transaction.apply(row, rules.noted(row.record, claim.token, note, events), answer=answer)

        await self._write(work)

    async def finish(self, claim: Claim, end: AttemptEnd, *, delay_s: float = 0.0) -> TaskRecord:
        """See `Engine.finish`."""

        async def work(transaction: Transaction) -> TaskRecord:
            row = await transaction.lock_claimed(claim)
            answer = None if end.note.result is None else end.note.result.answer
            change = rules.finished(row.record, claim.token, end, delay_s, transaction.policy, transaction.now_ns)
            await transaction.apply(row, change, answer=answer)
            return await transaction.read(claim.id)

        return await self._write(work)

    async def give_back(self, claim: Claim, reason: str, *, delay_s: float = 0.0) -> TaskRecord:
        """See `Engine.give_back`."""

        async def work(transaction: Transaction) -> TaskRecord:
            row = await transaction.lock_claimed(claim)
            change = rules.given_back(row.record, claim.token, reason, delay_s, transaction.now_ns)
            await transaction.apply(row, change)
            return await transaction.read(claim.id)

        return await self._write(work)

    async def enrol(self, worker: Worker, seat: Seat, *, for_s: float) -> None:
        """See `Engine.enrol`. After the database was away no name is free for `for_s`: nobody could keep it."""
        reachable_for_s = self._database.reachable_for_s()

        kept = reachable_for_s is not None and reachable_for_s < for_s

        async def work(transaction: Transaction) -> None:
            until_ns = transaction.now_ns + int(for_s * NS)
            await transaction.enrol(worker, seat, until_ns, free_before_ns=0 if kept else transaction.now_ns)

        await self._write(work)

    async def leave(self, worker: Worker) -> None:
        """See `Engine.leave`."""
        await self._write(lambda transaction: transaction.leave(worker))

    async def take_over(self, worker: Worker, *, lease_s: float, known: Collection[str] | None = None) -> list[Claim]:
        """See `Engine.take_over`."""
        self._longest_lease_s = max(self._longest_lease_s, lease_s)

        async def work(transaction: Transaction) -> list[Claim]:
            found = await transaction.rows(
                "SELECT number FROM tasks WHERE state = 'RUNNING' AND lease_worker = %s"
                " AND (lease_run <> %s OR id <> ALL(%s::text[]))",
                worker.name,
                worker.run,
                None if known is None else list(known),
            )
            claims = []
            for row in await transaction.lock_running([number for (number,) in found]):
                lease = row.record.status.lease
                if lease is None or lease.worker.name != worker.name:
                    continue  # another one reclaimed it meanwhile
                change = rules.taken_over(row.record, worker, lease_s, transaction.now_ns)
                record = await transaction.apply(row, change)
                claims.append(Claim(record.id, record.status.token, await transaction.read(record.id)))
            return claims

        return await self._write(work)

    async def reclaim(self, *, delay_s: float = 0.0, limit: int = 100) -> list[TaskRecord]:
        """See `Engine.reclaim`. After the database was away nothing is reclaimed for the length of a lease."""
        reachable_for_s = self._database.reachable_for_s()
        if reachable_for_s is not None and reachable_for_s < self._longest_lease_s:
            # Meanwhile no worker could renew: those that live do it now.
            await self._read(lambda transaction: transaction.rows("SELECT 1"))
            return []

        async def work(transaction: Transaction) -> list[TaskRecord]:
            found = await transaction.rows(
                "SELECT number FROM tasks WHERE state = 'RUNNING' AND lease_expires_ns <= %s LIMIT %s",
                transaction.now_ns,
                limit,
            )
            records = []
            for row in await transaction.lock_running([number for (number,) in found]):
                lease = row.record.status.lease
                if lease is None or lease.expires_ns > transaction.now_ns:
                    continue  # it was renewed meanwhile
                change = rules.expired(row.record, delay_s, transaction.policy, transaction.now_ns)
                records.append(await transaction.apply(row, change))
            return records

        return await self._write(work)

    async def next_due_s(self) -> float | None:
        """See `Engine.next_due_s`."""

        async def work(transaction: Transaction) -> float | None:
            now_ns = transaction.now_ns
            rows = await transaction.rows(
                "SELECT least((SELECT min(not_before_ns) FROM tasks"
                " WHERE state = 'PENDING' AND blocked = 0 AND not_before_ns > 0 AND not_before_ns > %s),"
                " (SELECT min(lease_expires_ns) FROM tasks WHERE state = 'RUNNING'))",
                now_ns,
            )
            due_ns = rows[0][0]
            return None if due_ns is None else max(0.0, (due_ns - now_ns) / NS)

        return await self._read(work)

    async def _read(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._database.transaction() as connection:
            return await work(await self._begin(connection))

    async def _write(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        # To the end also where the caller is cancelled: what is committed is told.
        return await self._calls.to_the_end(self._write_and_tell(work), "task transaction")

    async def _write_and_tell(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        for _ in range(_TRIES - 1):
            try:
                return await self._write_once(work)
            except StoreUnavailable as error:
                if not _met_another(error):
                    raise
            await asyncio.sleep(random.uniform(0, _TRY_AGAIN_S))  # noqa: S311 - no secret
        return await self._write_once(work)

    async def _write_once(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        async with self._database.transaction() as connection:
            transaction = await self._begin(connection)
            result = await work(transaction)
            await self._notify(transaction)
        # Here at once; elsewhere, and here again, by the notification.
        self._tell(transaction.told.changed, transaction.told.cancels, transaction.told.work)
        return result

    async def _begin(self, connection: Connection) -> Transaction:
        cursor = await connection.execute("SELECT (extract(epoch FROM now()) * 1000000000)::bigint")
        row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        return Transaction(connection, self._queue, self._policy, row[0])

    async def _notify(self, transaction: Transaction) -> None:
        told = transaction.told
        changed, cancels, work = sorted(told.changed), sorted(told.cancels), told.work
        while changed or cancels or work:
            payload = {"changed": changed[:_PAYLOAD_IDS], "cancels": cancels[:1], "work": work}
            await transaction.rows("SELECT pg_notify(%s, %s)", self._channel, json.dumps(payload))
            changed, cancels, work = changed[_PAYLOAD_IDS:], cancels[1:], False

    def _on_notify(self, channel: str, payload: str) -> None:
        if channel == _QUEUE_CHANNEL:
            self.signals.work.tell()
            return
        try:
            told = json.loads(payload)
            self._tell(told["changed"], told["cancels"], told["work"])
        except (ValueError, KeyError, TypeError):
            # Of a newer version, or of somebody who types NOTIFY: have everybody look.
            self.signals.tell_all()

    def _tell(self, changed: Iterable[str], cancels: Iterable[str], work: bool) -> None:
        self.signals.tell_changed(changed)
        for task_id in cancels:
            self.signals.tell_cancel(task_id)
        if work:
            self.signals.work.tell()


def _met_another(error: StoreUnavailable) -> bool:
    cause = error.__cause__
    return isinstance(cause, _MET_ANOTHER) or (cause is not None and isinstance(cause.__cause__, _MET_ANOTHER))
