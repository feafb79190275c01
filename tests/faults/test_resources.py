"""No space, no file descriptors: what was accepted is kept, what cannot be is refused with the reason."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2, turns_pb2_grpc

from tests.faults.conftest import Supervise
from tests.faults.watching import asking
from tests.support.codex_home import CodexHome
from tests.support.model_script import Text
from tests.support.mounting import mounting
from tests.support.stub_model import StubModel
from tests.support.supervisor import SERVE, RunningSupervisor, ref
from tests.support.waiting import wait_for

_MOUNT = 'mkdir -p "$1" && mount -t tmpfs -o size=4m,mode=0700 none "$1"'


@pytest.fixture
def small_disk(codex_home: CodexHome) -> tuple[str, ...]:
    """The command of a supervisor whose state directory is a disk of 4 MB, in a mount namespace of its own."""
    state = codex_home.home / ".local/state/codex-supervisor"
    return (*mounting(_MOUNT, str(state)), *SERVE)


@contextlib.contextmanager
def full(supervisor: RunningSupervisor) -> Iterator[None]:
    """Take all space of the supervisor's disk, as it sees it, while the block runs."""
    ballast = Path(f"/proc/{supervisor.pid}/root{supervisor.state_dir}/ballast")
    with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        ballast.unlink()


async def test_on_a_full_disk_asks_are_refused_and_the_running_turn_gets_its_record(
    with_codex: Supervise, stub_model: StubModel, small_disk: tuple[str, ...]
) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("begun "), gate.step, Text("and ended"))
    async with with_codex(program=small_disk) as supervisor, asking(supervisor, "before it was full") as asked:
        await asked.reached("text")
        await gate.reached()
        with full(supervisor):
            gate.release()
            refused = 0
            for number in range(20):
                # What is left in the file's last pages may take a small one or two.
                with contextlib.suppress(AssertionError):
                    with pytest.raises(grpc.aio.AioRpcError) as raised:
                        await supervisor.client.ask(f"number {number} {'x' * 100_000}", "other")
                    assert raised.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, raised.value.details()
                    assert "the disk is full" in (raised.value.details() or "")
                    refused += 1
                if refused:
                    break
            assert refused
        turn = await asked.turn()
        assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "begun and ended")
        assert (await supervisor.client.ask("with space again")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_turn_that_ends_on_a_full_disk_waits_for_its_record(
    with_codex: Supervise, stub_model: StubModel, small_disk: tuple[str, ...]
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("x" * 200_000, deltas=5))
    async with with_codex(program=small_disk) as supervisor, asking(supervisor, "a long answer") as asked:
        await gate.reached()
        with full(supervisor):
            gate.release()
            await wait_for(lambda: "not_recorded" in supervisor.log(), what="the first failure to write")
            assert "ended" not in asked.kinds()
        turn = await asked.turn()
        assert (turn.outcome, len(turn.answer)) == (outcome_pb2.OUTCOME_COMPLETED, 200_000)


async def test_out_of_file_descriptors(with_codex: Supervise) -> None:
    async with with_codex() as supervisor:
        assert (await supervisor.client.ask("warm", "first")).outcome == outcome_pb2.OUTCOME_COMPLETED
        before = resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE)
        used = max(int(entry.name) for entry in Path(f"/proc/{supervisor.pid}/fd").iterdir())
        resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE, (used + 2, before[1]))
        # There is not even enough for one more child.
        turn = await asyncio.wait_for(supervisor.client.ask("in vain", "second"), 40)
        assert turn.outcome == outcome_pb2.OUTCOME_FAILED
        assert turn.cause in (outcome_pb2.CAUSE_CHILD_DIED, outcome_pb2.CAUSE_CODEX)
        assert "open files" in turn.error.lower(), turn.error
        assert (await supervisor.client.ask("still there", "first")).outcome == outcome_pb2.OUTCOME_COMPLETED
        resource.prlimit(supervisor.pid, resource.RLIMIT_NOFILE, before)
        await supervisor.client.instances.Restart(instances_pb2.RestartRequest(instance=ref("second")), timeout=30)
        assert (await supervisor.client.ask("now", "second")).outcome == outcome_pb2.OUTCOME_COMPLETED


def open_files(supervisor: RunningSupervisor) -> Counter[str]:
    """The kinds of the supervisor's open files, without those of gRPC's poller."""
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{supervisor.pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if not target.startswith("anon_inode:[event"):
                kinds[target.partition("[")[0] if target.startswith("socket:") else target] += 1
    return kinds


async def test_two_hundred_restarts_leave_no_file_open(with_codex: Supervise) -> None:
    names = [f"i{number}" for number in range(4)]

    async def restart(name: str, times: int) -> None:
        for _ in range(times):
            await supervisor.client.instances.Restart(instances_pb2.RestartRequest(instance=ref(name)), timeout=30)

    async with with_codex() as supervisor:
        await asyncio.gather(*(supervisor.client.ask("warm", name) for name in names))
        await asyncio.gather(*(restart(name, 2) for name in names))
        before = open_files(supervisor)
        await asyncio.gather(*(restart(name, 200 // len(names)) for name in names))
        await wait_for(lambda: not open_files(supervisor) - before, what="as few open files as before")
        assert {
            turn.outcome for turn in await asyncio.gather(*(supervisor.client.ask("after", name) for name in names))
        } == {outcome_pb2.OUTCOME_COMPLETED}


async def test_clients_that_come_and_go_leave_nothing_open(supervisor: RunningSupervisor) -> None:
    turn = await supervisor.client.ask("first")
    before = open_files(supervisor)
    for _ in range(50):
        await _come_and_go(supervisor, turn.id)
    # Our own side of a closed channel goes with the collector.
    gc.collect()
    await wait_for(lambda: not open_files(supervisor) - before, what="as few open files as before")


async def _come_and_go(supervisor: RunningSupervisor, turn: str) -> None:
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.insecure_channel(f"unix:{supervisor.socket}", options=options) as channel:
        call = turns_pb2_grpc.TurnsStub(channel).Attach(turns_pb2.AttachRequest(turn_id=turn))
        await call.read()
        call.cancel()
