"""Many wishes at once: the last one wins, and at no moment has an instance more than one child."""

from __future__ import annotations

import asyncio
import random

import grpc
import pytest
from codex_control.v1 import instances_pb2, outcome_pb2

from tests.faults.chaos.faults import child_count
from tests.faults.conftest import Supervise
from tests.faults.watching import asking, kill_child
from tests.support.fake_codex.knobs import Knobs, Stage
from tests.support.fake_codex.place import FakeCodex
from tests.support.supervisor import RunningSupervisor, ref

WISHES = 100


@pytest.mark.parametrize("last", ["start", "stop", "restart"])
async def test_the_last_of_a_hundred_wishes_wins(supervisor: RunningSupervisor, last: str) -> None:
    instances = supervisor.client.instances
    main = ref("main")

    def wish(kind: str) -> asyncio.Task[object]:
        async def call() -> None:
            try:
                match kind:
                    case "start":
                        await instances.Start(
                            instances_pb2.StartRequest(instance=main, cwd=supervisor.client.cwd), timeout=60
                        )
                    case "stop":
                        await instances.Stop(instances_pb2.StopRequest(instance=main, force=True), timeout=60)
                    case _:
                        await instances.Restart(instances_pb2.RestartRequest(instance=main, force=True), timeout=60)
            except grpc.aio.AioRpcError as error:
                # Overtaken by a later one, and said so.
                if error.code() != grpc.StatusCode.FAILED_PRECONDITION:
                    raise

        return asyncio.create_task(call())

    most = 0

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, child_count(str(supervisor.runtime_dir)))
            await asyncio.sleep(0.002)

    chance = random.Random(19)
    await supervisor.client.ask("first")
    counting = asyncio.create_task(count())
    wishes = []
    for _ in range(WISHES - 1):
        wishes.append(wish(chance.choice(["start", "stop", "restart"])))
        if chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0, 0.05))
    # One round trip on the same connection: all of them have arrived.
    await supervisor.client.instance()
    wishes.append(wish(last))
    await asyncio.gather(*wishes)
    counting.cancel()
    await asyncio.gather(counting, return_exceptions=True)
    instance = await supervisor.client.instance()
    if last == "stop":
        assert instance.state == instances_pb2.INSTANCE_STATE_STOPPED
        assert child_count(str(supervisor.runtime_dir)) == 0
    else:
        assert instance.state == instances_pb2.INSTANCE_STATE_READY
        assert child_count(str(supervisor.runtime_dir)) == 1
    assert most == 1
    assert (await supervisor.client.ask("after all of it")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_stop_without_force_lets_a_turn_end_whose_child_has_died(
    with_fake: Supervise, fake_codex: FakeCodex
) -> None:
    fake_codex.turn_knobs(Knobs(stall_at=Stage.DELTA))
    async with with_fake() as supervisor, asking(supervisor, "to its end") as asked:
        await asked.reached("text")
        # The next child takes its time, so that the stop comes while there is none.
        fake_codex.turn_knobs(Knobs(start_delay_s=1))
        await kill_child(supervisor)
        await supervisor.client.wait_for_state(instances_pb2.INSTANCE_STATE_STARTING)
        stop = instances_pb2.StopRequest(instance=ref("main"))
        reply = await supervisor.client.instances.Stop(stop, timeout=20)
        assert reply.instance.state == instances_pb2.INSTANCE_STATE_STOPPED
        turn = await asked.turn()
        assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
        assert fake_codex.starts == 2
