"""Sums of requests."""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.errors import BadInput, NotFound
from codex_gateway.record.stats import sums

from tests.unit.gateway.record.conftest import Log, entry


async def test_sums_by_endpoint(recording: Log) -> None:
    for number in range(1, 101):
        asked = entry(f"r{number}", first_byte_s=number / 100, duration_s=number / 10)
        recording.log.begun(asked)
        recording.log.ended(asked)
    for name, attempts in (("f1", 1), ("f2", 2)):
        asked = entry(name, outcome="failed", attempts=attempts)
        recording.log.begun(asked)
        recording.log.ended(asked)
    await recording.log.close()
    first, second = sums(recording.path, by="endpoint")
    assert (first.group, first.requests, first.failed, first.retried) == ("e0", 101, 1, 0)
    assert (second.group, second.requests, second.failed, second.retried) == ("e1", 1, 1, 1)
    assert (first.input, first.cached, first.output, first.reasoning) == (15_000, 5_000, 1_000, 400)
    assert first.cost_usd == pytest.approx(100 * (100 * 10 + 50 * 1 + 10 * 20) / 1e6)
    assert second.cost_usd is None
    assert (first.first_byte_p50_s, first.first_byte_p99_s) == (0.5, 0.99)
    assert (first.duration_p50_s, first.duration_p99_s) == (5.0, 9.9)
    assert second.duration_p50_s is None


async def test_groups(recording: Log) -> None:
    asked = entry("one", at_ns=86_400 * 10**9)
    recording.log.begun(asked)
    recording.log.ended(asked)
    await recording.log.close()
    assert [one.group for one in sums(recording.path, by="day")] == ["1970-01-02"]
    assert [one.group for one in sums(recording.path, by="token")] == ["codex"]
    assert sums(recording.path, since_ns=2 * 86_400 * 10**9) == []
    with pytest.raises(BadInput, match="grouped by 'x'"):
        sums(recording.path, by="x")


def test_without_records(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        sums(tmp_path / "none.db")
