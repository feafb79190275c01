"""What a child started goes with it: groups, sessions of their own, holders of its pipes."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest
from codex_control.v1 import instances_pb2, outcome_pb2

from tests.faults.conftest import Supervise
from tests.faults.watching import asking, child_pid, is_running, kill_child, processes_with
from tests.support.fake_codex.knobs import Knobs
from tests.support.fake_codex.place import FakeCodex
from tests.support.model_script import Command, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, ref
from tests.support.waiting import wait_for


@pytest.mark.parametrize("place", ["group", "session"])
async def test_a_leader_that_exits_leaves_nothing_behind(
    with_fake: Supervise, fake_codex: FakeCodex, place: str
) -> None:
    knobs = Knobs(exit_after_ready=0, grandchild=place, starts=(1,))  # type: ignore[arg-type]
    fake_codex.turn_knobs(knobs)
    async with with_fake() as supervisor:
        turn = await supervisor.client.ask("answered by the second child")
        assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
        assert fake_codex.starts == 2
        # Before the second child was spawned: its thread must have one writer.
        assert not is_running(fake_codex.grandchild_pid)


@pytest.mark.parametrize("place", ["group", "session"])
async def test_a_stop_ends_when_the_last_grandchild_has(
    with_fake: Supervise, fake_codex: FakeCodex, place: str
) -> None:
    fake_codex.turn_knobs(Knobs(grandchild=place))  # type: ignore[arg-type]
    async with with_fake({"instances": {"stop_timeout": 0.3}}) as supervisor:
        await supervisor.client.ask("first")
        grandchild = fake_codex.grandchild_pid
        assert is_running(grandchild), "it ignores TERM and holds the child's output"
        reply = await supervisor.client.instances.Stop(instances_pb2.StopRequest(instance=ref("main")), timeout=5)
        assert reply.instance.state == instances_pb2.INSTANCE_STATE_STOPPED
        assert not is_running(grandchild)


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_a_daemon_that_a_command_made_goes_with_the_child(
    with_codex: Supervise, stub_model: StubModel, end: str
) -> None:
    # Codex's own sandbox has a process namespace that ends with the command; without it the daemon stays.
    async with with_codex({"profiles": {"open": {"sandbox": "danger-full-access"}}}) as supervisor:
        await _make_daemon_and_end(supervisor, stub_model, end)


async def _make_daemon_and_end(supervisor: RunningSupervisor, stub_model: StubModel, end: str) -> None:
    # Its parents are gone, its session and group are its own, and its output is the command's.
    stub_model.script(Command("setsid sh -c 'sleep 4714 & exit' && sleep 0.1"), continues=False)
    stub_model.script(Text("done"))
    await supervisor.client.ask("make a daemon", profile="open")
    (daemon,) = _exactly("sleep 4714")
    if end == "stop":
        await supervisor.client.instances.Stop(instances_pb2.StopRequest(instance=ref("main")), timeout=20)
    else:
        await kill_child(supervisor)
        assert (await supervisor.client.ask("next")).outcome == outcome_pb2.OUTCOME_COMPLETED
    assert not is_running(daemon)


async def test_a_stranger_in_the_workspace_is_left_alone(supervisor: RunningSupervisor) -> None:
    await supervisor.client.ask("first")
    stranger = await _stranger(supervisor.home.workspace, {"CODEX_THREAD_ID": "another-thread"})
    try:
        await supervisor.client.instances.Stop(instances_pb2.StopRequest(instance=ref("main")), timeout=20)
        assert stranger.returncode is None
        assert is_running(stranger.pid)
    finally:
        stranger.kill()
        await stranger.wait()


async def test_a_command_killed_from_outside_fails_alone(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    stub_model.script(Command("sleep 4715"), continues=False)
    stub_model.script(Text("saw that it failed"))
    async with asking(supervisor, "run it") as asked:
        (pid,) = await wait_for(lambda: _exactly("sleep 4715"), what="the command")
        child = await child_pid(supervisor)
        os.kill(pid, signal.SIGKILL)
        turn = await asked.turn()
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "saw that it failed")
    assert await child_pid(supervisor) == child


def _exactly(command: str) -> list[int]:
    """Processes that are this command and no shell around it."""
    words = command.encode().replace(b" ", b"\0") + b"\0"
    return [pid for pid in processes_with(command) if Path(f"/proc/{pid}/cmdline").read_bytes() == words]


async def _stranger(cwd: Path, environment: dict[str, str]) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        "sleep", "300", cwd=cwd, env={"PATH": os.environ["PATH"], **environment}
    )
