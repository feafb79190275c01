"""The runtime directory goes while the supervisor runs, as it does at the last logout of a user who does not linger."""

from __future__ import annotations

import asyncio
import shutil
import sys

import grpc.aio
from codex_control.v1 import instances_pb2, outcome_pb2

from tests.faults.watching import asking, child_pid
from tests.support.app_server import accepts
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref
from tests.support.waiting import wait_for


async def test_a_supervisor_without_its_runtime_directory_stays_the_only_one_and_is_found_again(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("the answer"))
    async with asking(supervisor, "a question that takes longer than the login") as asked:
        await gate.reached()
        child = await child_pid(supervisor)
        shutil.rmtree(supervisor.socket.parent)
        # Where another one served the same state, both would write it and fight for its children.
        second = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "codex_supervisor", "serve"),
            env=supervisor.environment,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        _, errors = await asyncio.wait_for(second.communicate(), 30)
        assert second.returncode == 10
        assert f"pid {supervisor.pid} holds {supervisor.state_dir}" in errors.decode()
        assert f"`kill {supervisor.pid}`" in errors.decode()

        async def answers() -> bool:
            return accepts(supervisor.socket)

        await wait_for(answers, 20, "the socket to be there again")
        gate.release()
        turn = await asked.turn()
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "the answer")
    async with grpc.aio.insecure_channel(f"unix:{supervisor.socket}") as channel:
        client = Client(channel, supervisor.client.cwd)
        assert (await client.instance()).child.pid == child
        assert (await client.ask("a newcomer")).outcome == outcome_pb2.OUTCOME_COMPLETED
        # A child that is started later has a place for its socket.
        await client.instances.Restart(instances_pb2.RestartRequest(instance=ref("main")), timeout=20)
