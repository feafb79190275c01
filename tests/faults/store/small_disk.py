"""What happens on a disk that gets full or read-only. Each function is a scenario that raises where it goes wrong.

Run as `python -m tests.faults.store.small_disk SCENARIO DIRECTORY`, with a small tmpfs at DIRECTORY, in a mount
namespace of its own.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from codex_control.errors import LimitExceeded, StoreUnavailable, UnsafePath
from codex_supervisor.store.records import TurnRecord
from codex_supervisor.store.store import Store

from tests.unit.store.samples import archive_dir, archive_files, database, end, events, finished, opened, turn


def fill(directory: Path, leave_bytes: int = 0) -> Path:
    """Write a file that takes all space but `leave_bytes`."""
    ballast = directory / "ballast"
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - leave_bytes))
    return ballast


async def expect_full(store: Store, number: int) -> None:
    with pytest.raises(LimitExceeded, match="the disk is full.*Free some space"):  # noqa: RUF043
        await store.accept_turn(turn(number, prompt="x" * 100_000), [])


async def ids(store: Store) -> list[str]:
    return [entry.id async for entry in store.history_export(None)]


async def full_while_running(directory: Path) -> None:
    """Accepts fail and write nothing, reads go on, and all is well when there is space again."""
    async with opened(directory) as store:
        await finished(store, 1)
        await store.accept_turn(turn(2), events(1))
        ballast = fill(directory)
        for number in range(3, 30):
            await expect_full(store, number)
            assert await store.get_turn(f"turn-{number}") is None
        results = await asyncio.gather(
            *(store.accept_turn(turn(number, prompt="x" * 100_000), []) for number in range(30, 60)),
            return_exceptions=True,
        )
        assert all(isinstance(result, LimitExceeded) for result in results), results
        assert await ids(store) == ["turn-1"]
        assert [old.id for old in await store.unfinished_turns()] == ["turn-2"]
        await store.ping()
        ballast.unlink()
        await finished(store, 3)
        assert await store.finish_turn("turn-2", end("late"), events(2))
    async with opened(directory) as store:
        assert store.quarantined is None
        assert await ids(store) == ["turn-1", "turn-2", "turn-3"]


async def a_small_outcome_beside_a_large_one(directory: Path) -> None:
    """With little space left, what fits is written although its neighbour in the queue does not fit."""
    async with opened(directory) as store:
        for number in (1, 2):
            await store.accept_turn(turn(number), [])
        await store.tidy()
        fill(directory, leave_bytes=200_000)
        large, small = await asyncio.gather(
            store.finish_turn("turn-1", end("x" * 900_000), []),
            store.finish_turn("turn-2", end("small"), []),
            return_exceptions=True,
        )
        assert isinstance(large, LimitExceeded), large
        assert isinstance(small, TurnRecord), small
        assert await ids(store) == ["turn-2"]


async def full_while_archiving(directory: Path) -> None:
    """Turns stay where they are until there is space."""
    async with opened(directory, entries_per_instance=1000) as store:
        for number in range(40):
            await finished(store, number, answer=os.urandom(4000).hex())
        await store.tidy()
        ballast = fill(directory)
        store.set_limits(entries_per_instance=4)
        for _ in range(3):
            with pytest.raises((OSError, LimitExceeded)):
                await store.tidy()
        assert archive_files(directory) == [], "no half-written files"
        assert await ids(store) == [f"turn-{number}" for number in range(40)]
        ballast.unlink()
        await store.tidy()
        assert archive_files(directory)
        assert await ids(store) == [f"turn-{number}" for number in range(40)]


async def full_at_the_start(directory: Path) -> None:
    """It is said, and nothing half-made is in the way afterwards."""
    async with opened(directory) as store:
        await finished(store, 1)
    ballast = fill(directory)
    with pytest.raises(LimitExceeded, match="the disk is full"):
        async with opened(directory) as store:
            pass
    ballast.unlink()
    async with opened(directory) as store:
        assert store.quarantined is None, "a full disk is no damage"
        assert await ids(store) == ["turn-1"]
    fresh = directory / "fresh"
    fresh.mkdir()
    ballast = fill(directory)
    with pytest.raises(LimitExceeded, match="the disk is full"):
        async with opened(fresh) as store:
            pass
    ballast.unlink()
    async with opened(fresh) as store:
        assert store.quarantined is None
        await finished(store, 1)


async def read_only(directory: Path) -> None:
    """A disk that cannot be written is said to be so."""
    async with opened(directory) as store:
        await finished(store, 1)
    subprocess.run(["mount", "-o", "remount,ro", str(directory)], check=True)
    with pytest.raises(StoreUnavailable, match="cannot be written.*Make .* writable"):  # noqa: RUF043
        async with opened(directory):
            pass
    with pytest.raises(UnsafePath, match="cannot be created"):
        async with opened(directory / "fresh"):
            pass
    assert database(directory).exists()
    assert archive_dir(directory).exists()


if __name__ == "__main__":
    scenarios = {
        made.__name__: made
        for made in (
            full_while_running,
            a_small_outcome_beside_a_large_one,
            full_while_archiving,
            full_at_the_start,
            read_only,
        )
    }
    asyncio.run(scenarios[sys.argv[1]](Path(sys.argv[2])))
