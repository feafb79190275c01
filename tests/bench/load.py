"""Many instances: asks at once on all of them, and what the supervisor keeps in memory for them."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from codex_control.v1 import instances_pb2

from tests.bench.figures import Case, Goal
from tests.bench.place import Place, since_ms
from tests.support.supervisor import RunningSupervisor, ref


async def measure_load(place: Place, asks: int, instances: int) -> list[Case]:
    """Ask on all instances at once, cold; then read the supervisor's memory with all awake, and with none."""
    each = Case("load", f"ask, {asks} at once on {instances} instances")
    wall = Case("load", f"all {asks} asks")
    errors = Case("load", "asks without a completed answer", unit="count", goal=Goal(0))
    awake = Case("memory", f"supervisor, {instances} awake", unit="MiB", goal=Goal(60))
    known = Case("memory", f"supervisor, {instances} known", unit="MiB", goal=Goal(50))
    async with place.supervisor() as supervisor:
        began = time.perf_counter()
        results = await asyncio.gather(*(_ask_ms(supervisor, number, instances) for number in range(asks)))
        wall.add(since_ms(began))
        each.samples = [took_ms for took_ms, _ in results]
        errors.add(sum(not well for _, well in results))
        reply = await supervisor.client.instances.List(instances_pb2.ListInstancesRequest())
        states = [instance.state for instance in reply.instances]
        assert states == [instances_pb2.INSTANCE_STATE_READY] * instances, states
        awake.add(resident_mib(supervisor.pid))
        stops = (
            supervisor.client.instances.Stop(instances_pb2.StopRequest(instance=ref(_name(number))))
            for number in range(instances)
        )
        await asyncio.gather(*stops)
    async with place.supervisor() as supervisor:
        reply = await supervisor.client.instances.List(instances_pb2.ListInstancesRequest())
        assert len(reply.instances) == instances, reply
        known.add(resident_mib(supervisor.pid))
    return [each, wall, errors, known, awake]


async def _ask_ms(supervisor: RunningSupervisor, number: int, instances: int) -> tuple[float, bool]:
    began = time.perf_counter()
    turn = await supervisor.client.ask(f"ask {number}", _name(number % instances))
    return since_ms(began), turn.answer == f"stub: ask {number}"


def _name(number: int) -> str:
    return f"load-{number}"


def resident_mib(pid: int) -> float:
    """VmRSS of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    (kibibytes,) = (int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    return kibibytes / 1024
