"""An embedded engine for the tests of what works with one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from codex_supervisor.task.records import Policy
from codex_supervisor.task.sqlite_engine import SqliteEngine

from tests.support.turning_clock import TurningClock


@pytest.fixture
def clock() -> TurningClock:
    return TurningClock()


@pytest.fixture
async def engine(tmp_path: Path, clock: TurningClock) -> AsyncIterator[SqliteEngine]:
    made = await SqliteEngine.open(tmp_path / "tasks.db", clock=clock, policy=Policy())
    yield made
    await made.close()
