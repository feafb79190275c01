"""Requests to record."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from codex_control.service.clock import SystemClock
from codex_gateway.config.endpoint import ClientKind
from codex_gateway.config.model import Bodies, Price, RecordsConfig
from codex_gateway.dialect.neutral import Dialect, Usage
from codex_gateway.record.recorder import RequestLog
from codex_gateway.upstream.trail import Attempt, Entry

NS = 1_000_000_000
PRICES = (
    Price(model="gpt-5*", endpoint="cheap*", input=1.0, output=2.0),
    Price(model="gpt-5*", input=10.0, output=20.0, cached=1.0, cache_write=12.5),
)


def entry(name: str, *, at_ns: int = 0, outcome: str = "ok", attempts: int = 1, **fields: object) -> Entry:
    """A request that was asked of `attempts` endpoints, the last of which gave `outcome`."""
    made = Entry(
        id=name,
        at_ns=at_ns or SystemClock().wall_ns(),
        token="codex",
        kind=ClientKind.CODEX,
        dialect=Dialect.RESPONSES,
        path="/v1/responses",
        model="gpt-5.5",
    )
    for number in range(attempts):
        last = number == attempts - 1
        made.attempts.append(
            Attempt(
                endpoint=f"e{number}",
                key="",
                dialect=Dialect.CHAT,
                model="gpt-5.5",
                began_s=0.1 * number,
                duration_s=0.1,
                status=200 if last and outcome == "ok" else 500,
                outcome=outcome if last else "internal",
                reason="" if last and outcome == "ok" else "it is on fire",
                sent=b'{"model": "gpt-5.5"}',
                answer=bytearray(b"data: {}\n\n"),
            )
        )
    made.outcome = outcome
    made.status = 200 if outcome == "ok" else 502
    made.error = "" if outcome == "ok" else "no endpoint could"
    made.first_byte_s = 0.2 if outcome == "ok" else None
    made.duration_s = 0.5
    made.usage = Usage(input=100, cache_read=50, output=10, reasoning=4) if outcome == "ok" else None
    made.body = b'{"input": "What is 6 times 7?"}'
    for field, value in fields.items():
        setattr(made, field, value)
    return made


@dataclass
class Log:
    """An open log and where it is."""

    log: RequestLog
    path: Path


@pytest.fixture
async def recording(tmp_path: Path) -> AsyncIterator[Log]:
    """A log that keeps bodies of what failed."""
    path = tmp_path / "state" / "gateway.db"
    log = await RequestLog.open(path, clock=SystemClock(), config=RecordsConfig(bodies=Bodies.FAILED), prices=PRICES)
    try:
        yield Log(log, path)
    finally:
        await log.close()
