"""Children that hold too much, and instances that nobody uses: memory is given back, context is kept."""

from __future__ import annotations

import asyncio
import json
import os
import time
from pathlib import Path

import pytest
from codex_control.service.clock import SystemClock
from codex_control.v1 import instances_pb2, outcome_pb2
from codex_supervisor.store.records import InstanceRecord
from codex_supervisor.store.store import Store

from tests.faults.conftest import Supervise
from tests.faults.watching import asking, child_pid, is_running
from tests.support.fake_codex.knobs import Knobs
from tests.support.fake_codex.place import FakeCodex
from tests.support.model_script import Text
from tests.support.mounting import mounting
from tests.support.stub_model import StubModel
from tests.support.supervisor import SERVE, RunningSupervisor
from tests.support.waiting import wait_for

# Children are looked at as often as they are probed.
OFTEN = {"probe_interval": 0.3}

HIBERNATED = instances_pb2.INSTANCE_STATE_HIBERNATED


async def test_a_child_over_its_limit_is_replaced_between_turns(with_fake: Supervise, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(memory_bytes=100 << 20, starts=(1,)))
    async with with_fake({"instances": {"memory_limit": "64 MiB", **OFTEN}}) as supervisor:
        first = await supervisor.client.ask("grow")
        assert first.outcome == outcome_pb2.OUTCOME_COMPLETED
        pid = await child_pid(supervisor)

        async def is_gone() -> bool:
            return not is_running(pid)

        await wait_for(is_gone, 15, "the oversized child to go")
        second = await supervisor.client.ask("and now?")
        assert (second.outcome, second.thread_id) == (outcome_pb2.OUTCOME_COMPLETED, first.thread_id)
        assert fake_codex.starts == 2


async def test_a_running_turn_is_not_cut_off_for_its_child_s_memory(
    with_codex: Supervise, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("begun "), gate.step, Text("and ended"))
    # A real Codex holds more than this from its first turn on.
    async with with_codex({"instances": {"memory_limit": "64 MiB", **OFTEN}}) as supervisor:
        async with asking(supervisor, "long") as asked:
            await asked.reached("text")
            pid = await child_pid(supervisor)
            await wait_for(lambda: "memory_exceeded" in supervisor.log(), 15, "the limit to be seen")
            gate.release()
            turn = await asked.turn()
        assert (turn.outcome, turn.answer, turn.recoveries) == (
            outcome_pb2.OUTCOME_COMPLETED,
            "begun and ended",
            0,
        )
        await wait_for(lambda: not is_running(pid), 15, "the oversized child to go")


async def test_an_idle_instance_sleeps_and_wakes_with_its_context(with_codex: Supervise, stub_model: StubModel) -> None:
    async with with_codex({"instances": {"idle_after": 1}}) as supervisor:
        first = await supervisor.client.ask("my name is Ada")
        pid = await child_pid(supervisor)
        await supervisor.client.wait_for_state(HIBERNATED)
        assert not is_running(pid)
        second = await supervisor.client.ask("what is my name?")
        assert (second.outcome, second.thread_id) == (outcome_pb2.OUTCOME_COMPLETED, first.thread_id)
        assert stub_model.requests[-1].user_texts == ("my name is Ada", "what is my name?")


async def sleeping(supervisor: RunningSupervisor) -> list[str]:
    """The hibernated instances."""
    reply = await supervisor.client.instances.List(instances_pb2.ListInstancesRequest())
    return [instance.id for instance in reply.instances if instance.state == HIBERNATED]


async def test_past_the_number_of_awake_ones_the_longest_idle_sleeps(with_codex: Supervise) -> None:
    async with with_codex({"instances": {"max_awake": 2, **OFTEN}}) as supervisor:
        for name in ("oldest", "middle", "newest"):
            await supervisor.client.ask("hello", name)
        assert await wait_for(lambda: sleeping(supervisor), 15, "one to sleep") == ["oldest"]
        assert (await supervisor.client.ask("again", "oldest")).outcome == outcome_pb2.OUTCOME_COMPLETED
        await wait_for(lambda: _is(supervisor, ["middle"]), 15, "the next one to sleep")


async def test_past_the_memory_budget_the_longest_idle_sleeps(with_codex: Supervise, stub_model: StubModel) -> None:
    # One real child needs some 130 MB: two are too many, and the busy one stays.
    gate = stub_model.gate()
    async with with_codex({"instances": {"memory_budget": "200 MiB", **OFTEN}}) as supervisor:
        await supervisor.client.ask("hello", "idle")
        stub_model.script(gate.step, Text("done"), when="^work$")
        async with asking(supervisor, "work", "busy") as asked:
            await gate.reached()
            await wait_for(lambda: _is(supervisor, ["idle"]), 15, "the idle one to sleep")
            gate.release()
            assert (await asked.turn()).outcome == outcome_pb2.OUTCOME_COMPLETED


@pytest.mark.skipif(not Path("/proc/pressure/memory").exists(), reason="this kernel does not tell of pressure")
async def test_while_the_machine_is_short_of_memory_idle_children_sleep_one_by_one(
    with_codex: Supervise, tmp_path: Path
) -> None:
    told = tmp_path / "pressure"

    def machine_waits(percent: float) -> None:
        told.write_text(
            "".join(f"{who} avg10={percent:.2f} avg60=0.00 avg300=0.00 total=0\n" for who in ("some", "full"))
        )

    machine_waits(19)
    program = (*mounting('mount --bind "$1" /proc/pressure/memory', str(told)), *SERVE)
    async with with_codex({"instances": {"memory_pressure": 20, **OFTEN}}, program=program) as supervisor:
        for name in ("older", "newer"):
            await supervisor.client.ask("hello", name)
        assert await sleeping(supervisor) == []
        machine_waits(21)
        await wait_for(lambda: _is(supervisor, ["newer", "older"]), 15, "both to sleep")
        # At each look one goes, for what it gives back shows in the next.
        decided = [json.loads(line) for line in supervisor.log().splitlines() if '"hibernated","logger"' in line]
        assert [(each["instance"], each["because"]) for each in decided] == [("older", "memory"), ("newer", "memory")]
        assert decided[0]["at"] < decided[1]["at"]
        machine_waits(0)
        assert (await supervisor.client.ask("again", "older")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def _is(supervisor: RunningSupervisor, names: list[str]) -> bool:
    return await sleeping(supervisor) == names


async def test_a_thousand_known_instances_cost_little(supervisor: RunningSupervisor) -> None:
    await supervisor.client.ask("first")
    few_mib = resident_mib(supervisor.pid)
    await supervisor.stop()
    state = supervisor.state_dir
    store = await Store.open(state / "supervisor.db", archive_dir=state / "archive", clock=SystemClock())
    try:
        records = [InstanceRecord(id=f"known-{number}", created_ns=1) for number in range(1000)]
        await asyncio.gather(*(store.save_instance(record) for record in records))
    finally:
        await store.close()
    await supervisor.start()
    reply = await supervisor.client.instances.List(instances_pb2.ListInstancesRequest(), timeout=2)
    assert len(reply.instances) == 1001
    await supervisor.client.ask("one among a thousand", "known-7")
    assert resident_mib(supervisor.pid) - few_mib < 10
    busy_before, began = cpu_s(supervisor.pid), time.monotonic()
    await asyncio.sleep(2)  # what is measured is what it does while nothing happens
    assert cpu_s(supervisor.pid) - busy_before < 0.05 * (time.monotonic() - began)


def resident_mib(pid: int) -> float:
    """Resident memory."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


def cpu_s(pid: int) -> float:
    """Processor time since its start."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
