"""Calls that follow a turn: attach, detach, repeat, cancel, give up, interrupt, steer."""

from __future__ import annotations

import asyncio
import uuid
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2
from google.protobuf.duration_pb2 import Duration

from tests.integration.daemon.talking import Events, assert_well_formed, is_error, kinds, text_of
from tests.support.model_script import Command, Stall, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref
from tests.support.waiting import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAEMON_SETTINGS = {"profiles": {"danger": {"sandbox": "danger-full-access"}}}


async def attach(client: Client, turn_id: str, after_seq: int = 0) -> Events:
    """All events of a turn after `after_seq`."""
    request = turns_pb2.AttachRequest(turn_id=turn_id, after_seq=after_seq)
    return [answer.event async for answer in client.turns.Attach(request, timeout=20)]


async def get(client: Client, turn_id: str) -> turns_pb2.Turn:
    """The record of a turn."""
    reply: turns_pb2.GetTurnResponse = await client.turns.Get(turns_pb2.GetTurnRequest(turn_id=turn_id))
    return reply.turn


async def ended(client: Client, turn_id: str) -> turns_pb2.Turn:
    """The record of a turn, once it has ended."""
    return (await attach(client, turn_id))[-1].ended.turn


async def until_text(call: grpc.aio.UnaryStreamCall[Any, Any]) -> Events:
    """Read a call up to its first text."""
    seen: Events = []
    async for answer in call:
        seen.append(answer.event)
        if answer.event.HasField("text"):
            return seen
    raise AssertionError(f"it ended without text: {kinds(seen)}")


async def test_attach_from_every_number_gives_exactly_the_rest_live_and_after_the_end(
    client: Client, model: StubModel, name: str
) -> None:
    gate = model.gate()
    model.script(Text("one two three ", deltas=3, delay_s=0.02), gate, Text("four five", deltas=2, delay_s=0.02))
    call = client.turns.Ask(client.request("count", name))
    first = await until_text(call)
    await gate.reached()
    turn_id = first[0].turn_id
    live = [asyncio.ensure_future(attach(client, turn_id, seq)) for seq in range(first[-1].seq + 1)]
    gate.release()
    events = first + [answer.event async for answer in call]
    assert_well_formed(events)
    assert text_of(events) == "one two three four five"
    for seq, rest in enumerate(await asyncio.gather(*live)):
        assert rest == [event for event in events if event.seq > seq]
    for seq in range(events[-1].seq + 1):
        assert await attach(client, turn_id, seq) == [event for event in events if event.seq > seq]


async def test_a_detached_ask_returns_with_the_receipt_and_the_turn_runs_on(
    client: Client, model: StubModel, name: str
) -> None:
    gate = model.gate()
    model.script(gate, Text("later"))
    request = client.request("detached", name, detach=True)
    events = [answer.event async for answer in client.turns.Ask(request)]
    assert kinds(events) == ["accepted"]
    assert events[0].accepted.instance == name
    await gate.reached()
    gate.release()
    assert (await ended(client, events[0].turn_id)).answer == "later"


async def test_a_repeated_request_id_attaches_and_starts_nothing(client: Client, model: StubModel, name: str) -> None:
    gate = model.gate()
    model.script(gate, Text("only once"))
    before = model.received
    request = client.request("again and again", name)

    async def ask() -> Events:
        return [answer.event async for answer in client.turns.Ask(request)]

    asked = [asyncio.ensure_future(ask()) for _ in range(10)]
    await gate.reached()
    late = asyncio.ensure_future(ask())
    gate.release()
    answers = [*await asyncio.gather(*asked), await late, await ask()]
    for events in answers:
        assert_well_formed(events)
        assert events[-1].ended.turn.answer == "only once"
    assert [events[0].accepted.attached for events in answers].count(False) == 1
    assert len({events[0].turn_id for events in answers}) == 1
    assert model.received == before + 1
    assert (await get(client, request.request_id)).id == answers[0][0].turn_id


async def test_a_deadline_or_a_cancelled_call_leaves_the_turn_running(
    client: Client, model: StubModel, name: str
) -> None:
    gate = model.gate()
    model.script(Text("begun "), gate, Text("and finished"))
    request = client.request("long", name)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        async for _ in client.turns.Ask(request, timeout=1.0):
            pass
    assert raised.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    call = client.turns.Attach(turns_pb2.AttachRequest(turn_id=request.request_id))
    await until_text(call)
    call.cancel()
    assert (await get(client, request.request_id)).state == turns_pb2.TURN_STATE_RUNNING
    gate.release()
    assert (await ended(client, request.request_id)).answer == "begun and finished"


async def test_interrupt_on_cancel_ends_the_turn(client: Client, model: StubModel, name: str) -> None:
    model.script(Text("begun"), Stall())
    request = client.request("stop me", name, interrupt_on_cancel=True)
    call = client.turns.Ask(request)
    await until_text(call)
    call.cancel()
    turn = await ended(client, request.request_id)
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_CANCELLED, outcome_pb2.CAUSE_USER)
    assert turn.answer == "begun"


async def test_interrupt_on_cancel_holds_from_the_first_moment(client: Client, model: StubModel, name: str) -> None:
    """A client that leaves before it has its receipt leaves no turn running that nobody wants."""
    model.script(Stall(), times=None)
    for round_ in range(8):
        request = client.request("never mind", name, interrupt_on_cancel=True)
        call = client.turns.Ask(request)
        reading = asyncio.ensure_future(call.read())
        await asyncio.sleep(0.001 * round_)  # each round leaves at another point of the acceptance
        call.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        async with is_error("NOT_FOUND", optional=True):
            assert (await ended(client, request.request_id)).outcome == outcome_pb2.OUTCOME_CANCELLED


async def test_the_time_limit_of_a_turn(client: Client, model: StubModel, name: str) -> None:
    model.script(Text("part"), Stall())
    turn = await client.ask("slow", name, timeout=Duration(nanos=700_000_000))
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_TIMED_OUT)
    assert "--timeout" in turn.error
    assert turn.answer == "part"
    assert 0.6 < turn.timings.total.ToNanoseconds() / 1e9 < 5


async def test_the_time_limit_counts_in_the_queue_too(client: Client, model: StubModel, name: str) -> None:
    gate = model.gate()
    model.script(gate, Text("first"))
    first = asyncio.ensure_future(client.ask("first", name))
    await gate.reached()
    queued = await client.ask("second", name, timeout=Duration(nanos=200_000_000))
    assert (queued.outcome, queued.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_TIMED_OUT)
    assert queued.codex_turn_id == ""
    gate.release()
    assert (await first).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_interrupt_ends_the_turn_and_its_shell_command(
    client: Client, model: StubModel, name: str, daemon: RunningSupervisor
) -> None:
    pid_file = daemon.home.workspace / "pid"
    model.script(Text("I run it. "), Command(f"echo $$ > {pid_file}; sleep 300"))
    asked = asyncio.ensure_future(client.events("run", name, profile="danger"))
    await wait_for(lambda: pid_file.exists() and pid_file.read_text().strip(), what="the command to run")
    shell = Path(f"/proc/{pid_file.read_text().strip()}")
    assert shell.exists()
    reply = await client.turns.Interrupt(turns_pb2.InterruptRequest(instance=ref(name)), timeout=20)
    assert (reply.turn.outcome, reply.turn.cause) == (outcome_pb2.OUTCOME_CANCELLED, outcome_pb2.CAUSE_USER)
    await wait_for(lambda: not shell.exists(), what="the command to be gone")
    events = await asked
    assert_well_formed(events)
    assert events[-1].ended.turn == reply.turn
    assert [command.exit_code for command in reply.turn.commands] != [0]
    # Twice is an error that says how it ended.
    async with is_error("FAILED_PRECONDITION") as refusal:
        await client.turns.Interrupt(turns_pb2.InterruptRequest(turn_id=reply.turn.id))
    assert "cancelled" in refusal.why
    # The instance goes on with the same child.
    assert (await client.ask("next", name)).answer == "stub: next"


async def test_interrupt_of_a_queued_turn_leaves_the_running_one(client: Client, model: StubModel, name: str) -> None:
    gate = model.gate()
    model.script(gate, Text("first"))
    first = asyncio.ensure_future(client.ask("first", name))
    await gate.reached()
    request = client.request("second", name)
    second = asyncio.ensure_future(client.events("second", name, request_id=request.request_id))
    await wait_for(lambda: queued(client, name, 1), what="the second turn to wait")
    reply = await client.turns.Interrupt(turns_pb2.InterruptRequest(turn_id=request.request_id), timeout=20)
    assert reply.turn.outcome == outcome_pb2.OUTCOME_CANCELLED
    assert "before it ran" in reply.turn.error
    assert_well_formed(await second)
    gate.release()
    assert (await first).answer == "first"


async def queued(client: Client, name: str, count: int) -> bool:
    """Whether so many turns wait."""
    return (await client.instance(name)).queued == count


async def test_a_second_ask_waits_and_only_steer_steers(client: Client, model: StubModel, name: str) -> None:
    gate = model.gate()
    model.script(Text("thinking "), gate, when="first")
    first = asyncio.ensure_future(client.ask("first", name))
    await gate.reached()
    second = asyncio.ensure_future(client.ask("second", name))
    await wait_for(lambda: queued(client, name, 1), what="the second turn to wait")
    steered = await client.turns.Steer(turns_pb2.SteerRequest(instance=ref(name), text="mind the step"))
    gate.release()
    one, two = await first, await second
    assert steered.turn_id == one.id
    assert one.answer == "stub: mind the step"
    assert two.answer == "stub: second"
    assert one.codex_turn_id != two.codex_turn_id


async def test_steering_what_cannot_be_steered(client: Client, model: StubModel, name: str) -> None:
    await client.ask("first", name)
    for request, status in (
        (turns_pb2.SteerRequest(instance=ref(name), text="x"), "FAILED_PRECONDITION"),
        (turns_pb2.SteerRequest(instance=ref(name), text=" "), "INVALID_ARGUMENT"),
        (turns_pb2.SteerRequest(instance=ref("nobody"), text="x"), "NOT_FOUND"),
        (turns_pb2.SteerRequest(turn_id=str(uuid.uuid4()), text="x"), "NOT_FOUND"),
        (turns_pb2.SteerRequest(text="x"), "INVALID_ARGUMENT"),
    ):
        async with is_error(status):
            await client.turns.Steer(request)


async def test_an_output_schema_reaches_the_model(client: Client, model: StubModel, name: str) -> None:
    schema = (
        '{"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": false}'
    )
    model.script(Text('{"a": "b"}'))
    turn = await client.ask("as JSON", name, output_schema=schema)
    assert turn.answer == '{"a": "b"}'
    assert model.requests[-1].body["text"]["format"]["schema"]["properties"] == {"a": {"type": "string"}}


async def test_an_image_reaches_the_model(
    client: Client, model: StubModel, name: str, daemon: RunningSupervisor
) -> None:
    pixel = bytes.fromhex(
        "89504e470d0a1a0a0000000d4948445200000001000000010802000000907753de0000000c4944415408d763f8cfc000000301010018dd8db0"
        "0000000049454e44ae426082"
    )
    image = daemon.home.workspace / "pixel.png"
    image.write_bytes(pixel)
    turn = await client.ask("what is it", name, images=[str(image)])
    assert list(turn.images) == [str(image)]
    parts = [part["type"] for item in model.requests[-1].input for part in item.get("content", [])]
    assert "input_image" in parts


async def test_turns_are_listed_newest_first_and_by_state(client: Client, model: StubModel, name: str) -> None:
    done = [await client.ask(f"number {number}", name) for number in range(3)]
    request = turns_pb2.ListTurnsRequest(instance=ref(name), page_size=2)
    page = await client.turns.List(request)
    assert [turn.id for turn in page.turns] == [done[2].id, done[1].id]
    request.page_token = page.next_page_token
    rest = await client.turns.List(request)
    assert [turn.id for turn in rest.turns] == [done[0].id]
    assert rest.next_page_token == ""
    running = turns_pb2.ListTurnsRequest(instance=ref(name), states=[turns_pb2.TURN_STATE_RUNNING])
    assert not (await client.turns.List(running)).turns
    await client.instances.Stop(instances_pb2.StopRequest(instance=ref(name)), timeout=20)
