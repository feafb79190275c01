"""The engines under test. A test that takes `engine` runs once for each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from codex_supervisor.task.contract import Engine
from codex_supervisor.task.records import Policy
from codex_supervisor.task.sqlite_engine import SqliteEngine

from tests.support.turning_clock import TurningClock

POLICY = Policy(retries=1, max_deaths=3, max_events=100, max_event_bytes=64 * 1024)

Opening = Callable[[], Awaitable[Engine]]


@pytest.fixture
def clock() -> TurningClock:
    return TurningClock()


@pytest.fixture(params=["sqlite"])
async def opening(request: pytest.FixtureRequest, tmp_path: Path, clock: TurningClock) -> AsyncIterator[Opening]:
    """Opens the engine; again after it was closed, as a restart does. What is open at the end is closed."""
    async with AsyncExitStack() as stack:

        async def open_sqlite() -> Engine:
            engine = await SqliteEngine.open(tmp_path / "state" / "tasks.db", clock=clock, policy=POLICY)
            stack.push_async_callback(engine.close)
            return engine

        yield open_sqlite


@pytest.fixture
async def engine(opening: Opening) -> Engine:
    return await opening()
