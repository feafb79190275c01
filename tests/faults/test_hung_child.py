"""A child that lives and does nothing: found by probes, ended, and its turn carried on."""

from __future__ import annotations

import os
import signal

import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2
from codex_supervisor.turn.codex_turn import INTERRUPT_TIMEOUT_S

from tests.faults.conftest import Supervise
from tests.faults.watching import asking, child_pid, is_running
from tests.support.fake_codex.knobs import Knobs, Stage
from tests.support.fake_codex.place import FakeCodex
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import ref

PROBES = {"probe_interval": 0.1, "probe_timeout": 0.2, "probe_misses": 2}


async def test_a_stopped_child_is_killed_and_its_turn_carried_on(with_codex: Supervise, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half "), gate.step)
    stub_model.script(Text("whole"))
    async with with_codex({"instances": PROBES}) as supervisor, asking(supervisor, "a question") as asked:
        await gate.reached()
        await asked.reached("text")
        pid = await child_pid(supervisor)
        os.kill(pid, signal.SIGSTOP)
        turn = await asked.turn()
        gate.release()
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "whole")
        assert not is_running(pid)
        (report,) = asked.reports()
        assert "2 probes in a row went unanswered" in report.what_happened


async def test_a_child_that_answers_no_probe_is_replaced_while_idle(
    with_fake: Supervise, fake_codex: FakeCodex
) -> None:
    fake_codex.turn_knobs(Knobs(silent_methods=("thread/loaded/list",), starts=(1,)))
    async with with_fake({"instances": PROBES}) as supervisor:
        await supervisor.client.ask("first")
        await supervisor.client.wait_for_state(instances_pb2.INSTANCE_STATE_STARTING)
        await supervisor.client.wait_for_state(instances_pb2.INSTANCE_STATE_READY)
        assert fake_codex.starts == 2
        assert (await supervisor.client.ask("second")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_child_that_never_listens_is_given_up_in_time(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(listens=False, starts=(1,)))
    async with with_fake({"instances": {"start_timeout": 1}}) as supervisor:
        turn = await supervisor.client.ask("after all")
        assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
        assert fake_codex.starts == 2


@pytest.mark.parametrize("method", ["turn/start", "thread/start"])
async def test_a_child_that_does_not_answer_is_found_by_probes_or_by_the_request(
    with_fake: Supervise, fake_codex: FakeCodex, method: str
) -> None:
    fake_codex.turn_knobs(Knobs(silent_methods=(method, "thread/loaded/list"), starts=(1,)))
    async with with_fake({"instances": PROBES}) as supervisor:
        turn = await supervisor.client.ask("answered by the second")
        assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
        assert turn.answer == "fake: answered by the second"


async def test_a_stop_kills_a_child_that_ignores_term(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(ignores_term=True))
    async with with_fake({"instances": {"stop_timeout": 0.3}}) as supervisor:
        await supervisor.client.ask("first")
        pid = await child_pid(supervisor)
        reply = await supervisor.client.instances.Stop(instances_pb2.StopRequest(instance=ref("main")), timeout=5)
        assert reply.instance.state == instances_pb2.INSTANCE_STATE_STOPPED
        assert not is_running(pid)


async def test_a_stalled_turn_is_reported_and_goes_on(with_codex: Supervise, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("begun "), gate.step, Text("and ended"))
    async with with_codex({"turns": {"stall_after": 1}}) as supervisor, asking(supervisor, "slow") as asked:
        warning = await asked.reached("warning")
        assert "nothing has come from Codex for 1 s" in warning.warning.message  # type: ignore[attr-defined]
        gate.release()
        turn = await asked.turn()
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "begun and ended")


async def test_a_stalled_turn_is_ended_where_the_user_wants_it(with_codex: Supervise, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("begun "), gate.step)
    settings = {"turns": {"stall_after": 1, "on_stall": "interrupt"}}
    async with with_codex(settings) as supervisor, asking(supervisor, "slow") as asked:
        turn = await asked.turn()
        gate.release()
        assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_STALLED)
        assert turn.answer == "begun "
        assert (await supervisor.client.ask("next")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_turn_that_ignores_its_interrupt_is_ended_with_its_child(
    with_fake: Supervise, fake_codex: FakeCodex
) -> None:
    fake_codex.turn_knobs(Knobs(stall_at=Stage.DELTA, silent_methods=("turn/interrupt",), starts=(1,)))
    settings = {"turns": {"stall_after": 1, "on_stall": "interrupt"}}
    async with with_fake(settings) as supervisor, asking(supervisor, "hangs") as asked:
        turn = await asked.turn()
        assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_STALLED)
        assert (await supervisor.client.ask("next")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_child_that_answers_no_new_supervisor_holds_nobody_else_up(
    with_codex: Supervise, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    async with with_codex() as supervisor:
        other = (await supervisor.client.ask("another one", "other")).instance
        stub_model.script(Text("half "), gate.step)
        stub_model.script(Text("whole"), when="a question")
        async with asking(supervisor, "a question") as asked:
            await gate.reached()
            await asked.reached("text")
            silent, well = await child_pid(supervisor), await child_pid(supervisor, other)
            await supervisor.kill()
        os.kill(silent, signal.SIGSTOP)
        await supervisor.start()
        instance = await supervisor.client.instance()
        assert instance.state == instances_pb2.INSTANCE_STATE_STARTING, "the others wait for it no longer"
        assert "is carried on" in instance.detail
        assert is_running(silent)
        assert await child_pid(supervisor, other) == well
        assert (await supervisor.client.ask("and now?", other)).outcome == outcome_pb2.OUTCOME_COMPLETED
        gate.release()
        again = turns_pb2.AttachRequest(turn_id=asked.request.request_id)
        events = [answer.event async for answer in supervisor.client.turns.Attach(again, timeout=40)]
        turn = events[-1].ended.turn
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "whole")
        (report,) = [event.recovery for event in events if event.HasField("recovery")]
        assert "it did not answer the new supervisor" in report.what_happened
        assert not is_running(silent)


async def test_a_child_that_answers_a_new_supervisor_late_is_adopted(
    with_codex: Supervise, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("one and "), gate.step, Text("the same"))
    async with with_codex() as supervisor:
        async with asking(supervisor, "a question") as asked:
            await gate.reached()
            pid = await child_pid(supervisor)
            await supervisor.kill()
        os.kill(pid, signal.SIGSTOP)
        await supervisor.start()
        await supervisor.client.wait_for_state(instances_pb2.INSTANCE_STATE_STARTING)
        os.kill(pid, signal.SIGCONT)
        await supervisor.client.wait_for_state(instances_pb2.INSTANCE_STATE_BUSY)
        assert (await supervisor.client.instance()).child.adopted
        gate.release()
        again = turns_pb2.AttachRequest(turn_id=asked.request.request_id)
        events = [answer.event async for answer in supervisor.client.turns.Attach(again, timeout=40)]
        turn = events[-1].ended.turn
        assert (turn.outcome, turn.answer, turn.recoveries) == (outcome_pb2.OUTCOME_COMPLETED, "one and the same", 0)


async def test_a_turn_whose_thread_does_not_open_can_be_interrupted(
    with_fake: Supervise, fake_codex: FakeCodex
) -> None:
    # As where an MCP server of the user does not come up: Codex waits for it, and answers probes meanwhile.
    fake_codex.turn_knobs(Knobs(silent_methods=("thread/start",), starts=(1,)))
    async with with_fake() as supervisor, asking(supervisor, "never mind") as asked:
        await asked.reached("accepted")
        await supervisor.client.wait_for_state(instances_pb2.INSTANCE_STATE_BUSY)
        request = turns_pb2.InterruptRequest(turn_id=asked.request.request_id)
        reply = await supervisor.client.turns.Interrupt(request, timeout=INTERRUPT_TIMEOUT_S + 5)
        assert reply.turn.outcome == outcome_pb2.OUTCOME_CANCELLED
        assert (await supervisor.client.ask("in another child")).outcome == outcome_pb2.OUTCOME_COMPLETED
    assert fake_codex.starts == 2
