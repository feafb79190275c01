"""What is deleted when: by age, and by the size of the whole."""

from __future__ import annotations

import sqlite3

from codex_gateway.config.model import RecordsConfig

NS = 1_000_000_000
BATCH = 500
"""Most requests deleted in one transaction: the writer must not be held up for long."""


def size_bytes(db: sqlite3.Connection) -> int:
    """Bytes of the database that are in use."""
    (pages,) = db.execute("PRAGMA page_count").fetchone()
    (free,) = db.execute("PRAGMA freelist_count").fetchone()
    (page,) = db.execute("PRAGMA page_size").fetchone()
    return int((pages - free) * page)


def delete_some(db: sqlite3.Connection, config: RecordsConfig, now_ns: int) -> int:
    """Delete at most `BATCH` requests or the bodies of as many; return how many. 0: nothing is too old or too much.

    Past the limit of the whole, bodies go before the requests themselves, the oldest first.
    """
    gone = db.execute(
        "DELETE FROM requests WHERE number IN (SELECT number FROM requests WHERE at_ns < ? ORDER BY number LIMIT ?)",
        (now_ns - int(config.kept_for * NS), BATCH),
    ).rowcount
    if gone:
        return gone
    gone = db.execute(
        "DELETE FROM bodies WHERE request IN "
        "(SELECT DISTINCT bodies.request FROM bodies JOIN requests ON number = request WHERE at_ns < ? LIMIT ?)",
        (now_ns - int(config.bodies_kept_for * NS), BATCH),
    ).rowcount
    if gone:
        return gone
    if size_bytes(db) <= config.total_limit:
        return 0
    gone = db.execute(
        "DELETE FROM bodies WHERE request IN (SELECT DISTINCT request FROM bodies ORDER BY request LIMIT ?)", (BATCH,)
    ).rowcount
    if gone:
        return gone
    return db.execute(
        "DELETE FROM requests WHERE number IN (SELECT number FROM requests ORDER BY number LIMIT ?)", (BATCH,)
    ).rowcount


def give_back(db: sqlite3.Connection) -> None:
    """Return freed pages to the file system, some at a time."""
    db.execute("PRAGMA incremental_vacuum(2000)").fetchall()
