"""Reading turns in the order of their acceptance, across the database and the archive.

All functions run in the reader's thread, inside its transaction: a turn that moves to the archive meanwhile is seen in
one place, and its number stays the same.
"""

from __future__ import annotations

import sqlite3
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass

from codex_supervisor.store import journal
from codex_supervisor.store.archive import Archive
from codex_supervisor.store.journal import InArchive
from codex_supervisor.store.records import TurnRecord, TurnState

SLICE_TURNS = 256
"""Most turns that one reading looks at, so that other readers get their turn."""

SLICE_BYTES = 2 * 1024 * 1024
"""Most text that one reading looks at, about; one turn always fits."""

ENDED = frozenset({TurnState.ENDED})
ALL_STATES = frozenset(TurnState)


@dataclass(frozen=True)
class Question:
    """Which turns: of one instance or of all, in which states, and (case-folded) with which text."""

    instance: str | None = None
    states: frozenset[TurnState] = ENDED
    text: str | None = None

    @classmethod
    def of(cls, instance: str | None, states: Collection[TurnState] = ENDED, text: str | None = None) -> Question:
        """No states mean all."""
        return cls(instance, frozenset(states) or ALL_STATES, None if text is None else folded(text))


@dataclass(frozen=True)
class Entry:
    """A turn, its number, and about how many bytes it has."""

    number: int
    turn: TurnRecord
    bytes: int


@dataclass(frozen=True)
class Slice:
    """Part of an answer; the rest begins behind the number `reached`, and there is none where it is None."""

    entries: list[Entry]
    reached: int | None


def folded(text: str) -> str:
    """`text` for comparing without case, for all of Unicode (https://www.unicode.org/reports/tr15/: composed or not
    is the same to a reader)."""
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())


def newest_number(db: sqlite3.Connection) -> int:
    """The number of the turn that was accepted last; 0 where there was none."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'turns'").fetchone()
    return 0 if row is None else int(row[0])


def older(db: sqlite3.Connection, archive: Archive, question: Question, below: int, turns: int) -> Slice:
    """Turns with a number lower than `below`, newest first."""
    places = _places(db, question, 0, below, "DESC", turns + 1)
    return _load(db, archive, question, places, turns)


def newer(db: sqlite3.Connection, archive: Archive, question: Question, above: int, until: int, turns: int) -> Slice:
    """Turns with a number higher than `above` and at most `until`, oldest first."""
    places = _places(db, question, above, until + 1, "ASC", turns + 1)
    return _load(db, archive, question, places, turns)


def find(db: sqlite3.Connection, archive: Archive, id_or_request_id: str) -> tuple[TurnRecord | None, InArchive | None]:
    """The turn with that id or request id, and its place where it is archived; only the place where the turn there
    cannot be read."""
    found = journal.find(db, id_or_request_id)
    if not isinstance(found, InArchive):
        return found, None
    turn = archive.read_turn(found.name, found.offset, found.number)
    archive.drop_cache()
    return turn, found


def _places(
    db: sqlite3.Connection, question: Question, above: int, below: int, order: str, limit: int
) -> list[tuple[int, str | None, int]]:
    """Number, archive file and offset of the turns; the file is None for those in the database."""
    parts: list[str] = []
    of_instance = "" if question.instance is None else " AND t.instance = :instance"
    span = f"number > :above AND number < :below{of_instance}"
    # Each part fits an index that gives it in order, so that SQLite merges them without sorting.
    match TurnState.QUEUED in question.states, TurnState.RUNNING in question.states:
        case True, True:
            parts.append(f"FROM turns AS t WHERE outcome IS NULL AND {span}")
        case True, False:
            parts.append(f"FROM turns AS t WHERE outcome IS NULL AND sent_ns IS NULL AND {span}")
        case False, True:
            parts.append(f"FROM turns AS t WHERE outcome IS NULL AND sent_ns IS NOT NULL AND {span}")
        case _:
            pass
    if TurnState.ENDED in question.states:
        parts.append(f"FROM turns AS t WHERE outcome IS NOT NULL AND {span}")
    parts = [f"SELECT number, NULL AS name, 0 AS offset {part}" for part in parts]
    if TurnState.ENDED in question.states:
        name = "(SELECT name FROM archive_files WHERE id = file)"
        parts.append(f"SELECT number, {name} AS name, offset FROM archived AS t WHERE {span}")  # noqa: S608
    # Only constants of this function are put together; every value is bound.
    query = f"{' UNION ALL '.join(parts)} ORDER BY number {order} LIMIT :limit"
    values = {"above": above, "below": below, "instance": question.instance, "limit": limit}
    return db.execute(query, values).fetchall()


def _load(
    db: sqlite3.Connection,
    archive: Archive,
    question: Question,
    places: list[tuple[int, str | None, int]],
    turns: int,
) -> Slice:
    entries: list[Entry] = []
    seen_bytes = 0
    reached: int | None = None
    for number, name, offset in places[:turns]:
        turn = journal.turn_by_number(db, number) if name is None else archive.read_turn(name, offset, number)
        if turn is not None:
            size = _about_bytes(turn)
            if reached is not None and seen_bytes + size > SLICE_BYTES:
                return Slice(entries, reached)
            seen_bytes += size
            if question.text is None or _holds(turn, question.text):
                entries.append(Entry(number, turn, size))
        reached = number
    return Slice(entries, reached if len(places) > turns else None)


def _holds(turn: TurnRecord, text: str) -> bool:
    return text in folded(turn.request.prompt) or text in folded(turn.answer)


def _about_bytes(turn: TurnRecord) -> int:
    texts = len(turn.request.prompt) + len(turn.answer) + len(turn.reasoning) + len(turn.error)
    return (
        512
        + texts
        + sum(128 + len(run.command) + len(run.output_tail) for run in turn.commands)
        + 256 * len(turn.files)
    )
