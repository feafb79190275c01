"""What is too old or too much goes, the oldest first."""

from __future__ import annotations

import os
from pathlib import Path

from codex_control.service.clock import SystemClock
from codex_control.service.units import MIB
from codex_gateway.config.model import Bodies, RecordsConfig
from codex_gateway.record import retention
from codex_gateway.record.query import Filter, opened

from tests.unit.gateway.record.conftest import NS, Log, entry

DAY_NS = 86_400 * NS


def kept(path: Path) -> dict[str, int]:
    """How many bodies are kept of each request."""
    with opened(path) as records:
        return {one.id: len(records.bodies(one)) for one in records.requests(Filter(), limit=10_000)}


async def test_by_age(recording: Log) -> None:
    now = SystemClock().wall_ns()
    recording.log.change(RecordsConfig(bodies=Bodies.ALL, kept_for=30 * 86_400.0, bodies_kept_for=7 * 86_400.0), ())
    for name, days in (("new", 1), ("older", 8), ("oldest", 31)):
        asked = entry(name, at_ns=now - days * DAY_NS)
        recording.log.begun(asked)
        recording.log.ended(asked)
    await recording.log._write()
    await recording.log.tidy()
    assert kept(recording.path) == {"new": 3, "older": 0}


async def test_by_size_bodies_go_first_and_the_oldest_first(recording: Log, monkeypatch: object) -> None:
    limit = 16 * MIB
    recording.log.change(RecordsConfig(bodies=Bodies.ALL, body_limit=MIB, total_limit=limit), ())
    for number in range(40):
        asked = entry(f"r{number:02}", body=os.urandom(400_000).hex().encode())
        recording.log.begun(asked)
        recording.log.ended(asked)
        await recording.log._write()
    before = kept(recording.path)
    assert set(before.values()) == {3}
    with opened(recording.path) as records:
        # Not of the file: some of it is still in the write-ahead log.
        assert retention.size_bytes(records._db) > limit
    retention_batch, retention.BATCH = retention.BATCH, 5
    try:
        await recording.log.tidy()
    finally:
        retention.BATCH = retention_batch
    after = kept(recording.path)
    assert list(after) == list(before), "the requests themselves stay"
    with_bodies = [name for name in sorted(after) if after[name]]
    assert with_bodies == [f"r{number:02}" for number in range(40 - len(with_bodies), 40)]
    assert 0 < len(with_bodies) < 40
