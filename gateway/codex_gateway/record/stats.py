"""Sums over requests: how many, how fast, how many tokens, what they cost."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import msgspec
from codex_control.database.failures import explained
from codex_control.database.opening import open_for_reading
from codex_control.errors import BadInput, NotFound

GROUPS = {
    "endpoint": "endpoint",
    "model": "model",
    "client": "client",
    "token": "token",
    "day": "date(at_ns / 1000000000, 'unixepoch')",
    "outcome": "outcome",
}
"""What requests can be grouped by, and how SQLite says it. Days are UTC."""
_EXPRESSIONS = {**GROUPS, "all": "'all'"}


class Sum(msgspec.Struct, frozen=True, kw_only=True):
    """One group. Durations are seconds; the percentiles are of requests that ended well."""

    group: str
    requests: int
    failed: int
    retried: int
    """Requests with more than one attempt."""
    input: int
    cached: int
    output: int
    reasoning: int
    cost_usd: float | None
    """None where no price is known for any of them."""
    first_byte_p50_s: float | None
    first_byte_p99_s: float | None
    duration_p50_s: float | None
    duration_p99_s: float | None


def total(path: Path, *, since_ns: int = 0) -> Sum | None:
    """All requests since `since_ns` as one sum; None where there are none. Raises `NotFound`."""
    found = sums(path, by="all", since_ns=since_ns)
    return found[0] if found else None


def sums(path: Path, *, by: str = "endpoint", since_ns: int = 0) -> list[Sum]:
    """The sums of requests since `since_ns`, the largest group first. Raises `NotFound`, `BadInput`."""
    if by not in _EXPRESSIONS:
        raise BadInput(f"requests cannot be grouped by {by!r}", next_step=f"take one of {', '.join(GROUPS)}")
    if not path.exists():
        raise NotFound("there are no records yet", next_step="start the gateway with `codex-gateway serve`")
    db = open_for_reading(path)
    group = _EXPRESSIONS[by]
    try:
        # One of our own words above, never a user's.
        found = db.execute(
            f"SELECT {group}, count(*), sum(outcome NOT IN ('ok', '')), sum(attempt_count > 1), "  # noqa: S608
            "sum(input + cache_read + cache_write), sum(cache_read), sum(output), sum(reasoning), sum(cost_usd) "
            "FROM requests WHERE at_ns >= ? GROUP BY 1 ORDER BY 2 DESC, 1",
            (since_ns,),
        ).fetchall()
        return [
            Sum(
                group=str(name),
                requests=requests,
                failed=failed,
                retried=retried,
                input=given,
                cached=cached,
                output=output,
                reasoning=reasoning,
                cost_usd=cost,
                first_byte_p50_s=_percentile(db, group, name, since_ns, "first_byte_s", 50),
                first_byte_p99_s=_percentile(db, group, name, since_ns, "first_byte_s", 99),
                duration_p50_s=_percentile(db, group, name, since_ns, "duration_s", 50),
                duration_p99_s=_percentile(db, group, name, since_ns, "duration_s", 99),
            )
            for name, requests, failed, retried, given, cached, output, reasoning, cost in found
        ]
    except sqlite3.Error as error:
        raise explained(error, path) from error
    finally:
        db.close()


def _percentile(
    db: sqlite3.Connection, group: str, name: object, since_ns: int, column: str, percent: int
) -> float | None:
    """The smallest value that at least `percent` of the values do not exceed (nearest rank)."""
    where = f"{group} = ? AND at_ns >= ? AND outcome = 'ok' AND {column} IS NOT NULL"
    (count,) = db.execute(f"SELECT count(*) FROM requests WHERE {where}", (name, since_ns)).fetchone()  # noqa: S608
    if not count:
        return None
    rank = max(1, -(-count * percent // 100))
    (value,) = db.execute(
        f"SELECT {column} FROM requests WHERE {where} ORDER BY {column} LIMIT 1 OFFSET ?",  # noqa: S608
        (name, since_ns, rank - 1),
    ).fetchone()
    return float(value)
