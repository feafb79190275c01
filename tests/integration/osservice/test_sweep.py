"""The sweep, against real processes and a real store."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from codex_control.paths import Paths, make_private_dir
from codex_control.service.clock import SystemClock
from codex_control.service.lock import SupervisorLock
from codex_control.service.start_limit import BURST, may_start
from codex_supervisor.child.identity import TOKEN_VARIABLE
from codex_supervisor.child.processes import boot_id, read_process
from codex_supervisor.commands.sweep import serve_under_launchd, sweep
from codex_supervisor.osservice.sweep import SweepReport, end_recorded_children
from codex_supervisor.store.records import ChildRecord
from codex_supervisor.store.store import Store

from tests.support.waiting import wait_for_sync


@pytest.fixture
def paths(short_runtime_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.setenv("CODEX_SUPERVISOR_STATE_DIR", str(short_runtime_dir / "state"))
    monkeypatch.setenv("CODEX_SUPERVISOR_RUNTIME_DIR", str(short_runtime_dir / "run"))
    return Paths.from_environment()


class LostChild:
    """A process such as a supervisor leaves: in a session of its own, with its token, and a grandchild that left it."""

    def __init__(self, token: str, *, ignores_term: bool = False) -> None:
        script = "trap '' TERM; " if ignores_term else ""
        script += "setsid sleep 600 & echo $!; sleep 600"
        self.process = subprocess.Popen(
            ["sh", "-c", script],
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
            env={"PATH": os.environ["PATH"], TOKEN_VARIABLE: token},
        )
        assert self.process.stdout is not None
        self.grandchild = int(self.process.stdout.readline())
        found = read_process(self.process.pid)
        assert found is not None
        self.record = ChildRecord(
            token=token,
            instance=f"instance-{token}",
            generation=1,
            socket="",
            boot_id=boot_id(),
            pid=self.process.pid,
            start_time=found.start_time,
        )

    @property
    def lives(self) -> bool:
        return any(
            process is not None and not process.zombie
            for process in (read_process(self.process.pid), read_process(self.grandchild))
        )

    def close(self) -> None:
        for pid in (self.process.pid, self.grandchild):
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def lost() -> Iterator[LostChild]:
    made = LostChild("token-a")
    yield made
    made.close()


@pytest.fixture
async def store(paths: Paths) -> AsyncIterator[Store]:
    opened = await Store.open(paths.database, archive_dir=paths.archive_dir, clock=SystemClock())
    yield opened
    await opened.close()


async def recorded(paths: Paths) -> list[ChildRecord]:
    store = await Store.open(paths.database, archive_dir=paths.archive_dir, clock=SystemClock())
    try:
        return await store.load_children()
    finally:
        await store.close()


async def test_recorded_children_end_with_all_they_started_and_are_forgotten(
    paths: Paths, store: Store, lost: LostChild
) -> None:
    stubborn = LostChild("token-b", ignores_term=True)
    try:
        for child in (lost, stubborn):
            await store.save_child(child.record)
        await store.close()
        assert await end_recorded_children(paths, SystemClock()) == SweepReport(gone=2, left=())
        assert not lost.lives
        assert not stubborn.lives
        assert await recorded(paths) == []
    finally:
        stubborn.close()


async def test_a_stranger_with_the_recorded_pid_is_left_alone(paths: Paths, store: Store, lost: LostChild) -> None:
    record = lost.record
    await store.save_child(ChildRecord("token-other", "i", 1, "", record.boot_id, record.pid, record.start_time))
    await store.save_child(ChildRecord("token-older", "j", 1, "", record.boot_id, record.pid, record.start_time - 5))
    await store.save_child(ChildRecord("token-boot", "k", 1, "", "another boot", record.pid, record.start_time))
    await store.close()
    assert await end_recorded_children(paths, SystemClock()) == SweepReport(gone=3, left=())
    assert lost.lives


async def test_a_child_whose_record_lacks_its_pid_is_found_by_its_token(
    paths: Paths, store: Store, lost: LostChild
) -> None:
    await store.save_child(ChildRecord("token-a", "i", 1, "", boot_id()))
    await store.close()
    assert await end_recorded_children(paths, SystemClock()) == SweepReport(gone=1, left=())
    assert not lost.lives


async def test_without_a_store_there_is_nothing_to_end(paths: Paths) -> None:
    assert await end_recorded_children(paths, SystemClock()) == SweepReport(gone=0, left=())
    assert not paths.state_dir.exists()


async def save(paths: Paths, record: ChildRecord) -> None:
    store = await Store.open(paths.database, archive_dir=paths.archive_dir, clock=SystemClock())
    await store.save_child(record)
    await store.close()


async def test_nothing_is_swept_while_a_supervisor_runs(paths: Paths, store: Store, lost: LostChild) -> None:
    await store.save_child(lost.record)
    make_private_dir(paths.runtime_dir)
    lock = SupervisorLock(paths.lock_file)
    lock.acquire()
    try:
        result = CliRunner().invoke(sweep, [], catch_exceptions=False)
    finally:
        lock.release()
    assert result.exit_code == 0
    assert f"pid {os.getpid()} holds" in result.output
    assert lost.lives


def test_the_command_says_what_it_did(paths: Paths, lost: LostChild) -> None:
    import asyncio

    asyncio.run(save(paths, lost.record))
    result = CliRunner().invoke(sweep, [], catch_exceptions=False)
    assert result.output == "children swept: 1\n"
    wait_for_sync(lambda: not lost.lives, what="the child to be gone")


def test_too_many_starts_under_launchd_end_in_a_sweep(paths: Paths, lost: LostChild) -> None:
    import asyncio

    asyncio.run(save(paths, lost.record))
    for _ in range(BURST):
        assert may_start(paths.state_dir / "launchd-starts.json", SystemClock())
    result = CliRunner().invoke(serve_under_launchd, [], catch_exceptions=False)
    assert result.exit_code == 0
    assert "left stopped" in result.output
    assert not lost.lives
