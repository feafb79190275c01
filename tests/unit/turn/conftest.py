"""A real store on a temporary disk, for the tests of turns."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from codex_supervisor.store.store import Store

from tests.unit.store.samples import opened


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """An event loop for tests that Hypothesis calls many times; one store then serves them all."""
    with asyncio.Runner() as made:
        yield made


@pytest.fixture
def lasting_store(tmp_path: Path, runner: asyncio.Runner) -> Iterator[Store]:
    """A store on `runner`'s loop."""
    context = opened(tmp_path)
    made = runner.run(_entered(context))
    yield made
    runner.run(_left(context))


async def _entered(context: object) -> Store:
    return await context.__aenter__()  # type: ignore[attr-defined, no-any-return]


async def _left(context: object) -> None:
    await context.__aexit__(None, None, None)  # type: ignore[attr-defined]
