"""Requests are written beside the event loop, and can be read at any time."""

from __future__ import annotations

import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest
from codex_control.errors import NotFound
from codex_control.service.clock import SystemClock
from codex_gateway.config.model import Bodies, RecordsConfig
from codex_gateway.dialect.neutral import Usage
from codex_gateway.record import recorder
from codex_gateway.record.query import Filter, opened
from codex_gateway.record.recorder import RequestLog
from codex_gateway.record.rows import RequestRecord
from codex_gateway.route.learned import Fact, Topic

from tests.support.waiting import wait_for
from tests.unit.gateway.record.conftest import PRICES, Log, entry


def read(path: Path, wanted: Filter = Filter()) -> list[RequestRecord]:  # noqa: B008  it is frozen
    with opened(path) as records:
        return records.requests(wanted)


async def test_a_request_comes_back_as_it_went_in(recording: Log) -> None:
    asked = entry("one", attempts=2, tags=("slow", "long"), conversation="c1", stream=True)
    recording.log.begun(asked)
    recording.log.ended(asked)
    await recording.log.close()
    (found,) = read(recording.path)
    assert (found.id, found.client, found.dialect, found.endpoint) == ("one", "codex", "responses", "e1")
    assert (found.stream, found.tags, found.conversation, found.outcome) == (True, ("slow", "long"), "c1", "ok")
    assert found.usage == Usage(input=100, cache_read=50, output=10, reasoning=4)
    assert found.cost_usd == pytest.approx((100 * 10 + 50 * 1 + 10 * 20) / 1e6)
    assert [(one.endpoint, one.status, one.reason) for one in found.attempts] == [
        ("e0", 500, "it is on fire"),
        ("e1", 200, ""),
    ]
    assert stat.S_IMODE(recording.path.stat().st_mode) == 0o600


async def test_it_is_written_without_a_close(recording: Log) -> None:
    asked = entry("one")
    recording.log.begun(asked)
    recording.log.ended(asked)
    await wait_for(lambda: [one.id for one in read(recording.path)] == ["one"])


async def test_a_long_request_is_seen_while_it_runs(recording: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "SHOWN_AFTER_S", 0.0)
    asked = entry("long", outcome="")
    recording.log.begun(asked)
    await wait_for(lambda: [one.outcome for one in read(recording.path)] == [""])
    asked.outcome = "ok"
    recording.log.ended(asked)
    await wait_for(lambda: [one.outcome for one in read(recording.path)] == ["ok"])


async def test_what_ran_when_the_gateway_died_is_told_as_lost(recording: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "SHOWN_AFTER_S", 0.0)
    recording.log.begun(entry("cut off", outcome=""))
    await wait_for(lambda: len(read(recording.path)) == 1)
    await recording.log.close()
    after = await RequestLog.open(recording.path, clock=SystemClock(), config=RecordsConfig())
    await after.close()
    (found,) = read(recording.path)
    assert (found.outcome, found.error) == ("lost", "the gateway died")
    assert read(recording.path, Filter(failed=True)) == [found]


@pytest.mark.parametrize(
    ("bodies", "outcome", "attempts", "kept"),
    [
        (Bodies.NONE, "failed", 1, False),
        (Bodies.FAILED, "ok", 1, False),
        (Bodies.FAILED, "ok", 2, True),
        (Bodies.FAILED, "failed", 1, True),
        (Bodies.ALL, "ok", 1, True),
    ],
)
async def test_bodies_are_kept_as_configured(
    recording: Log, bodies: Bodies, outcome: str, attempts: int, kept: bool
) -> None:
    recording.log.change(RecordsConfig(bodies=bodies), PRICES)
    asked = entry("one", outcome=outcome, attempts=attempts)
    recording.log.begun(asked)
    recording.log.ended(asked)
    await recording.log.close()
    with opened(recording.path) as records:
        (found,) = records.requests(Filter())
        sides = [(body.attempt, body.side) for body in records.bodies(found)]
    expected = [(0, "asked")] + [(n, side) for n in range(1, attempts + 1) for side in ("sent", "answered")]
    assert sides == (expected if kept else [])


async def test_keys_never_reach_the_disk(recording: Log) -> None:
    secret = "sk-proj-0123456789abcdef"
    asked = entry("one", outcome="failed", body=f'{{"metadata": {{"api_key": "{secret}"}}}}'.encode())
    asked.error = f"the key {secret} is wrong"
    asked.attempts[0].reason = f"Incorrect API key provided: {secret}"
    asked.attempts[0].sent = f"Authorization: Bearer {secret}".encode()
    asked.attempts[0].answer = bytearray(f"you sent {secret}", "ascii")
    recording.log.begun(asked)
    recording.log.ended(asked)
    await recording.log.close()
    with opened(recording.path) as records:
        (found,) = records.requests(Filter())
        said = [found.error, found.attempts[0].reason, *(body.text for body in records.bodies(found))]
    assert len(said) == 5
    for text in said:
        assert "[redacted]" in text
        assert secret[8:] not in text
    for file in recording.path.parent.iterdir():
        assert secret.encode() not in file.read_bytes()


async def test_a_key_across_the_cut_of_a_body_is_known(recording: Log) -> None:
    limit = 1024
    recording.log.change(RecordsConfig(bodies=Bodies.ALL, body_limit=limit), PRICES)
    secret = "sk-proj-" + "k" * 40
    text = "x" * (limit - 20) + " " + secret
    assert len(text) < recording.log.body_limit
    asked = entry("one", body=text.encode()[: recording.log.body_limit])
    recording.log.begun(asked)
    recording.log.ended(asked)
    await recording.log.close()
    with opened(recording.path) as records:
        (found,) = records.requests(Filter())
        asked_body = records.bodies(found)[0]
    assert asked_body.size <= limit
    assert "kkk" not in asked_body.text
    assert asked_body.text.endswith("x [redacted]")


async def test_more_than_can_be_written_is_dropped_and_counted(recording: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder, "MAX_WAITING", 10)
    for number in range(15):
        asked = entry(f"r{number}")
        recording.log.begun(asked)
        recording.log.ended(asked)
    assert recording.log.dropped == 5
    await recording.log.close()
    assert len(read(recording.path)) == 10


async def test_nothing_is_kept_where_records_are_off(recording: Log) -> None:
    recording.log.change(RecordsConfig(enabled=False), PRICES)
    asked = entry("one")
    recording.log.begun(asked)
    recording.log.ended(asked)
    await recording.log.close()
    assert read(recording.path) == []


async def test_facts_outlive_the_gateway(recording: Log) -> None:
    temperature = Fact(endpoint="e", topic=Topic.PARAMETER, detail="temperature", model="o3", learned_at_s=1.0)
    tools = Fact(endpoint="e", topic=Topic.TOOLS, learned_at_s=2.0)
    recording.log.learn(temperature)
    recording.log.learn(tools)
    await recording.log.close()
    after = await RequestLog.open(recording.path, clock=SystemClock(), config=RecordsConfig())
    assert after.known_facts == [temperature, tools]
    after.forget([temperature])
    await after.close()
    with opened(recording.path) as records:
        assert records.facts() == [tools]


async def test_filters(recording: Log) -> None:
    for number, (outcome, model) in enumerate([("ok", "gpt-5.5"), ("failed", "o3"), ("client_gone", "gpt-5.5")]):
        asked = entry(f"id-{number}", outcome=outcome, model=model, at_ns=1000 + number)
        asked.attempts[-1].model = model
        recording.log.begun(asked)
        recording.log.ended(asked)
    await recording.log.close()

    def ids(wanted: Filter) -> list[str]:
        return [one.id for one in read(recording.path, wanted)]

    assert ids(Filter()) == ["id-2", "id-1", "id-0"]
    assert ids(Filter(failed=True)) == ["id-2", "id-1"]
    assert ids(Filter(model="gpt-*")) == ["id-2", "id-0"]
    assert ids(Filter(since_ns=1001)) == ["id-2", "id-1"]
    assert ids(Filter(client="claude*")) == []
    assert ids(Filter(grep="ON FIRE")) == ["id-2", "id-1"]
    assert ids(Filter(grep="6 TIMES 7")) == ["id-2", "id-1"], "bodies of what failed are searched"
    first = read(recording.path)[0].number
    assert ids(Filter(before=first)) == ["id-1", "id-0"]


async def test_a_request_by_name(recording: Log) -> None:
    for name in ("abc-1", "abd-2"):
        asked = entry(name)
        recording.log.begun(asked)
        recording.log.ended(asked)
    await recording.log.close()
    with opened(recording.path) as records:
        assert records.request("abc-1").id == "abc-1"
        assert records.request("abd").id == "abd-2"
        assert records.request(str(records.request("abc").number)).id == "abc-1"
        for unknown in ("ab", "x", "%", "", "9" * 30):
            with pytest.raises(NotFound):
                records.request(unknown)


def test_no_records_yet(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no records yet"), opened(tmp_path / "none.db"):
        pass


async def test_an_entry_that_no_row_can_hold_costs_no_other_request_its_record(recording: Log) -> None:
    recording.log.begun(broken := entry("broken", conversation="\udcff"))
    recording.log.ended(broken)
    await wait_for(lambda: recording.log.dropped == 1)
    recording.log.begun(asked := entry("one"))
    recording.log.ended(asked)
    await wait_for(lambda: [one.id for one in read(recording.path)] == ["one"])
    await recording.log.ping()


async def test_damage_behind_what_an_opening_looks_at_costs_the_old_records_and_no_start(recording: Log) -> None:
    for number in range(200):
        recording.log.begun(asked := entry(f"e{number}"))
        recording.log.ended(asked)
    await recording.log.close()
    with closing(sqlite3.connect(recording.path)) as db:
        (root,) = db.execute("SELECT rootpage FROM sqlite_master WHERE name = 'facts'").fetchone()
        (page,) = db.execute("PRAGMA page_size").fetchone()
    with recording.path.open("r+b") as file:
        file.seek((root - 1) * page)
        file.write(b"\xaa" * page)
    after = await RequestLog.open(recording.path, clock=SystemClock(), config=RecordsConfig())
    after.begun(asked := entry("new"))
    after.ended(asked)
    await after.close()
    assert [one.id for one in read(recording.path)] == ["new"]
    assert [path for path in recording.path.parent.iterdir() if ".damaged-" in path.name]
