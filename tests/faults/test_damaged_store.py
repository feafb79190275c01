"""The store is truncated, garbage, gone or locked: the service comes up and says so, or says why it cannot."""

from __future__ import annotations

import asyncio
import re
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import grpc
import pytest
from codex_control.v1 import admin_pb2, outcome_pb2

from tests.faults.watching import asking, child_pid, is_running
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor


def truncated(database: Path) -> None:
    data = database.read_bytes()
    database.write_bytes(data[: len(data) // 2])


def garbage(database: Path) -> None:
    database.write_bytes(b"\xde\xad\xbe\xef" * 4096)


def garbage_inside(database: Path) -> None:
    data = bytearray(database.read_bytes())
    # The header stays as it is; the pages behind it do not.
    data[4096:] = b"\x5a" * (len(data) - 4096)
    database.write_bytes(data)


def empty(database: Path) -> None:
    database.write_bytes(b"")


@pytest.mark.parametrize("damage", [truncated, garbage, garbage_inside, empty])
@pytest.mark.parametrize("end", ["stopped", "killed"])
async def test_a_damaged_store_is_set_aside_and_the_service_says_so(
    supervisor: RunningSupervisor, damage: object, end: str
) -> None:
    await supervisor.client.ask("before the damage")
    child = await child_pid(supervisor)
    await (supervisor.stop() if end == "stopped" else supervisor.kill())
    database = supervisor.state_dir / "supervisor.db"
    for side in ("-wal", "-shm"):
        database.with_name(database.name + side).unlink(missing_ok=True)
    assert callable(damage)
    damage(database)
    await supervisor.start()
    version = await supervisor.client.admin.Version(admin_pb2.VersionRequest())
    (sentence,) = version.degraded
    (aside,) = [path for path in supervisor.state_dir.glob("supervisor.db.damaged-*") if path.suffix != ".suspect"]
    assert str(aside) in sentence
    assert re.search(r"damaged-\d{8}T\d{6}Z$", aside.name)
    turn = await supervisor.client.ask("after the damage")
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert not is_running(child), "a child that nobody knows any more is ended"


async def refused(supervisor: RunningSupervisor) -> str:
    """What another supervisor says that cannot start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "codex_supervisor", "serve"),
        env=supervisor.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    _, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode not in (0, None)
    return errors.decode()


async def test_a_locked_store_is_named_with_the_way_out(supervisor: RunningSupervisor) -> None:
    await supervisor.client.ask("first")
    await supervisor.stop()
    database = supervisor.state_dir / "supervisor.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("PRAGMA locking_mode = EXCLUSIVE")
        other.execute("BEGIN EXCLUSIVE")
        text = await refused(supervisor)
        assert f"the store {database} is locked" in text
        assert "fuser" in text
        assert "Traceback" not in text
    await supervisor.start()
    assert (await supervisor.client.ask("second")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_store_that_is_locked_while_it_runs_only_delays(supervisor: RunningSupervisor) -> None:
    await supervisor.client.ask("first")
    database = supervisor.state_dir / "supervisor.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        asking = asyncio.create_task(supervisor.client.ask("while it is locked"))
        done, _ = await asyncio.wait({asking}, timeout=1.0)
        assert not done, "nothing is accepted before it is recorded"
        other.execute("ROLLBACK")
    assert (await asking).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_no_turn_is_accepted_into_a_store_that_somebody_removed(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate.step, Text("the answer"))
    async with asking(supervisor, "under way") as asked:
        await gate.reached()
        shutil.rmtree(supervisor.state_dir)
        with pytest.raises(grpc.aio.AioRpcError, match="was removed or replaced") as raised:
            await supervisor.client.ask("its record would be lost", "other")
        assert raised.value.code() == grpc.StatusCode.UNAVAILABLE
        gate.release()
        assert (await asked.turn()).answer == "the answer"
    await supervisor.stop()
    await supervisor.start()
    assert (await supervisor.client.ask("in a new store")).outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_second_supervisor_says_who_is_there(supervisor: RunningSupervisor) -> None:
    text = await refused(supervisor)
    assert "another supervisor of this user runs already" in text
    assert f"pid {supervisor.pid}" in text
    assert (await supervisor.client.ask("undisturbed")).outcome == outcome_pb2.OUTCOME_COMPLETED
