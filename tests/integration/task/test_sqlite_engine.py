"""What only the embedded engine can meet: its file, its disk, this machine's clock."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from codex_control.errors import LimitExceeded, StoreUnavailable
from codex_supervisor.task.records import AttemptEnd, Claim, Note, TaskOutcome, TaskRequest, TaskState, Worker
from codex_supervisor.task.rules import NS
from codex_supervisor.task.sqlite_engine import SqliteEngine

from tests.support.turning_clock import TurningClock

ALICE = Worker("alice", "1")
ASKING = TaskRequest("do it", "/srv")


@pytest.fixture
def clock() -> TurningClock:
    return TurningClock()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "tasks.db"


async def claimed(engine: SqliteEngine) -> Claim:
    claim = await engine.claim(ALICE, lease_s=30)
    assert claim is not None
    return claim


async def test_its_file_is_private(path: Path, clock: TurningClock) -> None:
    engine = await SqliteEngine.open(path, clock=clock)
    await engine.submit("T-1", ASKING)
    assert {stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()} == {0o600}
    await engine.close()
    assert [file.name for file in path.parent.iterdir()] == ["tasks.db"]


async def test_a_damaged_file_is_set_aside(path: Path, clock: TurningClock) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_bytes(b"no database" * 1000)
    engine = await SqliteEngine.open(path, clock=clock)
    assert engine.quarantined is not None
    assert engine.quarantined.read_bytes().startswith(b"no database")
    assert await engine.counts() == {}
    await engine.close()


async def test_a_newer_schema_is_refused_and_left_alone(path: Path, clock: TurningClock) -> None:
    engine = await SqliteEngine.open(path, clock=clock)
    await engine.submit("T-1", ASKING)
    await engine.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 99")
    with pytest.raises(StoreUnavailable, match="newer"):
        await SqliteEngine.open(path, clock=clock)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT id FROM tasks").fetchall() == [("T-1",)]


async def test_the_journal_s_file_is_not_taken_for_ours(path: Path, clock: TurningClock) -> None:
    path.parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE turns (id); PRAGMA user_version = 1; PRAGMA application_id = 0x43535631")
    path.chmod(0o600)
    with pytest.raises(StoreUnavailable, match="another program"):
        await SqliteEngine.open(path, clock=clock)


async def test_a_jump_of_the_wall_clock_ends_no_lease(path: Path, clock: TurningClock) -> None:
    engine = await SqliteEngine.open(path, clock=clock)
    await engine.submit("T-1", ASKING)
    claim = await claimed(engine)
    for seconds in (86_400, -172_800):
        clock.jump(seconds)
        assert await engine.reclaim() == []
        await engine.renew(claim, lease_s=30)
    clock.turn(31)
    assert [record.id for record in await engine.reclaim()] == ["T-1"]
    await engine.close()


async def test_after_a_sleep_of_the_machine_times_are_those_of_the_wall_and_limits_go_on(
    path: Path, clock: TurningClock
) -> None:
    engine = await SqliteEngine.open(path, clock=clock)
    await engine.submit("T-1", msgspec.structs.replace(ASKING, timeout_s=100))
    claim = await claimed(engine)
    started_ns = clock.wall_ns()
    await engine.submit("T-2", ASKING)
    waits = await engine.give_back(await claimed(engine), "no room", delay_s=20)
    assert waits.status.not_before_ns == clock.wall_ns() + 20 * NS
    clock.jump(8 * 3600)
    record = await engine.finish(claim, AttemptEnd(TaskOutcome.FAILED, "why"), delay_s=10)
    assert (record.status.started_ns, record.status.deadline_ns) == (started_ns, clock.wall_ns() + 100 * NS)
    assert await engine.claim(ALICE, lease_s=30) is None, "the back-offs go on"
    assert await engine.next_due_s() == 10
    late, _ = await engine.submit("T-3", ASKING)
    assert late.status.submitted_ns == clock.wall_ns()
    clock.turn(20)
    assert [(await claimed(engine)).id for _ in range(3)] == ["T-1", "T-2", "T-3"]
    await engine.close()


async def test_a_full_disk_refuses_a_submit_and_takes_nothing_with_it(path: Path, clock: TurningClock) -> None:
    engine = await SqliteEngine.open(path, clock=clock)
    await engine.submit("T-1", ASKING)
    claim = await claimed(engine)
    # SQLite's own limit makes the error of a full disk, at a size of our choice.
    pages = await engine._writer.call(lambda db: db.execute("PRAGMA page_count").fetchone()[0])
    await engine._writer.call(lambda db: db.execute(f"PRAGMA max_page_count = {pages + 10}").fetchall())
    large = TaskRequest("x" * 200_000, "/srv")
    small = [engine.submit(f"S-{number}", ASKING) for number in range(3)]
    refused, *accepted = await asyncio.gather(engine.submit("T-2", large), *small, return_exceptions=True)
    assert isinstance(refused, LimitExceeded)
    assert refused.status == "RESOURCE_EXHAUSTED"
    assert not any(isinstance(result, BaseException) for result in accepted)
    assert await engine.counts() == {(TaskState.RUNNING, "default"): 1, (TaskState.PENDING, "default"): 3}
    await engine.renew(claim, lease_s=30, heartbeat=True)
    ended = await engine.finish(claim, AttemptEnd(TaskOutcome.COMPLETED, note=Note(progress="done")))
    assert ended.state is TaskState.DONE
    await engine._writer.call(lambda db: db.execute("PRAGMA max_page_count = 100000").fetchall())
    await engine.submit("T-2", large)
    await engine.close()


async def test_what_is_forgotten_gives_its_space_back(path: Path, clock: TurningClock) -> None:
    engine = await SqliteEngine.open(path, clock=clock)
    for number in range(20):
        await engine.submit(f"T-{number}", TaskRequest("x" * 100_000, "/srv"))
        await engine.cancel(f"T-{number}")
    assert await engine.prune() == 20
    await engine.close()
    assert path.stat().st_size < 500_000
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM events").fetchone() == (0,)
