"""The tables refuse what must not be, whatever the code above them does; the schema's number is obeyed."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest
from codex_control.database.schema import migrate, version_of
from codex_control.errors import StoreUnavailable
from codex_supervisor.store.rows import TURN_COLUMNS, turn_from_row, turn_values
from codex_supervisor.store.schema import MIGRATIONS

from tests.unit.store.samples import turn

INSERT = f"INSERT INTO turns ({TURN_COLUMNS}) VALUES ({', '.join('?' * len(turn_values(turn(1))))})"


@pytest.fixture
def db() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as made:
        migrate(made, MIGRATIONS)
        made.execute("PRAGMA foreign_keys = ON")
        made.execute(INSERT, turn_values(turn(1)))
        yield made


@pytest.mark.parametrize(
    "change",
    [
        "outcome = 'completed'",
        "ended_ns = 5",
        "outcome = 'lost', ended_ns = 5",
        "outcome = 'completed', ended_ns = 5, cause = 'user'",
        "cause = 'user'",
        "recoveries = -1",
        "id = ''",
        "request_id = ''",
    ],
)
def test_an_illegal_turn_cannot_be_written(db: sqlite3.Connection, change: str) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        db.execute(f"UPDATE turns SET {change}")


@pytest.mark.parametrize(
    "change",
    [
        "outcome = 'completed', ended_ns = 5",
        "outcome = 'failed', ended_ns = 5",
        "outcome = 'failed', cause = 'user', ended_ns = 5",
    ],
)
def test_a_legal_end_is_written_once(db: sqlite3.Connection, change: str) -> None:
    db.execute(f"UPDATE turns SET {change}")
    with pytest.raises(sqlite3.IntegrityError, match="outcome already"):
        db.execute("UPDATE turns SET outcome = 'cancelled'")


def test_ids_are_unique(db: sqlite3.Connection) -> None:
    turn_id, request_id, *rest = turn_values(turn(2))
    for ids in [("turn-1", request_id), (turn_id, "request-1")]:
        with pytest.raises(sqlite3.IntegrityError):
            db.execute(INSERT, (*ids, *rest))
    db.execute(INSERT, (turn_id, request_id, *rest))


def test_a_row_gives_the_record_back(db: sqlite3.Connection) -> None:
    assert turn_from_row(db.execute(f"SELECT {TURN_COLUMNS} FROM turns").fetchone()) == turn(1)


def test_events_of_no_turn_are_refused(db: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        db.execute("INSERT INTO events (turn, seq, payload) VALUES (77, 1, x'00')")


def test_migrations_go_on_from_any_schema() -> None:
    steps = ["CREATE TABLE a (x)", "ALTER TABLE a ADD COLUMN y", "CREATE TABLE b (z)"]
    for present in range(len(steps) + 1):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
            migrate(db, steps[:present])
            assert version_of(db) == present
            migrate(db, steps)
            assert version_of(db) == 3
            db.execute("INSERT INTO a (x, y) VALUES (1, 2)")
            db.execute("INSERT INTO b (z) VALUES (3)")


def test_a_migration_that_fails_changes_nothing() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, ["CREATE TABLE a (x)"])
        with pytest.raises(sqlite3.OperationalError):
            migrate(db, ["CREATE TABLE a (x)", "CREATE TABLE b (x); INSERT INTO nowhere VALUES (1)"])
        assert version_of(db) == 1
        assert not db.in_transaction
        assert db.execute("SELECT name FROM sqlite_master").fetchall() == [("a",)]


def test_a_newer_schema_is_refused() -> None:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db, MIGRATIONS)
        db.execute(f"PRAGMA user_version = {len(MIGRATIONS) + 1}")
        with pytest.raises(StoreUnavailable, match=r"newer version of this program.*Install the newer version"):
            migrate(db, MIGRATIONS)
