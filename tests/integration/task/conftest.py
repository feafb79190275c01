"""The engines under test. A test that takes `engine` runs once for each of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from codex_supervisor.task.contract import Engine
from codex_supervisor.task.postgresql_engine import PostgresqlEngine
from codex_supervisor.task.records import Policy
from codex_supervisor.task.sqlite_engine import SqliteEngine

from tests.support.postgresql import ServerClock, missing_server, programs, running_server, schema_of_its_own
from tests.support.turning_clock import TurningClock

POLICY = Policy(retries=1, max_deaths=3, max_events=100, max_event_bytes=64 * 1024)

Opening = Callable[[], Awaitable[Engine]]


@pytest.fixture(scope="session", autouse=True)
def postgresql_server() -> Iterator[str]:
    """The connection string of a running server; empty where there is none.

    Asked for by every test here, so that it is there before the search for leaks begins.
    """
    named = os.environ.get("TEST_POSTGRES_DSN", "")
    if named or programs() is None:
        yield named
        return
    with running_server() as server:
        yield server.dsn


@pytest.fixture
def postgresql_dsn(postgresql_server: str) -> str:
    return postgresql_server or missing_server()


@pytest.fixture
def schema(postgresql_dsn: str) -> Iterator[str]:
    """The name of a schema for one test."""
    with schema_of_its_own(postgresql_dsn) as name:
        yield name


@pytest.fixture(params=["sqlite", "postgresql"])
def engine_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clock(engine_name: str, request: pytest.FixtureRequest) -> Iterator[TurningClock]:
    """The engine's clock."""
    if engine_name == "sqlite":
        yield TurningClock()
        return
    clock = ServerClock(request.getfixturevalue("postgresql_dsn"), request.getfixturevalue("schema"))
    yield clock
    clock.close()


@pytest.fixture
async def opening(
    engine_name: str, request: pytest.FixtureRequest, tmp_path: Path, clock: TurningClock
) -> AsyncIterator[Opening]:
    """Opens the engine; again after it was closed, as a restart does. What is open at the end is closed."""
    if engine_name == "postgresql":
        dsn, schema = request.getfixturevalue("postgresql_dsn"), request.getfixturevalue("schema")
    async with AsyncExitStack() as stack:

        async def open_engine() -> Engine:
            engine: Engine
            if engine_name == "sqlite":
                engine = await SqliteEngine.open(tmp_path / "state" / "tasks.db", clock=clock, policy=POLICY)
            else:
                engine = await PostgresqlEngine.open(dsn, policy=POLICY, schema=schema)
            stack.push_async_callback(engine.close)
            return engine

        yield open_engine


@pytest.fixture
async def engine(opening: Opening) -> Engine:
    return await opening()
