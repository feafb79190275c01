"""The real Codex is SIGKILLed at every stage of a turn: what the waiting client sees, and what is recorded."""

from __future__ import annotations

import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2

from tests.faults.watching import asking, child_pid, is_running, kill_child, processes_with
from tests.support.model_script import Command, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, ref
from tests.support.waiting import wait_for

ESCALATED = {"sandbox_permissions": "require_escalated", "justification": "the test wants to be asked"}


def questions(stub_model: StubModel, prompt: str) -> list[int]:
    """How often each request to the model held the prompt."""
    return [request.user_texts.count(prompt) for request in stub_model.requests]


async def test_killed_while_idle_it_is_replaced_and_remembers(supervisor: RunningSupervisor) -> None:
    first = await supervisor.client.ask("remember me")
    pid = await kill_child(supervisor)
    second = await supervisor.client.ask("again")
    assert second.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert second.thread_id == first.thread_id
    assert await child_pid(supervisor) != pid


async def test_killed_as_soon_as_codex_has_the_turn(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("sent or not, as the kill falls"))
    await supervisor.client.instances.Start(instances_pb2.StartRequest(instance=ref("main")))
    async with asking(supervisor, "said once") as asked:
        await asked.reached("started")
        await kill_child(supervisor)
        gate.release()
        turn = await asked.turn()
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert len(asked.reports()) == 1
    assert max(questions(stub_model, "said once")) == 1, "the prompt is in the conversation once"


async def test_killed_mid_stream_it_goes_on_under_the_same_call(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half of the answer, "), gate.step, Text("never sent"))
    stub_model.script(Text("the whole answer"))
    async with asking(supervisor, "a long question") as asked:
        await gate.reached()
        text = await asked.reached("text")
        await kill_child(supervisor)
        turn = await asked.turn()
    gate.release()
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert turn.answer == "the whole answer"
    assert turn.recoveries == 1
    (report,) = asked.reports()
    assert report.action == instances_pb2.ON_INTERRUPTED_CONTINUE
    assert "SIGKILL" in report.what_happened
    assert list(report.superseded_item_ids) == [text.text.item_id]
    assert max(questions(stub_model, "a long question")) == 1


async def test_killed_in_a_shell_command_it_says_what_had_run_and_leaves_no_process(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    stub_model.script(Command("sleep 4711"), continues=False)
    stub_model.script(Text("went on"))
    async with asking(supervisor, "run it") as asked:
        await asked.reached("command")
        await wait_for(lambda: processes_with("sleep 4711"), what="the command to run")
        await kill_child(supervisor)
        turn = await asked.turn()
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert turn.answer == "went on"
    (report,) = asked.reports()
    assert ["sleep 4711" in command.command for command in report.commands] == [True]
    assert processes_with("sleep 4711") == []


async def test_killed_while_it_waits_for_an_approval(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    stub_model.script(Command("true", ESCALATED), continues=False)
    stub_model.script(Text("asked in vain"))
    async with asking(supervisor, "escalate", interactive=True) as asked:
        approval = await asked.reached("approval")
        await kill_child(supervisor)
        turn = await asked.turn()
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert turn.answer == "asked in vain"
    with pytest.raises(Exception, match="has ended"):
        await supervisor.client.turns.Respond(
            turns_pb2.RespondRequest(approval_id=approval.approval.approval_id, decision=turns_pb2.DECISION_ACCEPT)
        )


@pytest.mark.parametrize(
    ("policy", "outcome", "answer"),
    [
        (instances_pb2.ON_INTERRUPTED_REPLAY, outcome_pb2.OUTCOME_COMPLETED, "the whole answer"),
        (instances_pb2.ON_INTERRUPTED_REPORT, outcome_pb2.OUTCOME_INTERRUPTED, "half "),
    ],
)
async def test_the_policy_decides_what_follows(
    supervisor: RunningSupervisor,
    stub_model: StubModel,
    policy: instances_pb2.OnInterrupted,
    outcome: outcome_pb2.Outcome,
    answer: str,
) -> None:
    await supervisor.client.instances.Configure(
        instances_pb2.ConfigureRequest(instance=ref("main"), on_interrupted=policy)
    )
    gate = stub_model.gate()
    stub_model.script(Text("half ", deltas=1), gate.step, Text("never sent"))
    stub_model.script(Text("the whole answer"))
    async with asking(supervisor, "a question") as asked:
        await gate.reached()
        await asked.reached("text")
        await kill_child(supervisor)
        turn = await asked.turn()
    gate.release()
    assert turn.outcome == outcome
    assert turn.answer == answer
    assert [report.action for report in asked.reports()] == [policy]
    assert max(questions(stub_model, "a question")) == 1, "a replay takes the first try back"


async def test_a_turn_that_kills_its_child_again_and_again_is_given_up(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    supervisor.configure({"turns": {"max_recoveries": 1}, "instances": {"backoff_initial": 0}})
    await supervisor.stop()
    await supervisor.start()
    gates = [stub_model.gate(), stub_model.gate()]
    for gate in gates:
        stub_model.script(gate.step)
    async with asking(supervisor, "poison") as asked:
        for gate in gates:
            await gate.reached()
            await kill_child(supervisor)
        turn = await asked.turn()
    for gate in gates:
        gate.release()
    assert turn.outcome == outcome_pb2.OUTCOME_INTERRUPTED
    assert turn.cause == outcome_pb2.CAUSE_CHILD_DIED
    assert "max_recoveries" in turn.error
    assert (await supervisor.client.ask("the next one")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_cancelled_turn_is_not_carried_on_after_a_death(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half "), gate.step)
    async with asking(supervisor, "to be cancelled") as asked:
        await gate.reached()
        pid = await child_pid(supervisor)
        call = supervisor.client.turns.Interrupt(turns_pb2.InterruptRequest(instance=ref("main")))
        await kill_child(supervisor)
        ended = (await call).turn
        turn = await asked.turn()
    gate.release()
    assert ended.outcome == turn.outcome == outcome_pb2.OUTCOME_CANCELLED
    assert not is_running(pid)
    assert stub_model.received == 1
