"""Learned facts in the database."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from codex_gateway.route.learned import Fact

_FACT = msgspec.json.Decoder(Fact)


def write(learned: Sequence[Fact], db: sqlite3.Connection) -> None:
    """Write facts, new or renewed."""
    db.executemany(
        "INSERT OR REPLACE INTO facts (endpoint, topic, model, detail, fact) VALUES (?, ?, ?, ?, ?)",
        [(fact.endpoint, str(fact.topic), fact.model, fact.detail, msgspec.json.encode(fact)) for fact in learned],
    )


def delete(gone: Sequence[Fact], db: sqlite3.Connection) -> None:
    """Delete facts."""
    db.executemany(
        "DELETE FROM facts WHERE endpoint = ? AND topic = ? AND model = ? AND detail = ?",
        [(fact.endpoint, str(fact.topic), fact.model, fact.detail) for fact in gone],
    )


def read(db: sqlite3.Connection) -> list[Fact]:
    """All facts, the oldest first; one that this version cannot read is left out."""
    found = []
    for (text,) in db.execute("SELECT fact FROM facts"):
        try:
            found.append(_FACT.decode(text))
        except msgspec.MsgspecError:
            continue
    return sorted(found, key=lambda fact: fact.learned_at_s)
