"""The database's side of housekeeping: what is too much, what is where in the archive, what may go.

All functions run in a thread of the store, inside its transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

from codex_supervisor.store.archive import Archive, ArchivedTurn, ArchiveName, WrittenFile
from codex_supervisor.store.rows import TURN_COLUMNS, turn_from_row

FILE_BYTES = 4 * 1024 * 1024
"""Uncompressed size at which an archive file is closed, about. Packing it keeps the reader busy for a tenth of a
second."""

FILE_TURNS = 250
"""Most turns of one archive file; taking one into the index keeps the writer busy for about 10 ms."""

_OLDEST_ENDED = (
    f"SELECT number, last_seq, {', '.join('t.' + column.strip() for column in TURN_COLUMNS.split(','))}"  # noqa: S608
    " FROM turns AS t JOIN journals ON turn = number"
    " WHERE outcome IS NOT NULL AND t.instance = ? ORDER BY number LIMIT ?"
)


@dataclass(frozen=True)
class IndexLine:
    """Where a turn of an archive file is, and what it is found by."""

    number: int
    id: str
    request_id: str
    instance: str
    last_seq: int
    offset: int


@dataclass(frozen=True)
class Size:
    """What the store takes, in bytes; `free_pages` of the database can be given back."""

    database_bytes: int
    archive_bytes: int
    pages: int
    free_pages: int


def crowded(db: sqlite3.Connection, limit: int, instances: Collection[str] | None) -> list[tuple[str, int]]:
    """Instances with more than `limit` ended turns in the database, and how many they have; None looks at all."""
    count = "SELECT instance, count(*) FROM turns WHERE outcome IS NOT NULL"
    if instances is None:
        return db.execute(f"{count} GROUP BY instance HAVING count(*) > ?", (limit,)).fetchall()
    rows = [db.execute(f"{count} AND instance = ?", (instance,)).fetchone() for instance in instances]
    return [(instance, turns) for instance, turns in rows if turns > limit]


def oldest_instance(db: sqlite3.Connection) -> str | None:
    """The instance of the oldest ended turn in the database."""
    row = db.execute("SELECT instance FROM turns WHERE outcome IS NOT NULL ORDER BY number LIMIT 1").fetchone()
    return None if row is None else str(row[0])


def write_oldest(db: sqlite3.Connection, archive: Archive, instance: str, turns: int) -> WrittenFile | None:
    """Copy the oldest ended turns of the instance to a new archive file; None where there are none."""
    lines = _oldest(db, instance, min(turns, FILE_TURNS))
    first = next(lines, None)
    return None if first is None else archive.write(instance, _bounded(first, lines))


def register(db: sqlite3.Connection, written: WrittenFile, turns: int) -> int:
    """Take a new file into the index with its first turns; return its id there.

    Together, because the first turn makes the name unlike any later one's: what stays in the database after a crash
    is written to a file that begins with another number.
    """
    # A file of that name without turns was damaged when it was taken in; it is overwritten now.
    db.execute(
        "DELETE FROM archive_files WHERE name = ?"
        " AND NOT EXISTS (SELECT 1 FROM archived WHERE file = archive_files.id)",
        (written.name.name,),
    )
    file = _add_file(db, written.name, written.bytes)
    move_turns(db, file, written.offsets[:turns])
    return file


def move_turns(db: sqlite3.Connection, file: int, offsets: Sequence[tuple[int, int]]) -> None:
    """Point to turns (by number, with the offset of the member) in the file, and drop them here with their events."""
    for number, offset in offsets:
        db.execute(
            "INSERT INTO archived (number, id, request_id, instance, last_seq, file, offset)"
            " SELECT number, id, request_id, t.instance, last_seq, ?, ?"
            " FROM turns AS t JOIN journals ON turn = number WHERE number = ?",
            (file, offset, number),
        )
        db.execute("DELETE FROM turns WHERE number = ?", (number,))


def list_files(_db: sqlite3.Connection, archive: Archive) -> list[ArchiveName]:
    """The files in the archive directory, oldest first."""
    return archive.names()


def read_index(_db: sqlite3.Connection, archive: Archive, name: str) -> list[IndexLine]:
    """What is readable in a file that the database does not know."""
    return [
        IndexLine(line.number, line.turn.id, line.turn.request_id, line.turn.instance, line.last_seq, offset)
        for offset, line in archive.scan(name)
    ]


def adopt_file(db: sqlite3.Connection, name: ArchiveName, size_bytes: int, lines: list[IndexLine]) -> int:
    """Take a file into the index, without the turns that are known from elsewhere; return how many are new.

    A file that is readable and brings nothing new is not taken in.
    """
    new = [
        line
        for line in lines
        if not db.execute(
            "SELECT 1 FROM turns WHERE id = :id OR request_id = :request_id OR number = :number UNION ALL"
            " SELECT 1 FROM archived WHERE id = :id OR request_id = :request_id OR number = :number",
            {"id": line.id, "request_id": line.request_id, "number": line.number},
        ).fetchone()
    ]
    if lines and not new:
        return 0
    file = _add_file(db, name, size_bytes)
    db.executemany(
        "INSERT OR IGNORE INTO archived (number, id, request_id, instance, last_seq, file, offset)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(line.number, line.id, line.request_id, line.instance, line.last_seq, file, line.offset) for line in new],
    )
    return len(new)


def known_files(db: sqlite3.Connection) -> set[str]:
    """Names of the files in the index."""
    return {name for (name,) in db.execute("SELECT name FROM archive_files")}


def oldest_file(db: sqlite3.Connection) -> str | None:
    """The file whose last turn is the oldest."""
    row = db.execute("SELECT name FROM archive_files ORDER BY last LIMIT 1").fetchone()
    return None if row is None else str(row[0])


def forget_file(db: sqlite3.Connection, name: str) -> int:
    """Drop a file from the index; return how many turns it had."""
    turns = db.execute(
        "DELETE FROM archived WHERE file = (SELECT id FROM archive_files WHERE name = ?)", (name,)
    ).rowcount
    db.execute("DELETE FROM archive_files WHERE name = ?", (name,))
    return turns


def clear(db: sqlite3.Connection, instance: str) -> int:
    """Drop the ended turns of the instance, here and from the index; return how many they were."""
    archived = db.execute("DELETE FROM archived WHERE instance = ?", (instance,)).rowcount
    db.execute("DELETE FROM archive_files WHERE instance = ?", (instance,))
    return archived + db.execute("DELETE FROM turns WHERE outcome IS NOT NULL AND instance = ?", (instance,)).rowcount


def keep_numbers_above(db: sqlite3.Connection, number: int) -> None:
    """Give new turns numbers above `number`: a fresh database must not repeat those in the archive."""
    if db.execute("UPDATE sqlite_sequence SET seq = max(seq, ?) WHERE name = 'turns'", (number,)).rowcount == 0:
        db.execute("INSERT INTO sqlite_sequence (name, seq) VALUES ('turns', ?)", (number,))


def prunable(db: sqlite3.Connection, turns: int, instances: Collection[str] | None, max_bytes: int) -> list[int]:
    """Ended turns whose events may go: all but the last `turns` of each instance, and the oldest over `max_bytes`."""
    if instances is None:
        instances = [
            name for (name,) in db.execute("SELECT DISTINCT instance FROM journals WHERE ended AND NOT pruned")
        ]
    kept = "FROM journals WHERE ended = 1 AND pruned = 0"
    found: set[int] = set()
    for instance in instances:
        rows = db.execute(
            f"SELECT turn {kept} AND instance = ? ORDER BY turn DESC LIMIT -1 OFFSET ?", (instance, turns)
        )
        found.update(number for (number,) in rows)
    (total,) = db.execute(f"SELECT coalesce(sum(bytes), 0) {kept}").fetchone()
    if total > max_bytes:
        for number, size in db.execute(f"SELECT turn, bytes {kept} ORDER BY turn"):
            if total <= max_bytes:
                break
            found.add(number)
            total -= size
    return sorted(found)


def begin_prune(db: sqlite3.Connection, turns: list[int]) -> None:
    """Hide the events of the turns; nobody sees half of them afterwards."""
    db.executemany("UPDATE journals SET pruned = 1 WHERE turn = ? AND ended = 1", [(turn,) for turn in turns])


def prune_some(db: sqlite3.Connection, rows: int) -> bool:
    """Delete at most `rows` hidden events; whether there may be more."""
    row = db.execute("SELECT turn FROM journals WHERE pruned = 1 AND bytes > 0 LIMIT 1").fetchone()
    if row is None:
        return False
    # By key range and not by LIMIT on DELETE, which SQLite has only where it was compiled in.
    last = db.execute(
        "SELECT max(seq) FROM (SELECT seq FROM events WHERE turn = ? ORDER BY seq LIMIT ?)", (row[0], rows)
    ).fetchone()[0]
    if last is None:
        db.execute("UPDATE journals SET bytes = 0 WHERE turn = ?", row)
    else:
        db.execute("DELETE FROM events WHERE turn = ? AND seq <= ?", (row[0], last))
    return True


def measure(db: sqlite3.Connection) -> Size:
    """What the store takes."""
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (archive,) = db.execute("SELECT coalesce(sum(bytes), 0) FROM archive_files").fetchone()
    return Size((pages - free) * page_bytes, archive, pages, free)


def give_back(db: sqlite3.Connection, pages: int) -> None:
    """Shrink the database file by at most so many free pages."""
    # The pragma frees one page for each step of the statement, and Python's module takes one step: it has no columns.
    for _ in range(pages):
        db.execute("PRAGMA incremental_vacuum(1)")


def _add_file(db: sqlite3.Connection, name: ArchiveName, size_bytes: int) -> int:
    file = db.execute(
        "INSERT INTO archive_files (name, instance, last, bytes) VALUES (?, ?, ?, ?)",
        (name.name, name.instance, name.last, size_bytes),
    ).lastrowid
    return file or 0


def _oldest(db: sqlite3.Connection, instance: str, turns: int) -> Iterator[ArchivedTurn]:
    for number, last_seq, *row in db.execute(_OLDEST_ENDED, (instance, turns)):
        yield ArchivedTurn(number, last_seq, turn_from_row(tuple(row)))


def _bounded(first: ArchivedTurn, rest: Iterable[ArchivedTurn]) -> Iterator[ArchivedTurn]:
    yield first
    size = _text_length(first)
    for line in rest:
        size += _text_length(line)
        if size > FILE_BYTES:
            return
        yield line


def _text_length(line: ArchivedTurn) -> int:
    return len(line.turn.request.prompt) + len(line.turn.answer) + len(line.turn.reasoning) + 512
