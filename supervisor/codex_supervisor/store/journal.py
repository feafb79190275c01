"""Turns and their events in the database. All functions run in a thread of the store, inside its transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from codex_control.errors import NotFound, WrongState

from codex_supervisor.store.records import (
    Cause,
    CommandRecord,
    EventRow,
    FileRecord,
    TurnEnd,
    TurnRecord,
    TurnRequest,
    Usage,
)
from codex_supervisor.store.rows import TURN_COLUMNS, end_values, to_json, turn_from_row, turn_values

# The parts that are put into statements are constants of these modules, never a caller's text.
_SELECT_TURN = f"SELECT {TURN_COLUMNS} FROM turns"  # noqa: S608
_INSERT_TURN = f"INSERT INTO turns ({TURN_COLUMNS}) VALUES ({', '.join('?' * (TURN_COLUMNS.count(',') + 1))})"  # noqa: S608
_FINISH_TURN = """
UPDATE turns SET outcome = :outcome, cause = :cause, ended_ns = :ended_ns, queued_s = :queued_s,
  first_event_s = :first_event_s, first_text_s = :first_text_s, total_s = :total_s, error = :error, usage = :usage,
  answer = :answer, reasoning = :reasoning, commands = :commands, files = :files
WHERE id = :id AND outcome IS NULL
"""


@dataclass(frozen=True)
class InArchive:
    """Where an archived turn is: `number` in the gzip member at `offset` of the file `name`."""

    number: int
    name: str
    offset: int


def accept(db: sqlite3.Connection, turn: TurnRecord, events: Sequence[EventRow]) -> TurnRecord | InArchive | None:
    """Insert a turn with its first events; where its `request_id` is known, write nothing and return that turn."""
    known = _by(db, "request_id", turn.request_id)
    if known is not None:
        return known
    cursor = db.execute(_INSERT_TURN, turn_values(turn))
    number = cursor.lastrowid
    db.execute("INSERT INTO journals (turn, instance) VALUES (?, ?)", (number, turn.instance))
    if number is not None:
        _append(db, number, events)
    return None


def find(db: sqlite3.Connection, id_or_request_id: str) -> TurnRecord | InArchive | None:
    """The turn with that id, else the one with that request id, else None."""
    return _by(db, "id", id_or_request_id) or _by(db, "request_id", id_or_request_id)


def mark_sent(db: sqlite3.Connection, turn_id: str, thread_id: str, sent_ns: int) -> None:
    """Write down that the turn is about to be sent."""
    _change(db, turn_id, "UPDATE turns SET thread_id = ?, sent_ns = ?", (thread_id, sent_ns))


def mark_started(db: sqlite3.Connection, turn_id: str, codex_turn_id: str) -> None:
    """Write down Codex's id of the turn."""
    _change(db, turn_id, "UPDATE turns SET codex_turn_id = ?", (codex_turn_id,))


def want_end(db: sqlite3.Connection, turn_id: str, cause: Cause) -> None:
    """Write down that somebody wants the turn to end."""
    _set_request(db, turn_id, msgspec.structs.replace(_open(db, turn_id).request, wanted_end=cause))


def bump_recovery(db: sqlite3.Connection, turn_id: str, *, stopped: bool = False) -> int:
    """Count one more recovery and return the count; `stopped` where it follows a stop of the service."""
    if stopped:
        request = _open(db, turn_id).request
        _set_request(db, turn_id, msgspec.structs.replace(request, stops=request.stops + 1))
    _change(db, turn_id, "UPDATE turns SET recoveries = recoveries + 1", ())
    (recoveries,) = db.execute("SELECT recoveries FROM turns WHERE id = ?", (turn_id,)).fetchone()
    return int(recoveries)


def save_progress(
    db: sqlite3.Connection,
    turn_id: str,
    commands: Sequence[CommandRecord],
    files: Sequence[FileRecord],
    usage: Usage,
) -> None:
    """Write down what the turn has done so far."""
    values = (to_json(tuple(commands)), to_json(tuple(files)), to_json(usage))
    _change(db, turn_id, "UPDATE turns SET commands = ?, files = ?, usage = ?", values)


def append_events(db: sqlite3.Connection, turn_id: str, events: Sequence[EventRow]) -> None:
    """Add events to a turn that has not ended."""
    row = db.execute("SELECT number FROM turns WHERE id = ? AND outcome IS NULL", (turn_id,)).fetchone()
    if row is None:
        raise _not_open(db, turn_id)
    _append(db, row[0], events)


def finish(db: sqlite3.Connection, turn_id: str, end: TurnEnd, events: Sequence[EventRow]) -> TurnRecord | None:
    """Write the outcome with the last events and return the record; None, nothing written, where it has one."""
    row = db.execute("SELECT number, outcome FROM turns WHERE id = ?", (turn_id,)).fetchone()
    if row is None:
        if _archived(db, "id", turn_id) is None:
            raise _unknown(turn_id)
        return None
    number, outcome = row
    if outcome is not None:
        return None
    db.execute(_FINISH_TURN, {**end_values(end), "id": turn_id})
    _append(db, number, events)
    db.execute("UPDATE journals SET ended = 1 WHERE turn = ?", (number,))
    return turn_by_number(db, number)


def read_events(db: sqlite3.Connection, turn_id: str, after_seq: int, limit: int, max_bytes: int) -> list[EventRow]:
    """Events with a higher number than `after_seq`; at least one where there is one, then up to the bounds."""
    row = db.execute(
        "SELECT number, pruned FROM turns JOIN journals ON turn = number WHERE id = ?", (turn_id,)
    ).fetchone()
    if row is None:
        if _archived(db, "id", turn_id) is None:
            raise _unknown(turn_id)
        return []
    number, pruned = row
    events: list[EventRow] = []
    if pruned:
        return events
    size = 0
    cursor = db.execute(
        "SELECT seq, payload FROM events WHERE turn = ? AND seq > ? ORDER BY seq LIMIT ?",
        (number, after_seq, max(limit, 1)),
    )
    for seq, payload in cursor:
        size += len(payload)
        if events and size > max_bytes:
            break
        events.append(EventRow(seq, payload))
    return events


def last_seq(db: sqlite3.Connection, turn_id: str) -> int:
    """The highest sequence number that the turn ever had, also where its events are pruned; 0 where it had none."""
    row = db.execute("SELECT last_seq FROM turns JOIN journals ON turn = number WHERE id = ?", (turn_id,)).fetchone()
    row = row or db.execute("SELECT last_seq FROM archived WHERE id = ?", (turn_id,)).fetchone()
    if row is None:
        raise _unknown(turn_id)
    return int(row[0])


def unfinished(db: sqlite3.Connection) -> list[TurnRecord]:
    """Turns without an outcome, in the order of their acceptance."""
    return [turn_from_row(row) for row in db.execute(f"{_SELECT_TURN} WHERE outcome IS NULL ORDER BY number")]


def turn_by_number(db: sqlite3.Connection, number: int) -> TurnRecord | None:
    """The turn in the database with that number."""
    row = db.execute(f"{_SELECT_TURN} WHERE number = ?", (number,)).fetchone()
    return None if row is None else turn_from_row(row)


def _by(db: sqlite3.Connection, column: str, value: str) -> TurnRecord | InArchive | None:
    row = db.execute(f"{_SELECT_TURN} WHERE {column} = ?", (value,)).fetchone()
    return _archived(db, column, value) if row is None else turn_from_row(row)


def _archived(db: sqlite3.Connection, column: str, value: str) -> InArchive | None:
    row = db.execute(
        f"SELECT number, name, offset FROM archived JOIN archive_files AS f ON f.id = file WHERE archived.{column} = ?",  # noqa: S608
        (value,),
    ).fetchone()
    return None if row is None else InArchive(*row)


def _append(db: sqlite3.Connection, number: int, events: Sequence[EventRow]) -> None:
    if not events:
        return
    db.executemany(
        "INSERT INTO events (turn, seq, payload) VALUES (?, ?, ?)", [(number, row.seq, row.payload) for row in events]
    )
    db.execute(
        "UPDATE journals SET last_seq = max(last_seq, ?), bytes = bytes + ? WHERE turn = ?",
        (max(row.seq for row in events), sum(len(row.payload) for row in events), number),
    )


def _open(db: sqlite3.Connection, turn_id: str) -> TurnRecord:
    turn = _by(db, "id", turn_id)
    if not isinstance(turn, TurnRecord) or turn.outcome is not None:
        raise _not_open(db, turn_id)
    return turn


def _set_request(db: sqlite3.Connection, turn_id: str, request: TurnRequest) -> None:
    _change(db, turn_id, "UPDATE turns SET request = ?", (to_json(request),))


def _change(db: sqlite3.Connection, turn_id: str, update: str, values: tuple[Any, ...]) -> None:
    if db.execute(f"{update} WHERE id = ? AND outcome IS NULL", (*values, turn_id)).rowcount == 0:
        raise _not_open(db, turn_id)


def _not_open(db: sqlite3.Connection, turn_id: str) -> NotFound | WrongState:
    if find(db, turn_id) is None:
        return _unknown(turn_id)
    return WrongState(what=f"turn {turn_id} has ended", why="nothing is added to a turn that has its outcome")


def _unknown(turn_id: str) -> NotFound:
    return NotFound(
        what=f"there is no turn {turn_id}",
        why="it was never accepted, or its history was cleared",
        next_step="list the turns with `codexctl history`",
    )
