"""Too much output, and output that means nothing: the supervisor's memory stays bounded, answers arrive whole."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path

import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2

from tests.faults.conftest import Supervise
from tests.faults.watching import asking
from tests.support.fake_codex.knobs import Knobs
from tests.support.fake_codex.place import FakeCodex
from tests.support.model_script import Bulk, Command, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor
from tests.support.waiting import wait_for

MIB = 1 << 20


def memory_mib(supervisor: RunningSupervisor) -> tuple[float, float]:
    """Resident memory of the supervisor now, and at its highest."""
    status = Path(f"/proc/{supervisor.pid}/status").read_text().splitlines()
    found = dict(line.split(":", 1) for line in status)
    return int(found["VmRSS"].split()[0]) / 1024, int(found["VmHWM"].split()[0]) / 1024


async def test_a_hundred_megabytes_that_nobody_reads(with_codex: Supervise, stub_model: StubModel) -> None:
    # The client takes its call and never reads; Codex writes 100 MB of text in 3,200 pieces.
    stub_model.script(Bulk(100 * MIB, deltas=3200))
    async with with_codex({"turns": {"answer_limit": "2 MiB"}}) as supervisor:
        before, _ = memory_mib(supervisor)
        request = supervisor.client.request("flood me")
        call = supervisor.client.turns.Ask(request)
        await call.read()
        record = await wait_for(lambda: ended(supervisor, request.request_id), 60, "the outcome")
        assert record is not None
        _, highest = memory_mib(supervisor)
        call.cancel()
        assert (record.outcome, record.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_LIMIT)
        assert "turns.answer_limit" in record.error
        assert 1.9 * MIB < len(record.answer) <= 2 * MIB
        # The answer is held a few times over while it is written down: as text, as bytes, in SQLite's page cache.
        assert highest - before < 40, "what nobody reads must not pile up"
        events = [
            answer.event async for answer in supervisor.client.turns.Attach(turns_pb2.AttachRequest(turn_id=record.id))
        ]
        assert events[-1].ended.turn.answer == record.answer, "who comes later gets it all"
        assert (await supervisor.client.ask("next")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def ended(supervisor: RunningSupervisor, request_id: str) -> turns_pb2.Turn | None:
    """The record of a turn that has ended."""
    reply = await supervisor.client.turns.Get(turns_pb2.GetTurnRequest(turn_id=request_id))
    return reply.turn if reply.turn.state == turns_pb2.TURN_STATE_ENDED else None


async def test_a_hundred_megabytes_of_command_output(with_codex: Supervise, stub_model: StubModel) -> None:
    stub_model.script(Command("head -c 100000000 /dev/zero | tr '\\0' x"), continues=False)
    stub_model.script(Text("that was much"))
    async with with_codex() as supervisor:
        before, _ = memory_mib(supervisor)
        turn = await supervisor.client.ask("be loud")
        _, highest = memory_mib(supervisor)
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "that was much")
        assert len(turn.commands[0].output_tail) <= 4096
        assert highest - before < 60


async def test_a_hundred_megabytes_of_notifications(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    # As command output that no version of Codex has been told not to send: see `opt_out` in `AppServer.connect`.
    fake_codex.turn_knobs(Knobs(flood_bytes=100 * MIB))
    async with with_fake() as supervisor:
        before, _ = memory_mib(supervisor)
        turn = await supervisor.client.ask("flood me")
        _, highest = memory_mib(supervisor)
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "fake: flood me")
        assert highest - before < 60


async def test_a_hundred_megabytes_of_error_output(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    noise = "x" * 1023 + "\n"
    fake_codex.binary.write_text(
        fake_codex.binary.read_text().replace(
            "main()\n", f"sys.argv[1:2] == ['app-server'] and sys.stderr.write({noise!r} * 102_400)\nmain()\n"
        )
    )
    limit = {"file_limit": "1 MiB", "files_kept": 1}
    async with with_fake({"log": limit, "instances": {"probe_interval": 0.3}}) as supervisor:
        assert (await supervisor.client.ask("first")).outcome == outcome_pb2.OUTCOME_COMPLETED
        logs = supervisor.state_dir / "log" / "children"

        def is_small() -> bool:
            return sum(file.stat().st_size for file in logs.iterdir()) <= 2 * MIB

        await wait_for(is_small, 15, "the child's output to be cut down")


async def test_one_line_of_ten_megabytes(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(answer_bytes=10 * MIB))
    async with with_fake() as supervisor, asking(supervisor, "one long line") as asked:
        turn = await asked.turn()
        assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
        assert turn.answer == "x" * (10 * MIB)
        whole = [event.message.text for event in asked.events if event.HasField("message")]
        assert whole == [turn.answer]


async def test_a_real_answer_of_ten_megabytes_is_kept_to_the_byte(with_codex: Supervise, stub_model: StubModel) -> None:
    text = "".join(hashlib.sha256(str(number).encode()).hexdigest() for number in range(160_000))
    stub_model.script(Text(text, deltas=1))
    async with with_codex() as supervisor:
        turn = await supervisor.client.ask("say much")
        assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
        assert hashlib.sha256(turn.answer.encode()).digest() == hashlib.sha256(text.encode()).digest()


GARBAGE = (
    "this is no JSON",
    '{"method":"item/agentMessage/delta"',
    "[]",
    "null",
    '{"method":"turn/completed","params":{"turn":17}}',
    '{"id":"nobody asked","result":{}}',
    '{"method":"item/completed","params":{"item":{"type":42}}}',
    "[" * 100_000,
)


@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(frames=GARBAGE),
        Knobs(invalid_utf8=True),
        Knobs(unknown_events=True),
        Knobs(frames=GARBAGE, invalid_utf8=True, unknown_events=True),
    ],
    ids=["garbage", "invalid UTF-8", "unknown events", "all of it"],
)
async def test_what_cannot_be_read_is_skipped(with_fake: Supervise, fake_codex: FakeCodex, knobs: Knobs) -> None:
    fake_codex.turn_knobs(knobs)
    async with with_fake() as supervisor:
        for number in range(2):
            turn = await supervisor.client.ask(f"question {number}")
            assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, f"fake: question {number}")
        assert fake_codex.starts == 1, "the child was not replaced for it"
        assert (await supervisor.client.instance()).state == instances_pb2.INSTANCE_STATE_READY


async def test_many_slow_readers_cost_no_memory(with_codex: Supervise, stub_model: StubModel) -> None:
    stub_model.script(Bulk(8 * MIB, deltas=400))
    async with with_codex() as supervisor:
        await supervisor.client.ask("warm up")
        before, _ = memory_mib(supervisor)
        request = supervisor.client.request("for twenty readers")
        calls = [supervisor.client.turns.Ask(request) for _ in range(20)]
        await asyncio.gather(*(call.read() for call in calls))
        await wait_for(lambda: ended(supervisor, request.request_id), 60, "the outcome")
        _, highest = memory_mib(supervisor)
        for call in calls:
            call.cancel()
        assert highest - before < 100, "eight megabytes for twenty readers are not 160"
