"""Records that speak of processes which are no longer ours: another's pid, another boot."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from codex_control.service.clock import SystemClock
from codex_control.v1 import outcome_pb2
from codex_supervisor.child.processes import read_process
from codex_supervisor.store.records import ChildRecord
from codex_supervisor.store.store import Store

from tests.faults.watching import asking, child_pid, is_running, processes_with, recorded_turn
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor

OTHER_BOOT = "00000000-0000-4000-8000-000000000000"


@asynccontextmanager
async def stranger() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that has nothing to do with us."""
    process = await asyncio.create_subprocess_exec("sleep", "300", env={"PATH": os.environ["PATH"]})
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def change_child(supervisor: RunningSupervisor, change: Callable[[ChildRecord], ChildRecord]) -> None:
    """Rewrite the record of the only child while no supervisor runs."""
    state = supervisor.state_dir
    store = await Store.open(state / "supervisor.db", archive_dir=state / "archive", clock=SystemClock())
    try:
        (record,) = await store.load_children()
        await store.save_child(change(record))
    finally:
        await store.close()


@pytest.mark.parametrize("same_tick", [False, True], ids=["another start time", "the same clock tick"])
async def test_a_pid_that_was_given_to_a_stranger(
    supervisor: RunningSupervisor, stub_model: StubModel, same_tick: bool
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half "), gate.step)
    stub_model.script(Text("whole"))
    async with stranger() as process, asking(supervisor, "a question") as asked:
        await gate.reached()
        child = await child_pid(supervisor)
        await supervisor.kill()
        os.kill(child, signal.SIGKILL)
        gate.release()
        theirs = read_process(process.pid)
        assert theirs is not None

        def give_away(record: ChildRecord) -> ChildRecord:
            start_time = theirs.start_time if same_tick else record.start_time
            return msgspec.structs.replace(record, pid=process.pid, start_time=start_time)

        await change_child(supervisor, give_away)
        await supervisor.start()
        turn = await recorded_turn(supervisor, asked.request.request_id)
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "whole")
        assert process.returncode is None
        assert is_running(process.pid), "a stranger is never signalled"
        assert await child_pid(supervisor) not in (0, process.pid)
        await supervisor.stop()
        assert is_running(process.pid), "nor by the stop"


async def test_a_living_child_whose_record_names_a_stranger_is_found_by_its_token(
    supervisor: RunningSupervisor,
) -> None:
    await supervisor.client.ask("first")
    child = await child_pid(supervisor)
    await supervisor.kill()
    async with stranger() as process:
        await change_child(supervisor, lambda record: msgspec.structs.replace(record, pid=process.pid))
        await supervisor.start()
        assert not is_running(child), "it would be a second writer of the thread"
        assert is_running(process.pid)
        assert (await supervisor.client.ask("second")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_after_a_reboot_the_turn_goes_on_with_a_new_child(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("half "), gate.step)
    stub_model.script(Text("whole"))
    async with stranger() as process, asking(supervisor, "a long question") as asked:
        await gate.reached()
        await asked.reached("text")
        child = await child_pid(supervisor)
        await supervisor.kill()
        os.kill(child, signal.SIGKILL)
        gate.release()
        # No process of that boot is there any more; its pids are others' now, its sockets were on a tmpfs.
        await change_child(
            supervisor, lambda record: msgspec.structs.replace(record, pid=process.pid, boot_id=OTHER_BOOT)
        )
        for socket in (supervisor.runtime_dir / "codex-supervisor").rglob("*.sock"):
            socket.unlink()
        began = time.monotonic()
        await supervisor.start()
        turn = await recorded_turn(supervisor, asked.request.request_id)
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "whole")
        assert turn.recoveries == 1
        assert time.monotonic() - began < 20
        assert is_running(process.pid)
    assert len(children_below(supervisor.runtime_dir)) == 1


def children_below(runtime_dir: Path) -> list[int]:
    """Pids of the children that listen there."""
    return processes_with(f"unix://{runtime_dir}")
