"""The child is SIGKILLed at a stage of a turn; what the waiting client sees, and what is recorded."""

from __future__ import annotations

import asyncio
import os
import signal

from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2

from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor


async def kill_child(supervisor: RunningSupervisor, name: str = "main") -> int:
    """SIGKILL the instance's child; return its pid."""
    pid = (await supervisor.client.instance(name)).child.pid
    os.kill(pid, signal.SIGKILL)
    return pid


def kinds(events: list[turns_pb2.TurnEvent]) -> list[str]:
    """The kinds of events, in order."""
    return [event.WhichOneof("event") or "" for event in events]


async def test_a_child_killed_while_idle_is_replaced_and_remembers(supervisor: RunningSupervisor) -> None:
    first = await supervisor.client.ask("remember me")
    pid = await kill_child(supervisor)
    second = await supervisor.client.ask("again")
    assert second.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert second.thread_id == first.thread_id
    assert (await supervisor.client.instance()).child.pid != pid


async def test_a_turn_killed_mid_stream_goes_on_under_the_same_call(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half of the answer, "), gate.step, Text("never sent"))
    stub_model.script(Text("the whole answer"))
    asked = asyncio.ensure_future(supervisor.client.events("a long question"))
    await gate.reached()
    await kill_child(supervisor)
    events = await asked
    gate.release()
    turn = events[-1].ended.turn
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert turn.answer == "the whole answer"
    assert turn.recoveries == 1
    reports = [event.recovery for event in events if event.HasField("recovery")]
    assert len(reports) == 1
    assert reports[0].action == instances_pb2.ON_INTERRUPTED_CONTINUE
    assert "SIGKILL" in reports[0].what_happened
    streamed = [event.text.item_id for event in events if event.HasField("text")]
    assert set(reports[0].superseded_item_ids) == {streamed[0]}


async def test_a_supervisor_killed_mid_turn_leaves_the_turn_to_the_next_one(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("first half, "), gate.step, Text("second half"))
    request = supervisor.client.request("a question that outlives its supervisor")
    call = supervisor.client.turns.Ask(request)
    seen = []
    async for answer in call:
        seen.append(answer.event)
        if answer.event.HasField("text"):
            break
    await gate.reached()
    child = (await supervisor.client.instance()).child.pid
    call.cancel()
    await supervisor.restart()
    assert (await supervisor.client.instance()).child.pid == child
    gate.release()
    attach = turns_pb2.AttachRequest(turn_id=request.request_id, after_seq=seen[-1].seq)
    later = [answer.event async for answer in supervisor.client.turns.Attach(attach)]
    turn = later[-1].ended.turn
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert turn.answer == "first half, second half"
    assert later[0].seq > seen[-1].seq
    assert "text" not in kinds(later), "pieces of a message that was missed in part are not shown"
    assert stub_model.received == 1
