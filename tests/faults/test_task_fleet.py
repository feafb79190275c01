"""A service that is stopped gives its tasks back to the queue. How machines die: acceptance/test_tasks_fleet.py."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from codex_control.v1 import tasks_pb2

from tests.integration.task.running import QUICK, ended, get, submit
from tests.support.codex_home import codex_home_below, short_private_dir
from tests.support.fake_codex.knobs import Knobs, Stage
from tests.support.fake_codex.place import FakeCodex
from tests.support.postgresql import missing_server, programs, running_server
from tests.support.supervisor import RunningSupervisor, supervisor_of
from tests.support.waiting import wait_for

DONE = tasks_pb2.TASK_STATE_DONE


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[str]:
    """The DSN of a running server. Asked for by every test here, so that it is there before the search for leaks."""
    named = os.environ.get("TEST_POSTGRES_DSN", "")
    if named or programs() is None:
        yield named
        return
    with running_server() as made:
        yield made.dsn


Fleet = list[tuple[RunningSupervisor, FakeCodex]]


@pytest.fixture
async def fleet(server: str, tmp_path: Path) -> AsyncIterator[Fleet]:
    """Two supervisors of the stand-in, each with a home, a state and a Codex of its own, as on two machines."""
    dsn = server or missing_server()
    async with AsyncExitStack() as stack:
        made: Fleet = []
        for number in range(2):
            home = stack.enter_context(codex_home_below())
            home.configure("http://127.0.0.1:9/v1")
            codex = FakeCodex(home.root / "bin", home.codex_home)
            tasks = {**QUICK, "engine": "postgresql", "dsn_env": "TASKS_DSN", "worker": f"w{number}", "concurrency": 1}
            settings = {"codex": {"binary": str(codex.binary)}, "tasks": tasks}
            runtime_dir = stack.enter_context(short_private_dir())
            supervisor = await stack.enter_async_context(supervisor_of(home, runtime_dir, settings, TASKS_DSN=dsn))
            made.append((supervisor, codex))
        yield made


async def workers_of(supervisor: RunningSupervisor, names: list[str]) -> dict[str, str]:
    """Who runs which task, as soon as all of them have their turns."""

    async def running() -> dict[str, str] | None:
        tasks = [await get(supervisor, name) for name in names]
        found = {task.id: task.worker for task in tasks if task.thread_id}
        return found if len(found) == len(names) else None

    found = await wait_for(running, 20, "all tasks to run")
    assert found is not None
    return found


async def test_a_stopped_machine_gives_its_task_back(fleet: Fleet, tmp_path: Path) -> None:
    (first, _), *_ = fleet
    for _, codex in fleet:
        codex.turn_knobs(Knobs(stall_at=Stage.DELTA, starts=(1,)))
    name = tmp_path.name
    await submit(first, "work", name, cwd=str(tmp_path))
    worker = (await workers_of(first, [name]))[name]
    holder, _ = fleet[int(worker[1:])]
    assert await holder.stop() == 0
    other, _ = fleet[(int(worker[1:]) + 1) % 2]
    for _, codex in fleet:
        codex.turn_knobs(Knobs())
    task = await ended(other, name)
    assert (task.state, task.attempt, task.deaths) == (DONE, 1, 0), task
