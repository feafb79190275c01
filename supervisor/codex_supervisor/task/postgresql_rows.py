"""The transactions of the PostgreSQL engine: each locks rows, applies the rules, and writes what comes out.

procrastinate's queue carries "there is a task to run": one job for each task that has not ended, with its priority,
from the submission on, so that the order of the jobs is the order of the tasks. What counts is our own row: a job that
somebody moved by hand is put right at its task's next change. A job has no worker in procrastinate's sense, and its
stalled jobs are none of ours: our leases say who lives.

Locks are taken from the older task to the younger one, and a parent is always older than its children; a claim, which
comes from the other end (job, then task), does not wait at all. What circle is left is found by PostgreSQL, and the
engine does the transaction again.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from codex_control.errors import NotFound
from procrastinate import PsycopgConnector, sql
from procrastinate.jobs import Job
from procrastinate.manager import JobManager

from codex_supervisor.task import encoding, rules
from codex_supervisor.task.contract import LeaseLost
from codex_supervisor.task.postgresql_connection import Connection
from codex_supervisor.task.records import (
    LISTED_CHARS,
    Claim,
    Policy,
    Seat,
    TaskRecord,
    TaskRequest,
    TaskState,
    TaskStatus,
    Worker,
)
from codex_supervisor.task.refusals import name_taken, unknown
from codex_supervisor.task.rules import NS, Change
from codex_supervisor.task.signals import Told

_FULL = "number, id, last_seq, request, status, prompt, output_schema, answer"
# A character has at most four bytes.
_SHORT = f"number, id, last_seq, request, status, substring(prompt, 1, {4 * LISTED_CHARS}), ''::bytea, ''::bytea"
_BARE = "number, id, last_seq, request, status, ''::bytea, ''::bytea, ''::bytea, dropped_seq, event_bytes, job, route"

_JOB = "codex_task"
"""procrastinate's name of what is to be run."""

_NEVER = datetime(9999, 1, 1, tzinfo=UTC)
"""When a job is due whose task waits for others."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_MAX_ROUTE_CHARS = 40
"""procrastinate notifies on a channel "procrastinate_queue_v1#" and the queue's name, and PostgreSQL's names of
channels have less than 64 characters."""

_DROPPED_SHARE = 10


@dataclass(eq=False)
class Row:
    """A locked task without its long texts, where its events stand, and its job."""

    record: TaskRecord
    dropped_seq: int = 0
    event_bytes: int = 0
    job: int | None = None
    route: str = ""


@dataclass(eq=False)
class Transaction:
    """One piece of work at one moment, the beginning of the transaction on the server's clock."""

    db: Connection
    queue: PsycopgConnector
    policy: Policy
    now_ns: int
    told: Told = field(default_factory=Told)

    async def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a query of ours."""
        cursor = await self.db.execute(query.encode(), parameters)
        return await cursor.fetchall() if cursor.description is not None else []

    async def insert(
        self, task_id: str, request: TaskRequest, parents: Sequence[tuple[int, str, TaskStatus]]
    ) -> TaskRecord | None:
        """Write a new task, which comes after `parents` (number, id, state); None where the id was taken meanwhile."""
        change = rules.submitted([(name, status) for _number, name, status in parents], self.now_ns)
        route = await self._route(request.queue, request.labels)
        found = await self.rows(
            "INSERT INTO tasks (id, state, queue, route, priority, blocked, not_before_ns, last_seq, dropped_seq,"
            " event_bytes, request, status, prompt, output_schema, answer)"
            " VALUES (%s, 'PENDING', %s, %s, %s, 0, 0, 0, 0, 0, %s, '', %s, %s, '')"
            " ON CONFLICT (id) DO NOTHING RETURNING number",
            task_id,
            request.queue,
            route,
            request.priority,
            encoding.request_to_json(request),
            request.prompt.encode(),
            request.output_schema.encode(),
        )
        if not found:
            return None
        record = TaskRecord(task_id, found[0][0], request, TaskStatus())
        await self._set_waits(record.number, change.status, parents)
        return await self.apply(Row(record, route=route), change)

    async def enrol(self, worker: Worker, seat: Seat, until_ns: int, *, free_before_ns: int) -> None:
        """Keep the worker's name until then. Raises `NameTaken` where another seat has it at `free_before_ns`."""
        taken = await self.rows(
            "INSERT INTO workers AS present (name, run, seat, host, until_ns) VALUES (%s, %s, %s, %s, %s)"
            " ON CONFLICT (name) DO UPDATE SET run = excluded.run, seat = excluded.seat, host = excluded.host,"
            " until_ns = excluded.until_ns"
            " WHERE present.run = excluded.run OR present.seat = excluded.seat OR present.until_ns <= %s"
            " RETURNING name",
            worker.name,
            worker.run,
            seat.key,
            seat.where,
            until_ns,
            free_before_ns,
        )
        if not taken:
            present = await self.rows("SELECT host FROM workers WHERE name = %s", worker.name)
            raise name_taken(worker, present[0][0] if present else "another machine")

    async def leave(self, worker: Worker) -> None:
        """Give the worker's name free."""
        await self.rows("DELETE FROM workers WHERE name = %s AND run = %s", worker.name, worker.run)

    async def lock(self, task_id: str) -> Row:
        """Return a task for a change. Raises `NotFound`."""
        found = await self.rows(f"SELECT {_BARE} FROM tasks WHERE id = %s FOR UPDATE", task_id)  # noqa: S608
        if not found:
            raise unknown(task_id)
        return _row(found[0])

    async def lock_claimed(self, claim: Claim) -> Row:
        """Return a task for a write of its worker. Raises `LeaseLost` where it is gone."""
        try:
            return await self.lock(claim.id)
        except NotFound as error:
            raise LeaseLost(what=f"task {claim.id} is no longer this worker's", why="it was pruned") from error

    async def lock_running(self, numbers: Collection[int]) -> list[Row]:
        """Return those of the tasks that still run and that nobody else has locked, in the order of their numbers."""
        found = await self.rows(
            f"SELECT {_BARE} FROM tasks WHERE number = ANY(%s) AND state = 'RUNNING'"  # noqa: S608
            " ORDER BY number FOR UPDATE SKIP LOCKED",
            list(numbers),
        )
        return [_row(row) for row in found]

    async def claim_next(
        self, worker: Worker, lease_s: float, queues: Collection[str], labels: Collection[str]
    ) -> Row | None:
        """Take the next task for this worker, or None."""
        routes = await self.rows(
            "SELECT route FROM routes WHERE labels <@ %s::text[] AND (cardinality(%s::text[]) = 0 OR queue = ANY(%s))",
            list(labels),
            list(queues),
            list(queues),
        )
        names = [route for (route,) in routes]
        while names:
            fetched = await self._queue_one("fetch_job", queues=names, worker_id=None)
            if fetched["id"] is None:
                return None
            job = int(fetched["id"])
            # Not waiting: whoever has the task locked may wait for the job that was locked just now.
            found = await self.rows(f"SELECT {_BARE} FROM tasks WHERE job = %s FOR UPDATE NOWAIT", job)  # noqa: S608
            if not found:
                await self.rows("DELETE FROM procrastinate_jobs WHERE id = %s", job)
                continue
            row = _row(found[0])
            if row.record.state is TaskState.RUNNING:
                continue  # somebody made its job "todo" by hand: it is "doing" again
            if not rules.claimable(row.record.status, self.now_ns):
                await self._set_job(row, row.record.status)
                continue
            record = await self.apply(row, rules.claimed(row.record, worker, lease_s, self.policy, self.now_ns))
            if not record.ended:
                return row
        return None

    async def apply(self, row: Row, change: Change, *, answer: str | None = None) -> TaskRecord:
        """Write a change, and what it means for the children; return the task without long texts.

        `answer` takes the place of the present one unless it is None.
        """
        if change == Change(row.record.status) and answer is None:
            return row.record
        record = await self._write(row, change, answer)
        if record.ended:
            await self._tell_children(record)
        return record

    async def retry(self, task_id: str) -> None:
        """Make a task pending again."""
        found = await self.rows("SELECT request FROM tasks WHERE id = %s", task_id)
        if not found:
            raise unknown(task_id)
        # The parents are older: they are locked first.
        parents = await self.find_locked(encoding.request_from_json(found[0][0]).after)
        row = await self.lock(task_id)
        change = rules.retried(row.record, [(name, status) for _number, name, status in parents])
        await self._set_waits(row.record.number, change.status, parents)
        await self.apply(row, change, answer="")

    async def find_locked(self, task_ids: Iterable[str]) -> list[tuple[int, str, TaskStatus]]:
        """Return number, id and status of those tasks that exist, in the order given; they do not end before the
        transaction does."""
        found = await self.rows(
            "SELECT number, id, status FROM tasks WHERE id = ANY(%s) ORDER BY number FOR SHARE", list(task_ids)
        )
        by_id = {row[1]: (row[0], row[1], encoding.status_from_json(row[2])) for row in found}
        return [by_id[task_id] for task_id in task_ids if task_id in by_id]

    async def read(self, task_id: str) -> TaskRecord:
        """Return a task whole. Raises `NotFound`."""
        found = await self.rows(f"SELECT {_FULL} FROM tasks WHERE id = %s", task_id)  # noqa: S608
        if not found:
            raise unknown(task_id)
        return _record(found[0])

    async def read_many(self, task_ids: Collection[str]) -> list[TaskRecord]:
        """Return tasks whole, as of one moment. Raises `NotFound`."""
        found = await self.rows(f"SELECT {_FULL} FROM tasks WHERE id = ANY(%s)", list(task_ids))  # noqa: S608
        records = {record.id: record for record in map(_record, found)}
        for task_id in task_ids:
            if task_id not in records:
                raise unknown(task_id)
        return [records[task_id] for task_id in task_ids]

    async def read_listed(
        self, states: Collection[TaskState], queue: str, limit: int, before: int | None
    ) -> list[TaskRecord]:
        """Return at most `limit` tasks as a list shows them, the newest first."""
        found = await self.rows(
            f"SELECT {_SHORT} FROM tasks WHERE state = ANY(%s) AND number < %s"  # noqa: S608
            " AND (%s = '' OR queue = %s) ORDER BY number DESC LIMIT %s",
            [str(state) for state in states or TaskState],
            (1 << 63) - 1 if before is None else before,
            queue,
            queue,
            limit,
        )
        # A cut within a character is left out by the decoding.
        return [_record((*row[:5], row[5].decode(errors="ignore")[:LISTED_CHARS].encode(), *row[6:])) for row in found]

    async def _write(self, row: Row, change: Change, answer: str | None) -> TaskRecord:
        record, status = row.record, change.status
        last_seq = record.last_seq
        written = []
        for event in change.events:
            last_seq += 1
            payload = encoding.event_to_bytes(event, self.now_ns, status.attempt)
            row.event_bytes += len(payload)
            written.append((record.number, last_seq, payload))
        if written:
            async with self.db.cursor() as cursor:
                await cursor.executemany("INSERT INTO events (task, seq, payload) VALUES (%s, %s, %s)", written)
            await self._drop_oldest(row, last_seq)
            self.told.changed.add(record.id)
        row.record = TaskRecord(record.id, record.number, record.request, status, last_seq)
        await self._set_job(row, status)
        lease = status.lease
        await self.rows(
            "UPDATE tasks SET state = %s, blocked = %s, not_before_ns = %s, lease_worker = %s, lease_run = %s,"
            " lease_expires_ns = %s, ended_ns = %s, last_seq = %s, dropped_seq = %s, event_bytes = %s, job = %s,"
            " status = %s, answer = coalesce(%s, answer) WHERE number = %s",
            str(status.state),
            len(status.blocked_by),
            status.not_before_ns,
            lease.worker.name if lease else None,
            lease.worker.run if lease else None,
            lease.expires_ns if lease else None,
            status.ended_ns,
            last_seq,
            row.dropped_seq,
            row.event_bytes,
            row.job,
            encoding.status_to_json(status),
            None if answer is None else answer.encode(),
            record.number,
        )
        if status.state is TaskState.PENDING and not status.blocked_by:
            self.told.work = True
        if status.cancel_reason is not None and record.status.cancel_reason is None and not status.state.ended:
            self.told.cancels.add(record.id)
        return row.record

    async def _set_job(self, row: Row, status: TaskStatus) -> None:
        """Make procrastinate's queue say what `status` says: a job that is due, one that runs, or none."""
        if status.state is TaskState.RUNNING:
            return  # it was fetched
        present = await self._job_status(row.job)
        if status.state.ended:
            if present in ("todo", "doing"):
                await self._queue_one("finish_job", job_id=row.job, status="succeeded", delete_job=True)
            row.job = None
            return
        due = _due(status)
        match present:
            case "todo":
                await self.rows("UPDATE procrastinate_jobs SET scheduled_at = %s WHERE id = %s", due, row.job)
            case "doing":
                await self._queue_one(
                    "retry_job", job_id=row.job, retry_at=due, new_priority=None, new_queue_name=None, new_lock=None
                )
            case _:
                row.job = await self._defer(row, due)

    async def _job_status(self, job: int | None) -> str | None:
        if job is None:
            return None
        found = await self.rows("SELECT status::text FROM procrastinate_jobs WHERE id = %s FOR UPDATE", job)
        return str(found[0][0]) if found else None

    async def _defer(self, row: Row, due: datetime | None) -> int:
        request = row.record.request
        job = Job(
            id=None,
            queue=row.route,
            priority=request.priority,
            lock=None,
            # A second job for one task is refused by procrastinate too.
            queueing_lock=row.record.id,
            task_name=_JOB,
            task_kwargs={"number": row.record.number},
            scheduled_at=due,
        )
        deferred = await JobManager(self.queue).defer_job_async(job, connection=self.db)
        assert deferred.id is not None  # noqa: S101 - procrastinate returns a job with its id
        return deferred.id

    async def _queue_one(self, query: str, **arguments: Any) -> dict[str, Any]:
        row: dict[str, Any] = await self.queue.execute_query_one_async_with_connection(
            self.db, sql.queries[query], **arguments
        )
        return row

    async def _route(self, queue: str, labels: Sequence[str]) -> str:
        route = queue
        if labels or len(queue) > _MAX_ROUTE_CHARS:
            digest = hashlib.sha256("\0".join((queue, *labels)).encode()).hexdigest()
            # No queue's name has a "#".
            route = f"{queue[:20]}#{digest[:16]}"
        await self.rows(
            "INSERT INTO routes (route, queue, labels) VALUES (%s, %s, %s) ON CONFLICT DO NOTHING",
            route,
            queue,
            list(labels),
        )
        return route

    async def _drop_oldest(self, row: Row, last_seq: int) -> None:
        limits = self.policy
        # Numbers are given without gaps, so the difference is the count.
        while last_seq - row.dropped_seq > limits.max_events or row.event_bytes > limits.max_event_bytes:
            count = max(1, (last_seq - row.dropped_seq) // _DROPPED_SHARE)
            # The newest event stays, whatever its size: it may be the end.
            dropped_seq = min(row.dropped_seq + count, last_seq - 1)
            if dropped_seq <= row.dropped_seq:
                return
            gone = await self.rows(
                "WITH gone AS (DELETE FROM events WHERE task = %s AND seq <= %s RETURNING length(payload) AS size)"
                " SELECT coalesce(sum(size), 0)::bigint FROM gone",
                row.record.number,
                dropped_seq,
            )
            row.dropped_seq, row.event_bytes = dropped_seq, row.event_bytes - int(gone[0][0])

    async def _tell_children(self, ended: TaskRecord) -> None:
        to_tell = [(ended.number, ended)]
        while to_tell:
            # The oldest first: that is the order of the locks.
            _number, parent = heapq.heappop(to_tell)
            await self.rows("DELETE FROM waits WHERE child = %s", parent.number)
            children = await self.rows(
                f"SELECT {_BARE} FROM tasks WHERE number IN (SELECT child FROM waits WHERE parent = %s)"  # noqa: S608
                " ORDER BY number FOR UPDATE",
                parent.number,
            )
            await self.rows("DELETE FROM waits WHERE parent = %s", parent.number)
            for found in children:
                child = _row(found)
                change = rules.parent_ended(child.record.status, parent.id, parent.status, self.now_ns)
                if change == Change(child.record.status):
                    continue  # it has ended with another of its parents just now
                record = await self._write(child, change, None)
                if record.ended:
                    heapq.heappush(to_tell, (record.number, record))

    async def _set_waits(self, child: int, status: TaskStatus, parents: Sequence[tuple[int, str, TaskStatus]]) -> None:
        for number, name, _status in parents:
            if name in status.blocked_by:
                await self.rows("INSERT INTO waits (parent, child) VALUES (%s, %s)", number, child)


def _due(status: TaskStatus) -> datetime | None:
    if status.blocked_by:
        return _NEVER
    if not status.not_before_ns:
        return None
    # Rounded up: procrastinate's look at the job is never before ours at the task.
    return _EPOCH + timedelta(microseconds=-(-status.not_before_ns // (NS // 1_000_000)))


def _row(found: tuple[Any, ...]) -> Row:
    dropped_seq, event_bytes, job, route = found[8:]
    return Row(_record(found[:8]), dropped_seq, event_bytes, job, route)


def _record(found: tuple[Any, ...]) -> TaskRecord:
    number, task_id, last_seq, request, status, prompt, output_schema, answer = found
    texts = [text.decode() for text in (prompt, output_schema, answer)]
    return TaskRecord(
        task_id,
        number,
        encoding.request_from_json(request, texts[0], texts[1]),
        encoding.status_from_json(status, texts[2]),
        last_seq,
    )
