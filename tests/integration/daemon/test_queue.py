"""Turns of one instance wait for each other, within a bound; instances work side by side."""

from __future__ import annotations

import asyncio

import grpc.aio
import pytest
from codex_control.v1 import outcome_pb2, turns_pb2

from tests.integration.daemon.talking import Events, assert_well_formed, is_error, kinds
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, ref
from tests.support.waiting import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAEMON_SETTINGS = {"turns": {"queue_limit": 3}}


async def test_turns_run_one_at_a_time_in_order_and_see_their_position(
    client: Client, model: StubModel, name: str
) -> None:
    gate = model.gate()
    model.script(gate, Text("zero"), when="number 0")
    asked: list[asyncio.Task[Events]] = []
    for number in range(4):
        asked.append(asyncio.ensure_future(client.events(f"number {number}", name)))
        await wait_for(lambda: waiting(client, name, len(asked)), what=f"turn {number} to be accepted")
        await gate.reached()
    instance = await client.instance(name)
    assert instance.queued == 3
    listed = await client.turns.List(turns_pb2.ListTurnsRequest(instance=ref(name)))
    assert [(turn.prompt, turn.queue_position) for turn in listed.turns] == [
        ("number 3", 3),
        ("number 2", 2),
        ("number 1", 1),
        ("number 0", 0),
    ]
    before = model.received

    async with is_error("RESOURCE_EXHAUSTED") as refusal:
        await client.ask("one too many", name)
    assert "queue of instance" in refusal.what
    assert "3 turns" in refusal.why
    assert "turns.queue_limit" in refusal.next_step
    assert model.received == before

    gate.release()
    answers = [await one for one in asked]
    for number, events in enumerate(answers):
        assert_well_formed(events)
        positions = [event.queued.position for event in events if event.HasField("queued")]
        # The first one waits for its child only.
        assert positions == (list(range(number, 0, -1)) if number else [1])
        assert events[-1].ended.turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    spans = [(turn_events(events), events) for events in answers]
    for (_, end), (start, _) in zip((span for span, _ in spans), (span for span, _ in spans[1:]), strict=False):
        assert end <= start, "two turns of one instance ran at once"
    assert [request.last_user_text for request in list(model.requests)[-3:]] == ["number 1", "number 2", "number 3"]
    # The refused one left no trace.
    listed = await client.turns.List(turns_pb2.ListTurnsRequest(instance=ref(name)))
    assert len(listed.turns) == 4


def turn_events(events: Events) -> tuple[int, int]:
    """When the turn was sent to Codex and when it ended, in nanoseconds."""
    started = next(event for event in events if event.HasField("started"))
    return started.at.ToNanoseconds(), events[-1].ended.turn.ended_at.ToNanoseconds()


async def waiting(client: Client, name: str, count: int) -> bool:
    """Whether so many turns were accepted."""
    try:
        listed = await client.turns.List(turns_pb2.ListTurnsRequest(instance=ref(name)))
    except grpc.aio.AioRpcError:
        return False  # the first ask makes the instance
    return len(listed.turns) == count


async def test_the_bound_holds_for_asks_at_the_same_moment(client: Client, model: StubModel, name: str) -> None:
    gate = model.gate()
    model.script(gate, Text("first"), when="go")
    first = asyncio.ensure_future(client.ask("go", name))
    await gate.reached()
    asked = [asyncio.ensure_future(client.ask(f"at once {number}", name)) for number in range(12)]

    async def settled() -> bool:
        return sum(task.done() for task in asked) == 9 and (await client.instance(name)).queued == 3

    await wait_for(settled, what="nine of twelve to be refused")
    gate.release()
    assert (await first).outcome == outcome_pb2.OUTCOME_COMPLETED
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert sum(isinstance(result, turns_pb2.Turn) for result in results) == 3


async def test_fifty_asks_on_twenty_instances_at_once(client: Client, model: StubModel) -> None:
    asked = [client.events(f"ask {number}", f"many-{number % 20}") for number in range(50)]
    answers = await asyncio.gather(*asked)
    for number, events in enumerate(answers):
        assert_well_formed(events)
        assert "error" not in kinds(events)
        turn = events[-1].ended.turn
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, f"stub: ask {number}")
        assert turn.recoveries == 0
