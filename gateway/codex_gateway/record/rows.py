"""An entry as rows of the database and back."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any

import msgspec
from codex_control.service.redaction import redact

from codex_gateway.dialect.neutral import Usage
from codex_gateway.record.cost import Prices
from codex_gateway.upstream.trail import Entry

RUNNING = ""
"""Outcome of a request that has not ended."""
LOST = "lost"
"""Outcome of a request during which the gateway died."""

MAX_REASON = 500
"""Most characters kept of a sentence about what went wrong."""


class AttemptRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One exchange with one endpoint."""

    endpoint: str
    dialect: str
    model: str
    began_s: float
    duration_s: float
    status: int = 0
    outcome: str = ""
    reason: str = ""
    key: str = ""
    learned: tuple[str, ...] = ()


class BodyRecord(msgspec.Struct, frozen=True):
    """One body, or its beginning, without keys. `attempt` counts from 1; 0 is the client's own request (`asked`)."""

    attempt: int
    side: str
    """asked | sent | answered"""
    size: int
    """Bytes kept, unpacked."""
    text: str


class RequestRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One request, as it is kept. Times: nanoseconds since the epoch; durations: seconds."""

    number: int
    id: str
    at_ns: int
    token: str
    client: str
    dialect: str
    model: str
    """Under the client's name."""
    stream: bool
    endpoint: str
    """That answered last; empty where none was asked."""
    upstream_dialect: str
    upstream_model: str
    status: int
    outcome: str
    """ok | failed | refused | client_gone | lost; empty while it runs."""
    first_byte_s: float | None
    duration_s: float
    usage: Usage
    cost_usd: float | None
    bytes_in: int
    bytes_out: int
    path: str
    conversation: str
    tags: tuple[str, ...]
    error: str
    attempts: tuple[AttemptRecord, ...]


COLUMNS = (
    "id, run, at_ns, token, client, dialect, model, stream, endpoint, upstream_dialect, upstream_model, attempt_count, "
    "status, outcome, first_byte_s, duration_s, input, cache_read, cache_write, output, reasoning, cost_usd, bytes_in, "
    "bytes_out, path, conversation, tags, error, attempts"
)
_NAMES = COLUMNS.split(", ")
# None of these names is a user's.
WRITE = (
    f"INSERT INTO requests ({COLUMNS}) VALUES ({', '.join('?' * len(_NAMES))}) "  # noqa: S608
    f"ON CONFLICT (id) DO UPDATE SET ({COLUMNS}) = ({', '.join(f'excluded.{name}' for name in _NAMES)})"
)
READ = f"SELECT number, {COLUMNS} FROM requests"  # noqa: S608
WRITE_BODY = (
    "INSERT OR REPLACE INTO bodies (request, attempt, side, size, compressed) "
    "VALUES ((SELECT number FROM requests WHERE id = ?), ?, ?, ?, ?)"
)

_NO_USAGE = Usage()
_USAGE = ("input", "cache_read", "cache_write", "output", "reasoning")
_ATTEMPTS = msgspec.json.Decoder(tuple[AttemptRecord, ...])
_TAGS = msgspec.json.Decoder(tuple[str, ...])


def row_of(entry: Entry, run: str, prices: Prices) -> tuple[Any, ...]:
    """The values of `COLUMNS`."""
    usage = entry.usage or _NO_USAGE
    last = entry.attempts[-1] if entry.attempts else None
    cost = prices.cost_usd(last.endpoint, last.model, usage) if last is not None and entry.usage is not None else None
    attempts = tuple(
        AttemptRecord(
            endpoint=attempt.endpoint,
            dialect=str(attempt.dialect),
            model=attempt.model,
            began_s=round(attempt.began_s, 6),
            duration_s=round(attempt.duration_s, 6),
            status=attempt.status,
            outcome=attempt.outcome,
            reason=redact(attempt.reason[:MAX_REASON]),
            key=attempt.key,
            learned=attempt.learned,
        )
        for attempt in entry.attempts
    )
    return (
        entry.id,
        run,
        entry.at_ns,
        entry.token,
        str(entry.kind),
        str(entry.dialect),
        entry.model,
        entry.stream,
        last.endpoint if last else "",
        str(last.dialect) if last else "",
        last.model if last else "",
        len(entry.attempts),
        entry.status,
        entry.outcome,
        entry.first_byte_s,
        entry.duration_s,
        usage.input,
        usage.cache_read,
        usage.cache_write,
        usage.output,
        usage.reasoning,
        cost,
        entry.bytes_in,
        entry.bytes_out,
        entry.path,
        entry.conversation,
        msgspec.json.encode(entry.tags).decode(),
        redact(entry.error[:MAX_REASON]),
        msgspec.json.encode(attempts),
    )


def body_rows_of(entry: Entry, limit: int) -> Iterator[tuple[str, int, str, int, bytes]]:
    """The values of `WRITE_BODY`: every body's first `limit` bytes, without keys, compressed."""
    if entry.body:
        yield _body_row(entry.id, 0, "asked", entry.body, limit)
    for number, attempt in enumerate(entry.attempts, start=1):
        if attempt.sent:
            yield _body_row(entry.id, number, "sent", attempt.sent, limit)
        if attempt.answer:
            yield _body_row(entry.id, number, "answered", bytes(attempt.answer), limit)


def _body_row(request: str, attempt: int, side: str, body: bytes, limit: int) -> tuple[str, int, str, int, bytes]:
    # Keys are looked for before it is cut: half a key at the end would not be known as one.
    kept = redact(body.decode("utf-8", "replace")).encode()[:limit]
    return request, attempt, side, len(kept), zlib.compress(kept, 1)


def record_of(row: tuple[Any, ...]) -> RequestRecord:
    """A row of `READ` as a record."""
    values = dict(zip(("number", *_NAMES), row, strict=True))
    del values["run"], values["attempt_count"]
    usage = Usage(**{name: values.pop(name) for name in _USAGE})
    return RequestRecord(
        **values
        | {
            "usage": usage,
            "stream": bool(values["stream"]),
            "tags": _TAGS.decode(values["tags"]),
            "attempts": _ATTEMPTS.decode(values["attempts"]),
        }
    )


def body_of(row: tuple[int, str, int, bytes]) -> BodyRecord:
    """A row (attempt, side, size, compressed) of `bodies` as a record."""
    attempt, side, size, compressed = row
    return BodyRecord(attempt, side, size, zlib.decompress(compressed).decode("utf-8", "replace"))
