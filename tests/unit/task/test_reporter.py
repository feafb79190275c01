"""What a running attempt tells its engine, and when."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

from codex_supervisor.task.mirror import Mirror
from codex_supervisor.task.records import EventKind, NewEvent, TaskRequest, Worker
from codex_supervisor.task.reporter import Reporter
from codex_supervisor.task.sqlite_engine import SqliteEngine

from tests.support.turning_clock import TurningClock
from tests.support.waiting import wait_for
from tests.unit.house import house_of
from tests.unit.store.samples import opened


async def test_what_comes_after_a_pause_is_told_at_once_and_a_burst_together(
    engine: SqliteEngine, clock: TurningClock, tmp_path: Path
) -> None:
    await engine.submit("T-1", TaskRequest("do it", str(tmp_path)))
    claim = await engine.claim(Worker("local", "run"), lease_s=60)
    assert claim is not None
    writes: list[object] = []
    async with opened(tmp_path) as store, house_of(tmp_path, store, clock) as house:
        mirror = Mirror(engine, tmp_path / "marks", clock=clock, run="run")
        reporter = Reporter(
            claim, engine, house, mirror, lease_s=60, on_cancel=lambda _: None, on_stall=lambda *_: None
        )
        engine.signals.on_change(writes.append)
        keeping = asyncio.ensure_future(reporter.keep())
        try:
            reporter.add(NewEvent(EventKind.ITEM, item=b"one"))
            await wait_for(lambda: len(writes) == 1, what="the first item, while the clock stands still")
            reporter.add(NewEvent(EventKind.ITEM, item=b"two"))
            reporter.add(NewEvent(EventKind.ITEM, item=b"three"))
            clock.turn(1)
            await wait_for(lambda: len(writes) == 2, what="the burst")
            page = await engine.events("T-1", 0)
            assert [event.event.item for event in page.events if event.event.item] == [b"one", b"two", b"three"]
        finally:
            keeping.cancel()
            with suppress(asyncio.CancelledError):
                await keeping
