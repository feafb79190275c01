"""Numbered steps that lead a database from any older schema to the present one."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

from codex_control.errors import StoreUnavailable


class Schema(NamedTuple):
    """What a database of ours holds: its mark (`PRAGMA application_id`) and the steps that lead to it."""

    application_id: int
    migrations: tuple[str, ...]


def version_of(db: sqlite3.Connection) -> int:
    """The schema's number as the file says; 0 for an empty database."""
    (version,) = db.execute("PRAGMA user_version").fetchone()
    return int(version)


def migrate(db: sqlite3.Connection, migrations: Sequence[str]) -> None:
    """Bring the database to the last schema, each step in a transaction of its own.

    Raises `StoreUnavailable` where the schema is newer than ours; the database is then untouched.
    """
    present = version_of(db)
    if present > len(migrations):
        raise StoreUnavailable(
            what="the store was written by a newer version of this program",
            why=f"its schema has number {present}, this version knows up to {len(migrations)}",
            next_step="install the newer version again, or move the state directory away to begin a new one",
        )
    for number, step in enumerate(migrations[present:], start=present + 1):
        try:
            db.executescript(f"BEGIN IMMEDIATE;\n{step}\n;PRAGMA user_version = {number};\nCOMMIT;")
        except sqlite3.Error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
