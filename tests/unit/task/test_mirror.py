"""State files follow their tasks, whatever happens to the supervisor, the directory and the disk."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from codex_supervisor.task import mirror as mirror_module
from codex_supervisor.task import state_file
from codex_supervisor.task.mirror import Mirror
from codex_supervisor.task.records import AttemptEnd, Note, TaskOutcome, TaskRequest, Worker
from codex_supervisor.task.sqlite_engine import SqliteEngine

from tests.support.turning_clock import TurningClock
from tests.support.waiting import wait_for

WORKER = Worker("local", "run")


@pytest.fixture
def cwd(tmp_path: Path) -> Path:
    made = tmp_path / "w"
    made.mkdir()
    return made


@asynccontextmanager
async def keeping(engine: SqliteEngine, clock: TurningClock, folder: Path) -> AsyncIterator[Mirror]:
    mirror = Mirror(engine, folder, clock=clock, run="run")
    mirror.restore()
    async with asyncio.TaskGroup() as group:
        keeper = group.create_task(mirror.keep())
        try:
            yield mirror
        finally:
            keeper.cancel()
            with suppress(asyncio.CancelledError):
                await keeper


@pytest.fixture
async def mirror(engine: SqliteEngine, clock: TurningClock, tmp_path: Path) -> AsyncIterator[Mirror]:
    async with keeping(engine, clock, tmp_path / "marks") as made:
        yield made


def marks(tmp_path: Path) -> list[str]:
    return [entry.name for entry in (tmp_path / "marks").iterdir()]


def status(cwd: Path, task_id: str = "T-1") -> str:
    return str(json.loads((cwd / f".codex/tasks/{task_id}.json").read_text())["status"])


async def submit(mirror: Mirror, engine: SqliteEngine, cwd: Path, task_id: str = "T-1", **more: object) -> None:
    mirror.open(task_id)
    await engine.submit(task_id, TaskRequest("do it", str(cwd), **more))  # type: ignore[arg-type]
    await mirror.up_to_date(task_id)


async def wait_for_status(cwd: Path, wanted: str, task_id: str = "T-1") -> None:
    def says_it() -> bool:
        return (cwd / f".codex/tasks/{task_id}.json").exists() and status(cwd, task_id) == wanted

    await wait_for(says_it, what=f"the state file to say {wanted}")


async def test_it_follows_a_task_to_its_end(engine: SqliteEngine, mirror: Mirror, cwd: Path, tmp_path: Path) -> None:
    await submit(mirror, engine, cwd)
    assert status(cwd) == "PENDING", "it is there when the task is accepted"
    claim = await engine.claim(WORKER, lease_s=60)
    assert claim is not None
    await wait_for_status(cwd, "RUNNING")
    await engine.note(claim, Note(progress="runs make", thread_id="th"))
    path = cwd / ".codex/tasks/T-1.json"
    await wait_for(lambda: json.loads(path.read_text())["progress"] == "runs make")
    assert json.loads(path.read_text())["sessionId"] == "th"
    await engine.finish(claim, AttemptEnd(TaskOutcome.COMPLETED))
    await wait_for_status(cwd, "DONE")
    await wait_for(lambda: marks(tmp_path) == [], what="nothing to be left open")


async def test_what_nobody_runs_is_followed_too(engine: SqliteEngine, mirror: Mirror, cwd: Path) -> None:
    await submit(mirror, engine, cwd)
    await submit(mirror, engine, cwd, "T-2", after=("T-1",))
    await engine.cancel("T-1")
    await wait_for_status(cwd, "ERROR")
    await wait_for_status(cwd, "ERROR", "T-2")


async def test_the_next_supervisor_brings_up_to_date_what_a_crash_left(
    engine: SqliteEngine, clock: TurningClock, cwd: Path, tmp_path: Path
) -> None:
    async with keeping(engine, clock, tmp_path / "marks") as mirror:
        await submit(mirror, engine, cwd)
        await submit(mirror, engine, cwd, "T-2")
    await engine.cancel("T-1")
    (cwd / ".codex/tasks/T-2.json").write_text("torn")
    (tmp_path / "marks" / "never-accepted").touch()
    (tmp_path / "marks" / "-no-id").touch()
    assert status(cwd) == "PENDING"
    async with keeping(engine, clock, tmp_path / "marks"):
        await wait_for_status(cwd, "ERROR")
        await wait_for_status(cwd, "PENDING", "T-2")
        await wait_for(lambda: sorted(marks(tmp_path)) == ["-no-id", "T-2"])


async def test_a_file_that_cannot_be_written_is_tried_again(
    engine: SqliteEngine, mirror: Mirror, clock: TurningClock, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirror_module, "_RETRY_S", 0.01)
    (cwd / ".codex").write_text("in the way")
    await submit(mirror, engine, cwd)
    assert "cannot be written" in mirror.error_of("T-1")
    (cwd / ".codex").unlink()
    clock.turn(1)
    await wait_for(lambda: mirror.error_of("T-1") == "", what="the file to be written")
    assert status(cwd) == "PENDING"


async def test_a_directory_that_is_gone_when_the_task_ends_is_let_go(
    engine: SqliteEngine, mirror: Mirror, tmp_path: Path
) -> None:
    await submit(mirror, engine, tmp_path / "gone")
    assert mirror.error_of("T-1")
    await engine.cancel("T-1")
    await wait_for(lambda: marks(tmp_path) == [])
    assert not (tmp_path / "gone").exists()


async def test_many_tasks_at_once(engine: SqliteEngine, mirror: Mirror, cwd: Path) -> None:
    await asyncio.gather(*(submit(mirror, engine, cwd, f"T-{number}") for number in range(200)))
    assert len(list((cwd / ".codex/tasks").glob("*.json"))) == 200


async def test_the_first_file_needs_no_second_look_at_the_task(
    engine: SqliteEngine, mirror: Mirror, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: list[object] = []
    monkeypatch.setattr(engine, "get_many", looks.append)
    mirror.open("T-1")
    record, _ = await engine.submit("T-1", TaskRequest("do it", str(cwd)))
    await mirror.begin(record)
    assert status(cwd) == "PENDING"
    assert looks == []
    assert "wanted=0" in repr(mirror)


async def test_the_first_file_takes_no_newer_one_s_place(engine: SqliteEngine, mirror: Mirror, cwd: Path) -> None:
    mirror.open("T-1")
    record, _ = await engine.submit("T-1", TaskRequest("do it", str(cwd)))
    assert await engine.claim(WORKER, lease_s=60) is not None
    await wait_for((cwd / ".codex/tasks/T-1.json").exists, what="the file of the claimed task")
    await mirror.begin(record)
    assert status(cwd) == "RUNNING"


class SlowDisk:
    """Lets the files be written when it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun = 0
        self._turn = threading.Semaphore(0)
        write = state_file.write_file

        def slow(*arguments: Any, **more: Any) -> None:
            self.begun += 1
            assert self._turn.acquire(timeout=10)
            write(*arguments, **more)

        monkeypatch.setattr(mirror_module, "write_file", slow)

    def write(self, files: int = 1) -> None:
        """Let so many files be written."""
        self._turn.release(files)


async def test_news_of_an_end_wait_for_the_file_that_has_it(
    engine: SqliteEngine, mirror: Mirror, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(mirror, engine, cwd)
    claim = await engine.claim(WORKER, lease_s=60)
    assert claim is not None
    await wait_for_status(cwd, "RUNNING")
    disk = SlowDisk(monkeypatch)
    await engine.note(claim, Note(progress="runs make"))
    await wait_for(lambda: disk.begun == 1, what="the progress to be on its way")
    await engine.finish(claim, AttemptEnd(TaskOutcome.COMPLETED))
    told = asyncio.ensure_future(mirror.up_to_date("T-1"))
    disk.write()
    await wait_for(lambda: disk.begun == 2, what="the end to be on its way")
    assert status(cwd) == "RUNNING"
    assert not told.done()
    disk.write()
    await told
    assert status(cwd) == "DONE"


async def test_a_disk_that_hangs_does_not_hold_the_news(
    engine: SqliteEngine, mirror: Mirror, cwd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await submit(mirror, engine, cwd)
    monkeypatch.setattr(mirror_module, "_PATIENCE_S", 0.05)
    disk = SlowDisk(monkeypatch)
    await engine.cancel("T-1")
    await mirror.up_to_date("T-1")
    mirror.open("T-2")
    record, _ = await engine.submit("T-2", TaskRequest("do it", str(cwd)))
    await mirror.begin(record)
    assert status(cwd) == "PENDING"
    disk.write(10)
    await wait_for_status(cwd, "ERROR")
    await wait_for_status(cwd, "PENDING", "T-2")
