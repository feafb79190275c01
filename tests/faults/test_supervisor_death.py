"""The supervisor is SIGKILLed: its children run on, the next one adopts them, and every turn gets its outcome."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

import grpc
import pytest
from codex_control.v1 import admin_pb2, outcome_pb2, turns_pb2

from tests.faults.watching import asking, child_pid, is_running, processes_with, recorded_turn, wait_for_rollout
from tests.support.codex_home import CodexHome
from tests.support.fake_codex.place import FakeCodex
from tests.support.model_script import Command, Cut, Text, Usage
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, supervisor_of
from tests.support.waiting import wait_for


async def attached(supervisor: RunningSupervisor, turn: str, after_seq: int = 0) -> list[turns_pb2.TurnEvent]:
    """All events of a turn after `after_seq`."""
    request = turns_pb2.AttachRequest(turn_id=turn, after_seq=after_seq)
    return [answer.event async for answer in supervisor.client.turns.Attach(request, timeout=40)]


async def test_a_turn_outlives_its_supervisor(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("first half, "), gate.step, Text("second half"))
    async with asking(supervisor, "a question that outlives its supervisor") as asked:
        text = await asked.reached("text")
        await gate.reached()
        child = await child_pid(supervisor)
        await supervisor.restart()
    assert await child_pid(supervisor) == child, "the child was adopted"
    gate.release()
    later = await attached(supervisor, asked.request.request_id, asked.events[-1].seq)
    turn = later[-1].ended.turn
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert turn.answer == "first half, second half"
    assert turn.recoveries == 0
    assert later[0].seq > text.seq
    kinds = [event.WhichOneof("event") for event in later]
    assert "text" not in kinds, "pieces of a message that was missed in part are not shown"
    assert kinds.count("message") == 1
    assert stub_model.received == 1, "nothing was asked twice"


@pytest.mark.parametrize("adopted", ["before the new message", "after the end"])
async def test_a_message_that_codex_began_anew_while_nobody_listened_voids_the_one_before(
    supervisor: RunningSupervisor, stub_model: StubModel, adopted: str
) -> None:
    first, second = stub_model.gate(), stub_model.gate()
    stub_model.script(Text("half of it"), first.step, Cut(reset=True))
    stub_model.script(second.step, Text("the whole "), Text("of it"))
    async with asking(supervisor, "a question whose answer breaks off") as asked:
        text = await asked.reached("text")
        await first.reached()
        thread = next(event.started.thread_id for event in asked.events if event.HasField("started"))
        await supervisor.kill()
    first.release()
    await second.reached()
    if adopted == "after the end":
        second.release()
        await wait_for_rollout(supervisor, thread, "the whole of it")
    await supervisor.start()
    second.release()
    events = await attached(supervisor, asked.request.request_id)
    turn = events[-1].ended.turn
    assert (turn.outcome, turn.answer, turn.recoveries) == (outcome_pb2.OUTCOME_COMPLETED, "the whole of it", 0)
    kinds = [event.WhichOneof("event") for event in events]
    (retry,) = [event for event in events if event.HasField("retry")]
    assert list(retry.retry.superseded_item_ids) == [text.text.item_id]
    assert kinds.count("message") == 1
    anew = [event for event in events if event.seq > retry.seq and event.HasField("text")]
    assert text.text.item_id not in {event.text.item_id for event in anew}
    assert retry.seq < min(event.seq for event in [*anew, events[kinds.index("message")]])
    assert stub_model.received == 2


async def test_five_children_idle_and_busy_are_adopted(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    names = [f"i{number}" for number in range(5)]
    await asyncio.gather(*(supervisor.client.ask("warm up", name) for name in names))
    gates = [stub_model.gate() for _ in range(3)]
    requests = []
    for name, gate in zip(names, gates, strict=False):
        stub_model.script(gate.step, Text(f"answer of {name}"), when=f"^busy {name}$")
        request = supervisor.client.request(f"busy {name}", name, detach=True)
        requests.append(request)
        async for _ in supervisor.client.turns.Ask(request):
            pass
        await gate.reached()
    pids = [await child_pid(supervisor, name) for name in names]
    await supervisor.restart()
    assert [await child_pid(supervisor, name) for name in names] == pids
    for gate in gates:
        gate.release()
    for name, request in zip(names, requests, strict=False):
        turn = (await attached(supervisor, request.request_id))[-1].ended.turn
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, f"answer of {name}")
    again = await asyncio.gather(*(supervisor.client.ask("again", name) for name in names))
    assert {turn.outcome for turn in again} == {outcome_pb2.OUTCOME_COMPLETED}


async def test_queued_turns_run_under_the_next_supervisor(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("one"))
    async with asking(supervisor, "first") as first:
        await gate.reached()
        async with asking(supervisor, "second") as second:
            await second.reached("queued")
            await supervisor.restart()
    gate.release()
    for asked, answer in ((first, "one"), (second, "stub: second")):
        turn = await recorded_turn(supervisor, asked.request.request_id)
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, answer)


async def test_a_turn_that_ended_while_nobody_listened_is_recorded(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("said to nobody"))
    async with asking(supervisor, "is anybody there?") as asked:
        await gate.reached()
        thread = asked.events[-1].started.thread_id
        await supervisor.kill()
    gate.release()
    await wait_for_rollout(supervisor, thread, "said to nobody")
    await supervisor.start()
    turn = await recorded_turn(supervisor, asked.request.request_id)
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "said to nobody")
    assert stub_model.received == 1


async def test_child_and_supervisor_killed_together(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half "), gate.step)
    stub_model.script(Text("whole"))
    async with asking(supervisor, "both die") as asked:
        await gate.reached()
        await asked.reached("text")
        child = await child_pid(supervisor)
        await supervisor.kill()
        os.kill(child, signal.SIGKILL)
    gate.release()
    await supervisor.start()
    events = await attached(supervisor, asked.request.request_id)
    turn = events[-1].ended.turn
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "whole")
    assert [event.HasField("recovery") for event in events].count(True) == 1


async def test_a_stop_leaves_no_process_and_the_turn_goes_on_after_the_next_start(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    stub_model.script(Command("sleep 4712"), continues=False)
    stub_model.script(Text("went on"))
    async with asking(supervisor, "run it") as asked:
        await wait_for(lambda: processes_with("sleep 4712"), what="the command to run")
        child = await child_pid(supervisor)
        assert await supervisor.stop() == 0
    assert not is_running(child)
    assert processes_with("sleep 4712") == []
    await supervisor.start()
    turn = await recorded_turn(supervisor, asked.request.request_id)
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "went on")


async def test_told_to_end_while_it_is_being_replaced_it_ends(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step)
    async with asking(supervisor, "it waits"):
        await gate.reached()
        child = await child_pid(supervisor)
        # Whoever follows a turn is given a moment: the replacement is under way when the signal comes.
        await supervisor.client.admin.Reload(admin_pb2.ReloadRequest(exec=True))
        assert await supervisor.stop() == 0
    assert not is_running(child)
    gate.release()


async def test_a_version_that_does_not_start_replaces_nothing(
    codex_home: CodexHome, short_runtime_dir: Path, fake_codex: FakeCodex
) -> None:
    upgrade = codex_home.root / "upgrade"
    settings = {"codex": {"binary": str(fake_codex.binary)}}
    async with supervisor_of(codex_home, short_runtime_dir, settings, PYTHONPATH=str(upgrade)) as supervisor:
        await supervisor.client.ask("hello")
        child, before = await child_pid(supervisor), await supervisor.client.admin.Version(admin_pb2.VersionRequest())
        (upgrade / "codex_supervisor").mkdir(parents=True)
        (upgrade / "codex_supervisor" / "__init__.py").write_text("import no_dependency_yet\n")
        with pytest.raises(grpc.aio.AioRpcError, match="No module named 'no_dependency_yet'") as raised:
            await supervisor.client.admin.Reload(admin_pb2.ReloadRequest(exec=True))
        assert raised.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        after = await supervisor.client.admin.Version(admin_pb2.VersionRequest())
        assert (after.started_at, await child_pid(supervisor)) == (before.started_at, child)


async def test_a_start_that_fails_leaves_adopted_children_to_the_next(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("the answer"))
    async with asking(supervisor, "longer than a failed start") as asked:
        await gate.reached()
        child = await child_pid(supervisor)
        await supervisor.kill()
    supervisor.socket.unlink()
    supervisor.socket.mkdir()
    with pytest.raises(RuntimeError, match="the supervisor ended"):
        await supervisor.start()
    assert supervisor.log().count("child_adopted") == 1
    assert is_running(child)
    supervisor.socket.rmdir()
    supervisor.process = None
    await supervisor.start()
    assert await child_pid(supervisor) == child
    gate.release()
    turn = await recorded_turn(supervisor, asked.request.request_id)
    assert (turn.outcome, turn.answer, turn.recoveries) == (outcome_pb2.OUTCOME_COMPLETED, "the answer", 0)


@pytest.mark.parametrize("failpoint", ["turn-committed", "child-recorded", "child-spawned", "turn-sent"])
async def test_killed_between_two_steps(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path, stub_model: StubModel, failpoint: str
) -> None:
    settings = {"codex": {"binary": str(real_codex)}}
    async with supervisor_of(codex_home, short_runtime_dir, settings) as supervisor:
        await supervisor.stop()
        supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"] = failpoint
        await supervisor.start()
        request = supervisor.client.request("asked before the crash")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            async for _ in supervisor.client.turns.Ask(request):
                pass
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        assert supervisor.process is not None
        assert await supervisor.process.wait() == -signal.SIGKILL
        await supervisor.client.channel.close()
        supervisor.process = None
        del supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"]
        await supervisor.start()
        turn = (await attached(supervisor, request.request_id))[-1].ended.turn
        assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
        assert turn.answer == "stub: asked before the crash"
        assert stub_model.received == 1 or turn.recoveries == 1
        alive = processes_with(str(short_runtime_dir))
        assert alive == [await child_pid(supervisor)], "one child at the most"


async def test_killed_after_it_carried_a_turn_on_and_before_it_said_so(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    first, second = stub_model.gate(), stub_model.gate()
    stub_model.script(Text("half of it "), first.step)
    stub_model.script(second.step, Text("whole"))
    async with asking(supervisor, "a question") as asked:
        text = await asked.reached("text")
        await first.reached()
        child = await child_pid(supervisor)
        await supervisor.kill()
        os.kill(child, signal.SIGKILL)
    first.release()
    supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"] = "turn-sent"
    with contextlib.suppress(RuntimeError, grpc.aio.AioRpcError):
        await supervisor.start()
    assert supervisor.process is not None
    assert await asyncio.wait_for(supervisor.process.wait(), 20) == -signal.SIGKILL
    await supervisor.client.channel.close()
    supervisor.process = None
    del supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"]
    await second.reached()
    await supervisor.start()
    assert (await supervisor.client.instance()).child.adopted
    second.release()
    events = await attached(supervisor, asked.request.request_id)
    turn = events[-1].ended.turn
    assert (turn.outcome, turn.answer, turn.recoveries) == (outcome_pb2.OUTCOME_COMPLETED, "whole", 1)
    (report,) = [event.recovery for event in events if event.HasField("recovery")]
    assert list(report.superseded_item_ids) == [text.text.item_id]
    assert stub_model.received == 2


@pytest.mark.parametrize("child_too", [False, True], ids=["child runs on", "child dies too"])
async def test_a_cancel_outlives_the_supervisor_that_was_told(
    supervisor: RunningSupervisor, stub_model: StubModel, child_too: bool
) -> None:
    await supervisor.stop()
    supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"] = "cancel-recorded"
    await supervisor.start()
    gate = stub_model.gate()
    stub_model.script(Text("begun, "), gate.step, Text("and never finished"))
    async with asking(supervisor, "one that is not wanted any more") as asked:
        await asked.reached("text")
        child = await child_pid(supervisor)
        interrupt = turns_pb2.InterruptRequest(turn_id=asked.request.request_id)
        with pytest.raises(grpc.aio.AioRpcError):
            await supervisor.client.turns.Interrupt(interrupt, timeout=20)
        assert supervisor.process is not None
        assert await asyncio.wait_for(supervisor.process.wait(), 20) == -signal.SIGKILL
        if child_too:
            os.kill(child, signal.SIGKILL)
        del supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"]
        await supervisor.kill()
        await supervisor.start()
    turn = await recorded_turn(supervisor, asked.request.request_id)
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_CANCELLED, outcome_pb2.CAUSE_USER)
    assert turn.recoveries == 0
    assert stub_model.received == 1, "nothing was asked again"
    gate.release()
    assert (await supervisor.client.ask("and now")).outcome == outcome_pb2.OUTCOME_COMPLETED


@pytest.mark.parametrize("child_lives", [True, False])
async def test_tokens_that_were_used_while_no_supervisor_listened_are_counted(
    supervisor: RunningSupervisor, stub_model: StubModel, child_lives: bool
) -> None:
    stub_model.script(Text("warm"), Usage(5000, 0, 500))
    await supervisor.client.ask("warm up")
    first, last = stub_model.gate(), stub_model.gate()
    stub_model.script(Usage(100, 10, 10, 1), Command("true"), continues=False)
    stub_model.script(first.step, Usage(200, 20, 20, 2), Command("true"))
    stub_model.script(last.step, Text("done"), Usage(400, 40, 40, 4))
    async with asking(supervisor, "use tokens") as asked:
        await asked.reached("usage")
        await first.reached()
        child = await child_pid(supervisor)
        await supervisor.kill()
    first.release()
    await last.reached()
    if child_lives:
        await supervisor.start()
        last.release()
    else:
        last.release()
        rollouts = supervisor.home.codex_home / "sessions"

        def over() -> bool:
            return any(path.read_text().count("task_complete") == 2 for path in rollouts.rglob("*.jsonl"))

        await wait_for(over, what="Codex to have ended the turn")
        os.kill(child, signal.SIGKILL)
        await supervisor.start()
    turn = await recorded_turn(supervisor, asked.request.request_id)
    used = turn.usage
    assert (used.input, used.cached_input, used.output, used.reasoning_output) == (700, 70, 70, 7)
