"""The parts of a supervisor for the tests of one of them; no child can be started."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from codex_control.errors import CodexUnusable
from codex_control.paths import Paths
from codex_control.service.clock import Clock, SystemClock
from codex_control.service.owned_tasks import TaskSet
from codex_supervisor.child.locate import CodexBinary
from codex_supervisor.config.model import Config
from codex_supervisor.house import House
from codex_supervisor.metrics import Metrics


async def _no_binary() -> CodexBinary:
    raise CodexUnusable


@asynccontextmanager
async def house_of(directory: Path, store: Any, clock: Clock | None = None) -> AsyncIterator[House]:
    """A house with the store given. At the end its tasks are cancelled; none of them may have failed."""
    failures: list[BaseException] = []
    house = House(
        clock=clock or SystemClock(),
        store=store,
        metrics=Metrics(),
        paths=Paths(directory / "config.yaml", directory / "state", directory / "run"),
        config=Config(),
        tasks=TaskSet(failures.append),
        binary=_no_binary,
        environment={},
        codex_home=str(directory),
    )
    yield house
    await house.tasks.cancel()
    assert failures == []
