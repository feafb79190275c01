"""The embedded engine's transactions: each loads rows, applies the rules, and writes what comes out."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from codex_control.errors import NotFound

from codex_supervisor.task import encoding, rules
from codex_supervisor.task.contract import LeaseLost
from codex_supervisor.task.records import (
    LISTED_CHARS,
    Claim,
    Policy,
    TaskRecord,
    TaskRequest,
    TaskState,
    TaskStatus,
)
from codex_supervisor.task.refusals import unknown
from codex_supervisor.task.rules import Change
from codex_supervisor.task.signals import Told

_FULL = "number, id, last_seq, request, status, prompt, output_schema, answer"
_SHORT = f"number, id, last_seq, request, status, substr(prompt, 1, {LISTED_CHARS}), '', ''"
_BARE = "number, id, last_seq, request, status, '', '', '', dropped_seq, event_bytes"

# How many of the oldest events go at once when a task has more than it may: a tenth, so that it happens seldom.
_DROPPED_SHARE = 10


@dataclass(eq=False)
class Row:
    """A task without its long texts, and where its events stand."""

    record: TaskRecord
    dropped_seq: int
    event_bytes: int


class Transaction:
    """One piece of work of the writer at one moment."""

    def __init__(self, db: sqlite3.Connection, now_ns: int, policy: Policy) -> None:
        self.db = db
        self.now_ns = now_ns
        self.policy = policy
        self.told = Told()

    def insert(self, task_id: str, request: TaskRequest, parents: Sequence[tuple[int, str, TaskStatus]]) -> TaskRecord:
        """Write a new task, which comes after `parents` (number, id, state)."""
        change = rules.submitted([(name, status) for _number, name, status in parents], self.now_ns)
        cursor = self.db.execute(
            "INSERT INTO tasks (id, state, queue, priority, labels, blocked, not_before_ns, ended_ns, last_seq,"
            " dropped_seq, event_bytes, request, status, prompt, output_schema, answer)"
            " VALUES (?, 'PENDING', ?, ?, ?, 0, 0, NULL, 0, 0, 0, ?, '', ?, ?, '')",
            (
                task_id,
                request.queue,
                request.priority,
                json.dumps(request.labels) if request.labels else "",
                encoding.request_to_json(request),
                request.prompt,
                request.output_schema,
            ),
        )
        assert cursor.lastrowid is not None  # noqa: S101 - a row was inserted
        record = TaskRecord(task_id, cursor.lastrowid, request, TaskStatus())
        self._set_waits(record.number, change.status, {name: number for number, name, _status in parents})
        return self.apply(Row(record, 0, 0), change)

    def load(self, task_id: str) -> Row:
        """Return a task for a change. Raises `NotFound`."""
        found = self.db.execute(f"SELECT {_BARE} FROM tasks WHERE id = ?", (task_id,)).fetchone()  # noqa: S608
        if found is None:
            raise unknown(task_id)
        return _row(found)

    def load_claimed(self, claim: Claim) -> Row:
        """Return a task for a write of its worker. Raises `LeaseLost` where it is gone."""
        try:
            return self.load(claim.id)
        except NotFound as error:
            raise LeaseLost(what=f"task {claim.id} is no longer this worker's", why="it was pruned") from error

    def load_number(self, number: int) -> Row:
        """Return a task that exists for a change."""
        query = f"SELECT {_BARE} FROM tasks WHERE number = ?"  # noqa: S608 - the columns are ours
        return _row(self.db.execute(query, (number,)).fetchone())

    def apply(self, row: Row, change: Change, *, answer: str | None = None) -> TaskRecord:
        """Write a change, and what it means for the children; return the task without long texts.

        `answer` takes the place of the present one unless it is None.
        """
        if change == Change(row.record.status) and answer is None:
            return row.record
        record = self._write(row, change, answer)
        if record.ended:
            self._tell_children(record)
        return record

    def retry(self, row: Row, parents: Sequence[tuple[int, str, TaskStatus]]) -> TaskRecord:
        """Make a task pending again."""
        change = rules.retried(row.record, [(name, status) for _number, name, status in parents])
        self._set_waits(row.record.number, change.status, {name: number for number, name, _status in parents})
        return self.apply(row, change, answer="")

    def move(self, by_ns: int) -> None:
        """Move the times to come of all tasks: the clock was set."""
        numbers = self.db.execute(
            "SELECT number FROM tasks INDEXED BY tasks_by_state WHERE state IN ('PENDING', 'RUNNING')"
        ).fetchall()
        for (number,) in numbers:
            row = self.load_number(number)
            self.apply(row, Change(rules.moved(row.record.status, by_ns)))

    def find(self, task_ids: Iterable[str]) -> list[tuple[int, str, TaskStatus]]:
        """Return number, id and status of those tasks that exist, in the order given."""
        found = []
        for task_id in task_ids:
            row = self.db.execute("SELECT number, status FROM tasks WHERE id = ?", (task_id,)).fetchone()
            if row is not None:
                found.append((row[0], task_id, encoding.status_from_json(row[1])))
        return found

    def _write(self, row: Row, change: Change, answer: str | None) -> TaskRecord:
        record, status = row.record, change.status
        last_seq = record.last_seq
        for event in change.events:
            last_seq += 1
            payload = encoding.event_to_bytes(event, self.now_ns, status.attempt)
            row.event_bytes += len(payload)
            self.db.execute(
                "INSERT INTO events (task, seq, payload) VALUES (?, ?, ?)", (record.number, last_seq, payload)
            )
        if change.events:
            self._drop_oldest(row, last_seq)
        lease = status.lease
        self.db.execute(
            "UPDATE tasks SET state = ?, blocked = ?, not_before_ns = ?, lease_worker = ?, lease_run = ?,"
            " lease_expires_ns = ?, ended_ns = ?, last_seq = ?, dropped_seq = ?, event_bytes = ?, status = ?,"
            " answer = coalesce(?, answer) WHERE number = ?",
            (
                status.state,
                len(status.blocked_by),
                status.not_before_ns,
                lease.worker.name if lease else None,
                lease.worker.run if lease else None,
                lease.expires_ns if lease else None,
                status.ended_ns,
                last_seq,
                row.dropped_seq,
                row.event_bytes,
                encoding.status_to_json(status),
                answer,
                record.number,
            ),
        )
        if change.events:
            self.told.changed.add(record.id)
        if status.state is TaskState.PENDING and not status.blocked_by:
            self.told.work = True
        if status.cancel_reason is not None and record.status.cancel_reason is None and not status.state.ended:
            self.told.cancels.add(record.id)
        row.record = TaskRecord(record.id, record.number, record.request, status, last_seq)
        return row.record

    def _drop_oldest(self, row: Row, last_seq: int) -> None:
        limits = self.policy
        # Numbers are given without gaps, so the difference is the count.
        while last_seq - row.dropped_seq > limits.max_events or row.event_bytes > limits.max_event_bytes:
            count = max(1, (last_seq - row.dropped_seq) // _DROPPED_SHARE)
            # The newest event stays, whatever its size: it may be the end.
            dropped_seq = min(row.dropped_seq + count, last_seq - 1)
            if dropped_seq <= row.dropped_seq:
                return
            number = row.record.number
            (size,) = self.db.execute(
                "SELECT coalesce(sum(length(payload)), 0) FROM events WHERE task = ? AND seq <= ?",
                (number, dropped_seq),
            ).fetchone()
            self.db.execute("DELETE FROM events WHERE task = ? AND seq <= ?", (number, dropped_seq))
            row.dropped_seq, row.event_bytes = dropped_seq, row.event_bytes - size

    def _tell_children(self, ended: TaskRecord) -> None:
        to_tell = [ended]
        while to_tell:
            parent = to_tell.pop()
            # It waits for nobody any more.
            self.db.execute("DELETE FROM waits WHERE child = ?", (parent.number,))
            children = self.db.execute("SELECT child FROM waits WHERE parent = ?", (parent.number,)).fetchall()
            self.db.execute("DELETE FROM waits WHERE parent = ?", (parent.number,))
            for (number,) in children:
                child = self.load_number(number)
                change = rules.parent_ended(child.record.status, parent.id, parent.status, self.now_ns)
                if change == Change(child.record.status):
                    continue  # it has ended with another of its parents just now
                record = self._write(child, change, None)
                if record.ended:
                    to_tell.append(record)

    def _set_waits(self, child: int, status: TaskStatus, numbers: dict[str, int]) -> None:
        self.db.executemany(
            "INSERT INTO waits (parent, child) VALUES (?, ?)", [(numbers[name], child) for name in status.blocked_by]
        )


def read(db: sqlite3.Connection, task_id: str) -> TaskRecord | None:
    """Return a task whole, or None."""
    found = db.execute(f"SELECT {_FULL} FROM tasks WHERE id = ?", (task_id,)).fetchone()  # noqa: S608
    return None if found is None else _record(found)


def read_listed(db: sqlite3.Connection, numbers: Sequence[int]) -> list[TaskRecord]:
    """Return tasks as a list shows them."""
    query = f"SELECT {_SHORT} FROM tasks WHERE number = ?"  # noqa: S608 - the columns are ours
    return [_record(db.execute(query, (number,)).fetchone()) for number in numbers]


def _row(found: tuple[object, ...]) -> Row:
    dropped_seq, event_bytes = found[8:]
    assert isinstance(dropped_seq, int)  # noqa: S101 - INTEGER NOT NULL
    assert isinstance(event_bytes, int)  # noqa: S101 - INTEGER NOT NULL
    return Row(_record(found[:8]), dropped_seq, event_bytes)


def _record(found: tuple[object, ...]) -> TaskRecord:
    number, task_id, last_seq, request, status, prompt, output_schema, answer = found
    return TaskRecord(
        str(task_id),
        int(str(number)),
        encoding.request_from_json(str(request), str(prompt), str(output_schema)),
        encoding.status_from_json(str(status), str(answer)),
        int(str(last_seq)),
    )
