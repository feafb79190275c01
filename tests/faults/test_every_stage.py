"""The stand-in dies, hangs or is stopped at each stage of a turn: one outcome, one answer, one prompt."""

from __future__ import annotations

import os
import signal

import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2

from tests.faults.conftest import Supervise
from tests.faults.watching import asking, wait_for_rollout
from tests.support.fake_codex.knobs import Knobs, Stage
from tests.support.fake_codex.place import FakeCodex
from tests.support.fake_codex.threads import DIRECTORY
from tests.support.model_script import EndText, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, ref

# With a command and an approval, so that every stage is reached.
KNOBS = {"approval": "command", "command": "true", "starts": (1,)}


def prompts_kept(supervisor: RunningSupervisor, prompt: str) -> int:
    """How often the prompt stands in the stand-in's threads."""
    threads = supervisor.home.codex_home / DIRECTORY
    return sum(path.read_text().count(f'"{prompt}"') for path in threads.glob("*.jsonl"))


@pytest.mark.parametrize("stage", list(Stage))
async def test_death_at_a_stage(with_fake: Supervise, fake_codex: FakeCodex, stage: Stage) -> None:
    fake_codex.turn_knobs(Knobs(die_at=stage, **KNOBS))  # type: ignore[arg-type]
    settings = {"approvals": {"policy": "auto"}, "instances": {"backoff_initial": 0}}
    async with with_fake(settings) as supervisor, asking(supervisor, "said once") as asked:
        turn = await asked.turn()
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "fake: said once")
        assert prompts_kept(supervisor, "said once") == 1
        assert asked.kinds().count("accepted") == 1
        # At its very end the answer was there already: nothing is asked again.
        recovered = 0 if stage is Stage.COMPLETED else 1
        assert (turn.recoveries, len(asked.reports())) == (recovered, recovered)
        assert shown(asked.events) == "fake: said once", "what was streamed before the death is not shown twice"
        assert (await supervisor.client.ask("and next")).outcome == outcome_pb2.OUTCOME_COMPLETED


def shown(events: list[turns_pb2.TurnEvent]) -> str:
    """The text of the last message as a reader of the stream has it in the end."""
    texts: dict[str, str] = {}
    for event in events:
        match event.WhichOneof("event"):
            case "text":
                texts[event.text.item_id] = texts.get(event.text.item_id, "") + event.text.text
            case "message":
                texts[event.message.item_id] = event.message.text
            case "recovery":
                for item_id in event.recovery.superseded_item_ids:
                    texts.pop(item_id, None)
            case "retry":
                for item_id in event.retry.superseded_item_ids:
                    texts.pop(item_id, None)
            case _:
                pass
    return "".join(dict.fromkeys(texts.values()))


@pytest.mark.parametrize("stage", [Stage.REPLIED, Stage.USER_MESSAGE, Stage.DELTA, Stage.ANSWER])
async def test_a_supervisor_killed_while_the_turn_hangs_at_a_stage(
    with_fake: Supervise, fake_codex: FakeCodex, stage: Stage
) -> None:
    fake_codex.turn_knobs(Knobs(stall_at=stage, starts=(1,)))
    async with with_fake() as supervisor, asking(supervisor, "said once") as asked:
        await asked.reached("started")
        child = (await supervisor.client.instance()).child.pid
        await supervisor.restart()
        instance = await supervisor.client.instance()
        assert instance.child.pid == child, "it lives, so it is adopted"
        assert instance.child.adopted
        # It hangs still; who asked gives up.
        call = supervisor.client.turns.Interrupt(turns_pb2.InterruptRequest(turn_id=asked.request.request_id))
        ended = (await call).turn
        assert ended.outcome == outcome_pb2.OUTCOME_CANCELLED
        assert prompts_kept(supervisor, "said once") <= 1
        await supervisor.client.instances.Restart(instances_pb2.RestartRequest(instance=ref("main")), timeout=20)
        assert (await supervisor.client.ask("and next")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_the_real_codex_killed_after_its_last_word(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("the whole answer"), EndText("final_answer"), gate.step)
    stub_model.script(Text("the whole answer"))
    async with asking(supervisor, "a question") as asked:
        await asked.reached("message")
        await gate.reached()
        os.kill((await supervisor.client.instance()).child.pid, signal.SIGKILL)
        turn = await asked.turn()
        gate.release()
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "the whole answer")
    assert shown(asked.events) == "the whole answer"


async def test_the_real_codex_killed_when_all_is_said_and_done(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    # The supervisor is stopped first, so that it hears of the end and of the death at once.
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("said to nobody"))
    async with asking(supervisor, "a question") as asked:
        await gate.reached()
        child = (await supervisor.client.instance()).child.pid
        os.kill(supervisor.pid, signal.SIGSTOP)
        gate.release()
        thread = asked.events[-1].started.thread_id
        await wait_for_rollout(supervisor, thread, "task_complete")
        os.kill(child, signal.SIGKILL)
        os.kill(supervisor.pid, signal.SIGCONT)
        turn = await asked.turn()
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "said to nobody")
    assert turn.recoveries == 0
    assert stub_model.received == 1
