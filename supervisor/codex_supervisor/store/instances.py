"""Instances and children in the database: whole records by their key. All functions run in a thread of the store."""

from __future__ import annotations

import sqlite3

import msgspec

from codex_supervisor.store.records import ChildRecord, InstanceRecord
from codex_supervisor.store.rows import to_json

_instance = msgspec.json.Decoder(InstanceRecord)
_child = msgspec.json.Decoder(ChildRecord)


def save_instance(db: sqlite3.Connection, record: InstanceRecord) -> None:
    """Insert or replace."""
    db.execute("INSERT OR REPLACE INTO instances (id, record) VALUES (?, ?)", (record.id, to_json(record)))


def load_instances(db: sqlite3.Connection) -> list[InstanceRecord]:
    """All, by id."""
    return [_instance.decode(record) for (record,) in db.execute("SELECT record FROM instances ORDER BY id")]


def delete_instance(db: sqlite3.Connection, instance: str) -> None:
    """Delete the instance with its turns, their events, and what the database knows of its archive.

    Its children stay until they are proven gone.
    """
    db.execute("DELETE FROM instances WHERE id = ?", (instance,))
    # Each statement fits one of the two partial indexes.
    db.execute("DELETE FROM turns WHERE outcome IS NOT NULL AND instance = ?", (instance,))
    db.execute("DELETE FROM turns WHERE outcome IS NULL AND instance = ?", (instance,))
    db.execute("DELETE FROM archive_files WHERE instance = ?", (instance,))
    db.execute("DELETE FROM archived WHERE instance = ?", (instance,))


def save_child(db: sqlite3.Connection, record: ChildRecord) -> None:
    """Insert or replace by token."""
    db.execute("INSERT OR REPLACE INTO children (token, record) VALUES (?, ?)", (record.token, to_json(record)))


def delete_child(db: sqlite3.Connection, token: str) -> None:
    """Delete; an unknown token is no error."""
    db.execute("DELETE FROM children WHERE token = ?", (token,))


def load_children(db: sqlite3.Connection) -> list[ChildRecord]:
    """All, by token."""
    return [_child.decode(record) for (record,) in db.execute("SELECT record FROM children ORDER BY token")]
