"""Reading the records: also while a gateway writes them, and while none runs."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from codex_control.database.failures import explained
from codex_control.database.opening import open_for_reading
from codex_control.errors import BadInput, NotFound

from codex_gateway.record import facts, rows
from codex_gateway.record.rows import BodyRecord, RequestRecord
from codex_gateway.route.learned import Fact

GREP_LIMIT = 20_000
"""Most requests whose text is searched."""


class Filter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are wanted; empty means all. `model`, `client` and `endpoint` are globs."""

    failed: bool = False
    client: str = ""
    token: str = ""
    model: str = ""
    endpoint: str = ""
    since_ns: int = 0
    until_ns: int = 0
    grep: str = ""
    """Text that occurs in the error, a reason, or a recorded body, whatever its case."""
    before: int | None = None
    """Only numbers below this: the next page."""


@contextmanager
def opened(path: Path) -> Iterator[Records]:
    """Open the records for reading. Raises `NotFound` where there are none, `StoreUnavailable`."""
    if not path.exists():
        raise NotFound("there are no records yet", next_step="start the gateway with `codex-gateway serve`")
    db = open_for_reading(path)
    try:
        yield Records(db)
    except sqlite3.Error as error:
        raise explained(error, path) from error
    except UnicodeEncodeError as error:
        raise BadInput("what is looked for is no text", why="it holds bytes that are no UTF-8") from error
    finally:
        db.close()


class Records:
    """The records of one database."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def requests(self, wanted: Filter, limit: int = 50) -> list[RequestRecord]:
        """At most `limit` requests, the newest first."""
        where, values = _where(wanted)
        found: list[RequestRecord] = []
        query = f"{rows.READ} {where} ORDER BY number DESC LIMIT ?"
        for row in self._db.execute(query, (*values, GREP_LIMIT if wanted.grep else limit)):
            record = rows.record_of(row)
            if wanted.grep and not self._holds(record, wanted.grep.casefold()):
                continue
            found.append(record)
            if len(found) >= limit:
                break
        return found

    def request(self, name: str) -> RequestRecord:
        """A request by its id, the beginning of one, or its number. Raises `NotFound`."""
        row = self._db.execute(f"{rows.READ} WHERE id = ?", (name,)).fetchone()
        if row is None and name.isdecimal() and len(name) < 19:
            row = self._db.execute(f"{rows.READ} WHERE number = ?", (int(name),)).fetchone()
        if row is None and name:
            # No wildcard of the user's means anything.
            several = self._db.execute(
                f"{rows.READ} WHERE substr(id, 1, ?) = ? ORDER BY number DESC LIMIT 2", (len(name), name)
            ).fetchall()
            row = several[0] if len(several) == 1 else None
        if row is None:
            raise NotFound(
                f"there is no request {name[:80]!r}",
                why="it was never here, or its record was deleted (records.kept_for)",
                next_step="list them with `codex-gateway requests`",
            )
        return rows.record_of(row)

    def bodies(self, record: RequestRecord) -> list[BodyRecord]:
        """The bodies that were kept of a request, in the order in which they were sent."""
        return [
            rows.body_of(row)
            for row in self._db.execute(
                "SELECT attempt, side, size, compressed FROM bodies WHERE request = ? "
                "ORDER BY attempt, CASE side WHEN 'asked' THEN 0 WHEN 'sent' THEN 1 ELSE 2 END",
                (record.number,),
            )
        ]

    def facts(self) -> list[Fact]:
        """What was learned about endpoints."""
        return facts.read(self._db)

    def _holds(self, record: RequestRecord, text: str) -> bool:
        said = "\n".join((record.error, *(attempt.reason for attempt in record.attempts)))
        return text in said.casefold() or any(text in body.text.casefold() for body in self.bodies(record))


def _where(wanted: Filter) -> tuple[str, list[Any]]:
    clauses: list[str] = []
    values: list[Any] = []
    for condition, value in (
        ("client GLOB ?", wanted.client),
        ("token = ?", wanted.token),
        ("(model GLOB ? OR upstream_model GLOB ?)", wanted.model),
        ("endpoint GLOB ?", wanted.endpoint),
        ("at_ns >= ?", wanted.since_ns),
        ("at_ns < ?", wanted.until_ns),
        ("number < ?", wanted.before),
    ):
        if value:
            clauses.append(condition)
            values.extend([value] * condition.count("?"))
    if wanted.failed:
        clauses.append("outcome NOT IN ('ok', '')")
    return ("WHERE " + " AND ".join(clauses) if clauses else ""), values
