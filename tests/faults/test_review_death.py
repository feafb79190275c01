"""Codex, or the supervisor, dies in the middle of a review: it is begun again, or followed on."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2

from tests.faults.watching import child_pid, kill_child, recorded_turn, reviewing
from tests.support.codex_home import CodexHome
from tests.support.model_script import Command, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, ref, supervisor_of
from tests.support.waiting import wait_for


@pytest.mark.parametrize("policy", [instances_pb2.ON_INTERRUPTED_CONTINUE, instances_pb2.ON_INTERRUPTED_REPLAY])
async def test_a_killed_review_is_begun_again(
    supervisor: RunningSupervisor, stub_model: StubModel, policy: instances_pb2.OnInterrupted
) -> None:
    configure = instances_pb2.ConfigureRequest(instance=ref("main"), cwd=supervisor.client.cwd, on_interrupted=policy)
    await supervisor.client.instances.Configure(configure)
    before = await supervisor.client.ask("before it")
    gate = stub_model.gate()
    stub_model.script(Command("echo looked"), continues=False)
    stub_model.script(Text("half of a review"), gate.step, Text("never sent"))
    stub_model.script(Text("the whole review"))
    async with reviewing(supervisor) as asked:
        await gate.reached()
        await kill_child(supervisor)
        turn = await asked.turn()
    gate.release()
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert turn.answer == "the whole review"
    assert (turn.recoveries, turn.thread_id) == (1, before.thread_id)
    (report,) = asked.reports()
    assert report.action == instances_pb2.ON_INTERRUPTED_REPLAY, "what is done is said, whatever the policy is called"
    assert "begun again" in report.what_next
    assert ["echo looked" in command.command for command in report.commands] == [True]
    await supervisor.client.ask("after it")
    texts = stub_model.requests[-1].user_texts
    assert texts[0] == "before it", "the conversation goes on"
    assert [sum(words in text for text in texts) for words in ("the whole review", "half of a review")] == [1, 0]


async def test_a_killed_review_may_be_reported_instead(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    report_only = instances_pb2.ON_INTERRUPTED_REPORT
    configure = instances_pb2.ConfigureRequest(instance=ref("main"), on_interrupted=report_only)
    await supervisor.client.instances.Configure(configure)
    gate = stub_model.gate()
    stub_model.script(Text("half of a review"), gate.step)
    async with reviewing(supervisor) as asked:
        await gate.reached()
        # Until the start is written down, nobody knows that Codex had it, and it would be begun again.
        await wait_for(lambda: any(event.HasField("started") for event in asked.events), what="the start")
        await kill_child(supervisor)
        turn = await asked.turn()
    gate.release()
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_INTERRUPTED, outcome_pb2.CAUSE_CHILD_DIED)
    assert [report.action for report in asked.reports()] == [report_only]
    assert stub_model.received == 1


async def test_a_review_outlives_its_supervisor(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Command("echo looked"), continues=False)
    stub_model.script(gate.step, Text("the whole review"))
    async with reviewing(supervisor) as asked:
        await gate.reached()
        child = await child_pid(supervisor)
        await supervisor.restart()
        assert await child_pid(supervisor) == child, "the child was adopted"
        await wait_for_log(supervisor, "child_adopted")
    gate.release()
    turn = await recorded_turn(supervisor, asked.request.request_id)
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert (turn.answer, turn.recoveries) == ("the whole review", 0)
    assert ["echo looked" in command.command for command in turn.commands] == [True]
    assert stub_model.received == 2, "nothing was asked twice"


async def wait_for_log(supervisor: RunningSupervisor, words: str) -> None:
    """Wait until the supervisor has logged this."""
    await wait_for(lambda: words in supervisor.log(), what=f"{words} in the log")


async def test_a_review_that_ended_without_a_supervisor_is_recorded(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("the whole review"))
    async with reviewing(supervisor) as asked:
        await gate.reached()
        await wait_for(lambda: any(event.HasField("started") for event in asked.events), what="the start")
        await supervisor.kill()
        gate.release()
        rollouts = supervisor.home.codex_home / "sessions"
        # Codex itself writes the review down.
        await wait_for(lambda: any("ExitedReviewMode" in p.read_text() for p in rollouts.rglob("*.jsonl")), 20)
        await supervisor.start()
    turn = await recorded_turn(supervisor, asked.request.request_id)
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert (turn.answer, turn.recoveries) == ("the whole review", 0)
    assert stub_model.received == 1


async def test_an_adopted_review_can_be_interrupted(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half"), gate.step)
    async with reviewing(supervisor) as asked:
        await gate.reached()
        await supervisor.restart()
        child = await child_pid(supervisor)
        request = turns_pb2.InterruptRequest(turn_id=asked.request.request_id)
        ended = (await supervisor.client.turns.Interrupt(request, timeout=20)).turn
    gate.release()
    assert ended.outcome == outcome_pb2.OUTCOME_CANCELLED
    assert await child_pid(supervisor) == child, "it was not killed for it"


async def test_killed_at_the_moment_of_sending_it_has_one_outcome(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path, stub_model: StubModel
) -> None:
    settings = {"codex": {"binary": str(real_codex)}}
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("the whole review"))
    async with supervisor_of(
        codex_home,
        short_runtime_dir,
        settings,
        CODEX_SUPERVISOR_FAILPOINT="turn-sent",
    ) as supervisor:
        async with reviewing(supervisor) as asked:
            assert supervisor.process is not None
            await asyncio.wait_for(supervisor.process.wait(), 20)
        await supervisor.kill()
        del supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"]
        await gate.reached()
        await supervisor.start()
        # Codex has the review, and nobody wrote its id down: the running one is followed.
        await wait_for_log(supervisor, "turn_looked_up")
        gate.release()
        turn = await recorded_turn(supervisor, asked.request.request_id)
        assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
        assert turn.answer == "the whole review"
        assert stub_model.received == 1, "nothing was asked twice"
