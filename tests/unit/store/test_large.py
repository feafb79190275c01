"""A store with 100,000 ended turns opens at once and keeps little in memory."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from codex_supervisor.store.records import Outcome
from codex_supervisor.store.rows import TURN_COLUMNS, turn_values

from tests.unit.store.samples import database, end, finished, opened, turn

INSTANCES = 100
TURNS = 100_000
INSERT = f"INSERT INTO turns ({TURN_COLUMNS}) VALUES ({', '.join('?' * len(turn_values(turn(1))))})"


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written past the store: through it, that takes a minute."""
    directory = tmp_path_factory.mktemp("large")
    subprocess.run(
        [sys.executable, "-m", "tests.unit.store.test_large", str(directory)], cwd=Path(__file__).parents[3], check=True
    )
    return directory


async def make_empty(directory: Path) -> None:
    async with opened(directory):
        pass


def fill(directory: Path) -> None:
    with closing(sqlite3.connect(database(directory), isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        for number in range(1, TURNS + 1):
            made = turn(number, f"i{number % INSTANCES}", prompt=f"prompt {number} " * 10)
            ended = msgspec.structs.replace(made, answer="an answer " * 50, outcome=Outcome.COMPLETED, ended_ns=5)
            db.execute(INSERT, turn_values(ended))
            db.execute(
                "INSERT INTO journals (turn, instance, last_seq, ended, pruned) VALUES (?, ?, 2, 1, 1)",
                (number, made.instance),
            )
        db.execute("COMMIT")


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_it_opens_at_once_and_stays_small(large: Path) -> None:
    before = resident_bytes()
    began = time.monotonic()
    async with opened(large) as store:
        assert time.monotonic() - began < 0.5
        await store.tidy()
        assert len(await store.unfinished_turns()) == 0
        page, _ = await store.history_page(None, 20, "")
        assert page[0].id == f"turn-{TURNS}"
        assert (await store.history_page("i7", 20, ""))[0][0].instance == "i7"
        assert len((await store.list_turns("i7", [], 500, ""))[0]) == 500
        await finished(store, TURNS + 1, instance="i7")
        assert resident_bytes() - before < 20 * 1024**2


async def test_it_opens_at_once_after_a_crash(large: Path, tmp_path: Path) -> None:
    copy = tmp_path / "state"
    copy.mkdir(mode=0o700)
    with database(large).open("rb") as source, (copy / "supervisor.db").open("wb") as target:
        os.sendfile(target.fileno(), source.fileno(), 0, database(large).stat().st_size)
    (copy / "supervisor.db-wal").write_bytes(bytes(32))
    began = time.monotonic()
    async with opened(tmp_path) as store:
        assert time.monotonic() - began < 1.5, "the check is cut short after half a second"
        assert store.quarantined is None
        await store.accept_turn(turn(TURNS + 2), [])
        assert await store.finish_turn(f"turn-{TURNS + 2}", end(), [])


if __name__ == "__main__":
    import asyncio

    asyncio.run(make_empty(Path(sys.argv[1])))
    fill(Path(sys.argv[1]))
