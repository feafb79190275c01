"""What a supervisor claims, and how it lets go of it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from codex_supervisor.instance.asks import Asks
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.task.manager import TaskManager
from codex_supervisor.task.records import Claim, TaskRequest, TaskState, Worker
from codex_supervisor.task.sqlite_engine import SqliteEngine

from tests.support.turning_clock import TurningClock
from tests.support.waiting import wait_for
from tests.unit.house import house_of
from tests.unit.store.samples import opened


async def test_a_claim_that_is_under_way_at_a_stop_is_given_back(
    engine: SqliteEngine, clock: TurningClock, tmp_path: Path
) -> None:
    answered, claimed = asyncio.Event(), asyncio.Event()
    claim_at_once = engine.claim

    async def claim_slowly(*arguments: Worker, **more: object) -> Claim | None:
        found = await claim_at_once(*arguments, **more)  # type: ignore[arg-type]
        claimed.set()
        await answered.wait()
        return found

    engine.claim = claim_slowly  # type: ignore[method-assign]
    # Its tasks are given back, as those of a queue of many machines are.
    engine.name = "postgresql"
    await engine.submit("T-1", TaskRequest("do it", str(tmp_path)))
    async with opened(tmp_path) as store, house_of(tmp_path, store, clock) as house:
        fleet = Fleet(house)
        manager = TaskManager(engine, Worker("local", "run"), fleet, Asks(fleet))
        manager.start()
        await asyncio.wait_for(claimed.wait(), 20)
        stopping = asyncio.ensure_future(manager.stop(replaced=False))
        await asyncio.sleep(0)
        assert not stopping.done()
        answered.set()
        await asyncio.wait_for(stopping, 20)
        status = (await engine.get("T-1")).status
        assert (status.state, status.attempt, status.error) == (TaskState.PENDING, 0, "its supervisor was stopped")
        await wait_for(lambda: manager.running == 0)
