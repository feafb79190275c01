"""Machines and their database die, sleep and come back at random while tasks come in: each task ends exactly once.

CHAOS_SECONDS says for how long; CHAOS_SEED repeats the choices of a run, though not its timing.
"""

from __future__ import annotations

import asyncio
import os
import random
import secrets
import signal
import time
from collections.abc import Iterator

import grpc
import pytest
from codex_control.v1 import tasks_pb2
from google.protobuf.duration_pb2 import Duration

from tests.integration.task.running import QUICK, submit
from tests.support.fake_codex.knobs import Knobs
from tests.support.postgresql import PostgresqlServer, missing_server, programs, running_server
from tests.support.task_fleet import Machine, auditing, machines, wait_for_empty, wait_for_tables
from tests.support.waiting import wait_for

SECONDS = float(os.environ.get("CHAOS_SECONDS") or 15)

# Whoever dies does not count against a task here, and a failure is tried again.
TASKS = {**QUICK, "heartbeat_interval": 1, "max_deaths": 100, "retries": 100}


@pytest.fixture
def server() -> Iterator[PostgresqlServer]:
    if programs() is None:
        missing_server()
    with running_server() as made:
        yield made


async def test_chaos(server: PostgresqlServer) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    dice = random.Random(seed)
    told = [f"CHAOS_SEED={seed}"]
    async with machines(server.dsn, [TASKS] * 3) as fleet:
        await wait_for_tables(server.dsn)
        for machine in fleet:
            machine.fake.turn_knobs(Knobs(start_delay_s=0.3))
        with auditing(server.dsn):
            pass
        ended_at = time.monotonic() + SECONDS
        names: list[str] = []

        async def hand_over() -> None:
            while time.monotonic() < ended_at:
                names.append(f"T-{len(names)}")
                await _submit_somewhere(fleet, names[-1])
                await asyncio.sleep(dice.uniform(0, 0.3))

        async def break_things() -> None:
            while time.monotonic() < ended_at:
                await asyncio.sleep(dice.uniform(0.2, 1.5))
                machine = dice.choice(fleet)
                kind = dice.choice(["machine", "machine", "supervisor", "server", "sleep"])
                told.append(f"{kind} {machine.name}")
                await _break(kind, machine, server, dice.uniform(0, 3))

        try:
            await asyncio.gather(hand_over(), break_things())
            await _all_ended(fleet[0], names)
            with auditing(server.dsn, again=True) as auditor:
                auditor.check_ended_once(names)
                assert auditor.rows("SELECT DISTINCT state FROM tasks") == [("DONE",)]
            for machine in fleet:
                await wait_for_empty(machine)
                assert "task_failed_inside" not in machine.supervisor.log()
        except BaseException as error:
            error.add_note("; ".join(told))
            raise


async def _submit_somewhere(fleet: list[Machine], name: str) -> None:
    """Hand a task over to whoever takes it; an answer that is lost is asked for again, perhaps elsewhere."""
    turn = 0

    async def accepted() -> bool:
        nonlocal turn
        turn += 1
        machine = fleet[turn % 3]
        if machine.supervisor.process is None:
            return False
        try:
            await submit(machine.supervisor, f"do {name}", name, cwd=str(fleet[0].supervisor.home.workspace))
        except (grpc.aio.AioRpcError, grpc.aio.UsageError, AssertionError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and (task := asyncio.current_task()) and task.cancelling():
                raise
            return False
        return True

    await wait_for(accepted, 60, f"somebody to take {name}")


async def _break(kind: str, machine: Machine, server: PostgresqlServer, pause_s: float) -> None:
    match kind:
        case "machine":
            await machine.die()
            await asyncio.sleep(pause_s)
            await machine.supervisor.start()
        case "supervisor":
            await machine.supervisor.restart()
        case "server":
            server.stop()
            await asyncio.sleep(pause_s)
            server.start()
        case _:
            os.kill(machine.supervisor.pid, signal.SIGSTOP)
            # Twice the length: now and then past the lease of 5 s.
            await asyncio.sleep(2 * pause_s)
            os.kill(machine.supervisor.pid, signal.SIGCONT)


async def _all_ended(machine: Machine, names: list[str]) -> None:
    async def ended() -> bool:
        request = tasks_pb2.WaitTasksRequest(ids=names, timeout=Duration(seconds=60))
        try:
            reply = await machine.supervisor.client.tasks.Wait(request, timeout=70)
        except grpc.aio.AioRpcError as error:
            if error.code() != grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        assert not reply.timed_out, [task for task in reply.tasks if task.outcome == 0]
        return True

    await wait_for(ended, 90, "all to have ended")
