"""Whatever dies, stalls or fills up: each task ends exactly once, its answer is there, and nothing is left behind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from codex_control.v1 import tasks_pb2

from tests.faults.conftest import Supervise
from tests.faults.test_resources import full, small_disk  # noqa: F401 (a fixture)
from tests.faults.watching import is_running, processes_with, wait_for_rollout
from tests.integration.task.running import QUICK, ended, events, get, mirrored, said, state_file, submit
from tests.support.codex_home import CodexHome
from tests.support.fake_codex.knobs import Knobs, Stage
from tests.support.fake_codex.place import FakeCodex
from tests.support.model_script import Command, Cut, Patch, Stall, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, supervisor_of
from tests.support.waiting import wait_for

PROBES = {"probe_interval": 0.2, "probe_timeout": 0.2, "probe_misses": 2, "backoff_initial": 0}


@pytest.fixture
async def supervisor(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path
) -> AsyncIterator[RunningSupervisor]:
    """With the real Codex; nothing of a task waits for long."""
    settings = {"codex": {"binary": str(real_codex)}, "tasks": QUICK}
    async with supervisor_of(codex_home, short_runtime_dir, settings) as made:
        yield made


def children(supervisor: RunningSupervisor) -> dict[str, int]:
    """Pids of the tasks' children that the store knows, by instance."""
    with sqlite3.connect(f"file:{supervisor.state_dir}/supervisor.db?mode=ro", uri=True) as db:
        found = [json.loads(row) for (row,) in db.execute("SELECT record FROM children")]
    db.close()
    return {child["instance"]: child["pid"] for child in found if child.get("pid")}


async def child_of(supervisor: RunningSupervisor, task_id: str = "T-1") -> int:
    """Wait for the pid of a task's child."""

    def known() -> int:
        return next((pid for name, pid in children(supervisor).items() if name.startswith(f"task-{task_id}-")), 0)

    return await wait_for(known, what="the child's record")


async def check_ended_once(supervisor: RunningSupervisor, task_id: str = "T-1") -> list[tasks_pb2.TaskEvent]:
    """All events: one end, the last of them; the sequence numbers grow; no item comes twice; nothing is left over."""
    found = await events(supervisor, task_id)
    kinds = said(found)
    assert [kind for kind in kinds if kind in ("complete", "error")] == kinds[-1:], kinds
    assert [event.seq for event in found] == sorted({event.seq for event in found})
    items = [(event.item.event.turn_id, event.item.event.seq) for event in found if event.HasField("item")]
    assert len(items) == len(set(items))
    await wait_for(lambda: children(supervisor) == {}, 20, "the child to be gone")

    def tables() -> list[int]:
        with sqlite3.connect(f"file:{supervisor.state_dir}/supervisor.db?mode=ro", uri=True) as db:
            counts = [
                db.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in ("instances", "turns", "children")
            ]
        db.close()
        return counts

    await wait_for(lambda: tables() == [0, 0, 0], 20, "its instance and its turn to be forgotten")
    await wait_for(lambda: mirrored(supervisor, task_id)["status"] not in ("PENDING", "RUNNING"))
    return found


async def test_a_task_outlives_its_supervisor(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("first half, "), gate.step, Text("second half"))
    await submit(supervisor, "outlive it")
    await gate.reached()
    child = await child_of(supervisor)
    await supervisor.restart()
    assert await child_of(supervisor) == child, "the child was adopted"
    gate.release()
    task = await ended(supervisor)
    assert (task.state, task.result.answer) == (tasks_pb2.TASK_STATE_DONE, "first half, second half")
    assert (task.attempt, task.deaths, task.failures) == (1, 0, 0)
    assert stub_model.received == 1, "nothing was asked twice"
    await check_ended_once(supervisor)
    assert not is_running(child)


async def test_a_task_outlives_its_child(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half"), gate.step)
    stub_model.script(Text("whole"))
    await submit(supervisor, "outlive it")
    await gate.reached()
    child = await child_of(supervisor)
    os.kill(child, signal.SIGKILL)
    task = await ended(supervisor)
    gate.release()
    assert (task.state, task.result.answer) == (tasks_pb2.TASK_STATE_DONE, "whole")
    assert (task.attempt, task.deaths) == (1, 1)
    assert "item:recovery" in said(await check_ended_once(supervisor))


async def test_supervisor_and_child_killed_together(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half"), gate.step)
    stub_model.script(Text("whole"))
    await submit(supervisor, "outlive them")
    await gate.reached()
    child = await child_of(supervisor)
    await supervisor.kill()
    os.kill(child, signal.SIGKILL)
    gate.release()
    assert mirrored(supervisor)["status"] == "RUNNING", "nobody is there to write it"
    await supervisor.start()
    task = await ended(supervisor)
    assert (task.state, task.result.answer) == (tasks_pb2.TASK_STATE_DONE, "whole")
    assert (task.attempt, task.deaths) == (1, 1)
    await check_ended_once(supervisor)


async def test_a_task_that_ended_while_nobody_listened(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("said to nobody"))
    await submit(supervisor, "is anybody there?")
    await gate.reached()
    thread = (await wait_for_thread(supervisor)).thread_id
    await supervisor.kill()
    gate.release()
    await wait_for_rollout(supervisor, thread, "said to nobody")
    await supervisor.start()
    task = await ended(supervisor)
    assert (task.state, task.result.answer, task.attempt) == (tasks_pb2.TASK_STATE_DONE, "said to nobody", 1)
    assert stub_model.received == 1
    await check_ended_once(supervisor)


async def wait_for_thread(supervisor: RunningSupervisor, task_id: str = "T-1") -> tasks_pb2.Task:
    """Wait until a task has its thread."""

    async def there() -> tasks_pb2.Task | None:
        task = await get(supervisor, task_id)
        return task if task.thread_id else None

    found = await wait_for(there, what="the task's thread")
    assert found is not None
    return found


@pytest.mark.parametrize(
    "failpoint", ["task-claimed", "turn-committed", "task-asked", "turn-sent", "task-ending", "task-ended"]
)
async def test_killed_between_two_steps(supervisor: RunningSupervisor, stub_model: StubModel, failpoint: str) -> None:
    await supervisor.stop()
    supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"] = failpoint
    await supervisor.start()
    # Its answer may or may not come in time.
    with contextlib.suppress(grpc.aio.AioRpcError):
        await submit(supervisor, "survive")
    assert supervisor.process is not None
    assert await asyncio.wait_for(supervisor.process.wait(), 20) == -signal.SIGKILL
    await supervisor.client.channel.close()
    supervisor.process = None
    del supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"]
    await supervisor.start()
    assert (await submit(supervisor, "survive")).id == "T-1", "it is the same task"
    task = await ended(supervisor)
    assert (task.state, task.result.answer, task.attempt) == (tasks_pb2.TASK_STATE_DONE, "stub: survive", 1)
    await check_ended_once(supervisor)


async def test_a_stop_of_the_service_leaves_the_task_to_the_next(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    stub_model.script(Command("sleep 4713"), continues=False)
    stub_model.script(Text("went on"))
    await submit(supervisor, "run it")
    await wait_for(lambda: processes_with("sleep 4713"), what="the command to run")
    assert await supervisor.stop() == 0
    assert processes_with("sleep 4713") == []
    assert "tasks_left_running" in supervisor.log()
    await supervisor.start()
    task = await ended(supervisor)
    assert (task.state, task.result.answer, task.attempt) == (tasks_pb2.TASK_STATE_DONE, "went on", 1)
    await check_ended_once(supervisor)


async def test_stops_of_the_service_do_not_count_as_deaths(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    for _ in range(4):  # one more than tasks.max_deaths
        stub_model.script(stub_model.gate(), continues=False)
    stub_model.script(Text("went on"))
    await submit(supervisor, "run it")
    for stop in range(1, 5):
        await stub_model.wait_for_requests(stop)
        assert await supervisor.stop() == 0
        await supervisor.start()
    task = await ended(supervisor)
    assert (task.state, task.result.answer) == (tasks_pb2.TASK_STATE_DONE, "went on"), task
    assert (task.attempt, task.deaths) == (1, 0)
    await check_ended_once(supervisor)


async def test_cancelling_ends_the_whole_tree(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    stub_model.script(Command("sleep 4714"), continues=False)
    await submit(supervisor, "run it")
    await wait_for(lambda: processes_with("sleep 4714"), what="the command to run")
    child = await child_of(supervisor)
    await supervisor.client.tasks.Cancel(tasks_pb2.CancelTaskRequest(id="T-1", reason="not needed"), timeout=20)
    task = await ended(supervisor, timeout_s=10)
    assert (task.state, task.outcome, task.error) == (
        tasks_pb2.TASK_STATE_ERROR,
        tasks_pb2.TASK_OUTCOME_CANCELLED,
        "not needed",
    )
    assert not is_running(child), "gone before the end is told"
    assert processes_with("sleep 4714") == []
    await check_ended_once(supervisor)


async def test_a_cancel_that_the_supervisor_did_not_survive(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    stub_model.script(Stall())
    await submit(supervisor, "run it")
    child = await child_of(supervisor)
    await stub_model.wait_for_requests(1)
    os.kill(supervisor.pid, signal.SIGSTOP)
    call = supervisor.client.tasks.Cancel(tasks_pb2.CancelTaskRequest(id="T-1"), timeout=20)
    os.kill(supervisor.pid, signal.SIGCONT)
    await call
    await supervisor.restart()
    task = await ended(supervisor)
    assert task.outcome == tasks_pb2.TASK_OUTCOME_CANCELLED
    assert not is_running(child)
    await check_ended_once(supervisor)


# --- stalls and deaths ------------------------------------------------------------------------------------------------


async def test_alive_but_not_moving_is_interrupted_and_goes_on_with_its_thread(
    with_codex: Supervise, stub_model: StubModel
) -> None:
    stub_model.script(Stall())
    stub_model.script(Text("at last"))
    tasks = {**QUICK, "heartbeat_interval": 0.1, "stall_after": 1}
    async with with_codex({"tasks": tasks}) as supervisor:
        await submit(supervisor, "think")
        task = await ended(supervisor)
        assert (task.state, task.result.answer) == (tasks_pb2.TASK_STATE_DONE, "at last")
        assert (task.attempt, task.failures, task.deaths) == (2, 1, 0)
        found = await check_ended_once(supervisor)
        told = [event.changed.message for event in found if event.HasField("changed")]
        assert any("no sign of life" in message and "its child lives" in message for message in told), told
        threads = {request.body["prompt_cache_key"] for request in stub_model.requests}
        assert len(threads) == 1, "the second attempt goes on with the thread of the first"
        assert "Do not start over" in json.dumps(stub_model.requests[-1].body)


async def test_a_task_that_only_stalls_is_given_up(with_codex: Supervise, stub_model: StubModel) -> None:
    stub_model.script(Stall(), times=None)
    tasks = {**QUICK, "heartbeat_interval": 0.1, "stall_after": 0.5}
    async with with_codex({"tasks": tasks}) as supervisor:
        await submit(supervisor, "think", retries=1)
        task = await ended(supervisor)
        assert (task.outcome, task.attempt) == (tasks_pb2.TASK_OUTCOME_STALLED, 2)
        await check_ended_once(supervisor)


async def test_a_long_command_is_no_stall(with_codex: Supervise, stub_model: StubModel) -> None:
    stub_model.script(Command("sleep 3"))
    stub_model.script(Text("slept"))
    tasks = {**QUICK, "heartbeat_interval": 0.1, "stall_after": 1}
    async with with_codex({"tasks": tasks}) as supervisor:
        await submit(supervisor, "sleep")
        task = await ended(supervisor)
        assert (task.state, task.attempt) == (tasks_pb2.TASK_STATE_DONE, 1), task
        assert said(await check_ended_once(supervisor)).count("heartbeat") > 10


async def test_retries_of_the_provider_are_no_stall_and_are_shown(
    codex_home: CodexHome, with_codex: Supervise, stub_model: StubModel
) -> None:
    stub_model.script(Text("cut"), Cut(), times=2)
    stub_model.script(Text("after all"))
    tasks = {**QUICK, "heartbeat_interval": 0.2, "stall_after": 4}
    async with with_codex({"tasks": tasks}) as supervisor:
        await submit(supervisor, "try")
        task = await ended(supervisor)
        assert (task.state, task.result.answer, task.attempt) == (tasks_pb2.TASK_STATE_DONE, "after all", 1)
        found = await check_ended_once(supervisor)
        assert "item:retry" in said(found)
        assert any("model provider failed" in event.progress.text for event in found if event.HasField("progress"))


async def test_a_hung_child_is_dead_not_still(with_codex: Supervise, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half"), gate.step)
    stub_model.script(Text("whole"))
    async with with_codex({"tasks": QUICK, "instances": PROBES}) as supervisor:
        await submit(supervisor, "hang")
        await gate.reached()
        os.kill(await child_of(supervisor), signal.SIGSTOP)
        task = await ended(supervisor)
        gate.release()
        assert (task.state, task.result.answer) == (tasks_pb2.TASK_STATE_DONE, "whole")
        assert task.deaths == 1
        await check_ended_once(supervisor)


async def test_a_task_that_kills_its_children_is_parked(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(die_at=Stage.USER_MESSAGE))
    async with with_fake({"tasks": {**QUICK, "max_deaths": 3}, "instances": {"backoff_initial": 0}}) as supervisor:
        await submit(supervisor, "kill it")
        task = await ended(supervisor)
        assert (task.outcome, task.deaths) == (tasks_pb2.TASK_OUTCOME_CHILD_DIED, 3), task
        assert "parked after 3 deaths" in task.error
        assert fake_codex.starts <= 4, "a fourth child may look what became of the turn, and does not get it"
        await check_ended_once(supervisor)


async def test_a_child_over_its_memory_limit_is_killed(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(memory_bytes=200 << 20, stall_at=Stage.DELTA))
    tasks = {**QUICK, "max_deaths": 1, "memory_limit": "128MiB"}
    async with with_fake({"tasks": tasks, "instances": {"probe_interval": 0.2}}) as supervisor:
        await submit(supervisor, "grow")
        task = await ended(supervisor)
        assert task.outcome == tasks_pb2.TASK_OUTCOME_CHILD_DIED
        assert "tasks.memory_limit" in task.error
        await check_ended_once(supervisor)


# --- disk -------------------------------------------------------------------------------------------------------------


async def test_on_a_full_disk_submits_are_refused_and_the_running_task_ends(
    with_codex: Supervise,
    stub_model: StubModel,
    small_disk: tuple[str, ...],  # noqa: F811
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("whole answer"))
    async with with_codex({"tasks": QUICK}, program=small_disk) as supervisor:
        await submit(supervisor, "run")
        await gate.reached()
        with full(supervisor):
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await submit_many(supervisor)
            assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
            assert "full" in (raised.value.details() or "")
            gate.release()
            await wait_for(lambda: "turn_ended" in supervisor.log() or "not_recorded" in supervisor.log(), 20)
        task = await ended(supervisor)
        assert (task.state, task.result.answer) == (tasks_pb2.TASK_STATE_DONE, "whole answer")


async def submit_many(supervisor: RunningSupervisor) -> None:
    """Hand over more than what is left in the files of the store."""
    for number in range(200):
        await submit(supervisor, "x" * 20_000, f"more-{number}", after=["T-1"])


async def test_a_state_directory_that_cannot_be_written_costs_the_file_alone(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    folder = Path(supervisor.client.cwd) / ".codex"
    folder.write_text("no directory")
    try:
        await submit(supervisor, "run")
        task = await ended(supervisor)
        assert (task.state, task.result.answer) == (tasks_pb2.TASK_STATE_DONE, "stub: run")
        assert "cannot be written" in task.state_file_error
    finally:
        folder.unlink()
    await submit(supervisor, "run", "T-2")
    assert (await ended(supervisor, "T-2")).state_file_error == ""
    await check_ended_once(supervisor, "T-2")


async def test_stale_state_files_are_brought_up_to_date(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("done"))
    stub_model.script(Patch("*** Begin Patch\n*** Add File: new.txt\n+x\n*** End Patch"))
    await submit(supervisor, "run")
    await gate.reached()
    await supervisor.kill()
    state_file(supervisor).write_text("{")
    gate.release()
    await supervisor.start()
    await ended(supervisor)
    await wait_for(lambda: mirrored(supervisor)["status"] == "DONE")
