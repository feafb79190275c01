"""Housekeeping: the limits hold, and a crash between any two steps neither loses nor doubles a turn."""

from __future__ import annotations

import asyncio
import logging
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from codex_control.errors import BadInput, StoreUnavailable
from codex_supervisor.store import housekeeping, shelf
from codex_supervisor.store.store import Store

from tests.support.waiting import wait_for
from tests.unit.store.samples import archive_dir, archive_files, database, end, events, finished, opened, rows, turn


async def ids(store: Store, instance: str | None = None) -> list[str]:
    page, token = await store.history_page(instance, 500, "")
    assert token == ""
    return [entry.id for entry in page]


def newest_first(count: int) -> list[str]:
    return [f"turn-{number}" for number in reversed(range(count))]


async def test_old_turns_move_to_the_archive_by_themselves(tmp_path: Path) -> None:
    async with opened(tmp_path, entries_per_instance=8) as store:
        for number in range(30):
            await finished(store, number)

        def in_database() -> int:
            ((count,),) = rows(tmp_path, "SELECT count(*) FROM turns")
            assert isinstance(count, int)
            return count

        await wait_for(lambda: in_database() <= 8, what="the old turns to move")
        await store.tidy()
        assert 5 <= in_database() <= 8
        assert await ids(store) == newest_first(30)
        old = await store.get_turn("request-0")
        assert old is not None
        assert old.answer == "answer 0"
        assert await store.last_seq("turn-0") == 2
        assert await store.read_events("turn-0", 0, 9, 99) == []
        assert await store.accept_turn(turn(0), []) == (old, False)
        assert not await store.finish_turn("turn-0", end(), [])


async def test_an_unfinished_turn_stays_and_moves_later(tmp_path: Path) -> None:
    async with opened(tmp_path, entries_per_instance=4) as store:
        await store.accept_turn(turn(0), events(1))
        for number in range(1, 20):
            await finished(store, number)
        await store.tidy()
        assert [row.seq for row in await store.read_events("turn-0", 0, 9, 99)] == [1]
        await store.finish_turn("turn-0", end(), [])
        await store.tidy()
        assert await ids(store) == newest_first(20)


async def test_a_lower_limit_holds_soon(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(20):
            await finished(store, number, instance=f"i{number % 2}")
        store.set_limits(entries_per_instance=3)
        await wait_for(lambda: len(archive_files(tmp_path)) >= 2, what="the archive files")
        await store.tidy()
        assert rows(tmp_path, "SELECT max(n) FROM (SELECT count(*) AS n FROM turns GROUP BY instance)")[0] <= (3,)
        assert await ids(store) == newest_first(20)


async def test_archive_files_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shelf, "FILE_BYTES", 5000)
    async with opened(tmp_path, entries_per_instance=2) as store:
        for number in range(20):
            await finished(store, number, answer="x" * 2000)
        await store.tidy()
        assert len(archive_files(tmp_path)) >= 9
        assert await ids(store) == newest_first(20)


async def test_a_crash_between_file_and_database_neither_loses_nor_doubles(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(20):
            await finished(store, number)
        store.set_limits(entries_per_instance=4)
        await store.tidy()
        assert archive_files(tmp_path)
    # The file was written, the deletion of the rows was not.
    crashed = tmp_path / "crashed"
    shutil.copytree(tmp_path / "state", crashed / "state")
    database(crashed).unlink()
    async with opened(tmp_path / "other") as store:
        for number in range(20):
            await finished(store, number)
    shutil.copy(database(tmp_path / "other"), database(crashed))
    (archive_dir(crashed) / "half.tmp").write_bytes(b"x")
    async with opened(crashed) as store:
        assert await ids(store) == newest_first(20)
        await store.tidy()
        assert await ids(store) == newest_first(20)
        assert archive_files(crashed) == [], "what the database holds needs no copy"
        store.set_limits(entries_per_instance=4)
        await store.tidy()
        assert await ids(store) == newest_first(20)


async def test_a_move_that_was_cut_short_neither_loses_nor_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(housekeeping, "MOVE_TURNS", 1)
    async with opened(tmp_path) as store:
        for number in range(100):
            await finished(store, number)
        store.set_limits(entries_per_instance=1)
        await wait_for(lambda: rows(tmp_path, "SELECT count(*) FROM archived")[0] >= (3,), what="the move to begin")
    ((moved,),) = rows(tmp_path, "SELECT count(*) FROM archived")
    assert isinstance(moved, int)
    assert moved < 99, "it was cut short"
    async with opened(tmp_path) as store:
        await store.tidy()
        assert await ids(store) == newest_first(100)
        store.set_limits(entries_per_instance=4)
        await store.tidy()
        assert await ids(store) == newest_first(100)
    database(tmp_path).write_bytes(b"garbage")
    async with opened(tmp_path) as store:
        await store.tidy()
        left = await ids(store)
        assert left == newest_first(100)[-len(left) :], "each once, though some are in two files"
        assert len(left) >= 96


async def test_a_damaged_file_that_a_crash_left_is_written_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(10):
            await finished(store, number)
    # Under the very name that the next move will choose.
    (archive_dir(tmp_path) / "0000000000000001-0000000000000007@blue.jsonl.gz").write_bytes(b"torn")
    async with opened(tmp_path, entries_per_instance=4) as store:
        await store.tidy()
        assert await ids(store) == newest_first(10)
        assert [path.name[:33] for path in archive_files(tmp_path)] == ["0000000000000001-0000000000000007"]
    assert rows(tmp_path, "SELECT count(*) FROM archived JOIN archive_files AS f ON f.id = file") == [(7,)]


async def test_a_move_cut_short_at_any_point(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut after every single commit of a move: the next start goes on, and again, until all is moved."""
    monkeypatch.setattr(housekeeping, "MOVE_TURNS", 2)
    async with opened(tmp_path) as store:
        for number in range(12):
            await finished(store, number)
    cuts = 0
    while True:
        commits: list[float] = []
        async with opened(tmp_path, entries_per_instance=1, on_commit=commits.append) as store:
            if rows(tmp_path, "SELECT count(*) FROM turns") == [(1,)]:
                break
            await wait_for(commits.copy, what="one commit")
        cuts += 1
        assert cuts < 12
        async with opened(tmp_path) as store:
            assert await ids(store) == newest_first(12)
    assert rows(tmp_path, "SELECT count(DISTINCT number) FROM archived") == [(11,)]


async def test_the_archive_outlives_a_damaged_database(tmp_path: Path) -> None:
    async with opened(tmp_path, entries_per_instance=4) as store:
        for number in range(20):
            await finished(store, number)
        await store.tidy()
        ((kept,),) = rows(tmp_path, "SELECT count(*) FROM turns")
        assert isinstance(kept, int)
    database(tmp_path).write_bytes(b"garbage" * 999)
    async with opened(tmp_path, entries_per_instance=4) as store:
        assert store.quarantined is not None
        await finished(store, 100)
        await store.tidy()
        assert await ids(store) == ["turn-100", *newest_first(20 - kept)], "new turns stand behind the old ones"
        old = await store.get_turn("turn-0")
        assert old is not None
        assert await store.accept_turn(turn(0), []) == (old, False)


async def test_new_turns_stand_behind_the_archive_of_a_newer_database(tmp_path: Path) -> None:
    """As after the database, and not the archive, was restored from a backup."""
    async with opened(tmp_path) as store:
        await finished(store, 0)
    (archive_dir(tmp_path) / "0000000000000500-0000000000000600@blue.jsonl.gz").write_bytes(b"")
    async with opened(tmp_path) as store:
        await finished(store, 1)
    assert rows(tmp_path, "SELECT number FROM turns ORDER BY number") == [(1,), (601,)]


async def test_an_archive_file_that_is_gone_is_forgotten(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path, entries_per_instance=4) as store:
        for number in range(20):
            await finished(store, number)
        await store.tidy()
        ((kept,),) = rows(tmp_path, "SELECT count(*) FROM turns")
    for path in archive_files(tmp_path):
        path.unlink()
    async with opened(tmp_path, entries_per_instance=4) as store:
        await store.tidy()
        assert len(await ids(store)) == kept
        assert await store.get_turn("turn-0") is None
    assert "an archive file is gone" in caplog.text
    assert rows(tmp_path, "SELECT * FROM archived") == rows(tmp_path, "SELECT * FROM archive_files") == []


async def test_a_damaged_archive_file_spoils_no_page(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path, entries_per_instance=4) as store:
        for number in range(20):
            await finished(store, number)
        await store.tidy()
        first = archive_files(tmp_path)[0]
        lost = {f"turn-{number}" for number in range(int(first.name[:16]) - 1, int(first.name[17:33]))}
        first.write_bytes(b"garbage")
        for _ in range(2):
            assert await ids(store) == [turn_id for turn_id in newest_first(20) if turn_id not in lost]
        assert [entry.id async for entry in store.history_export(None)] == [
            turn_id for turn_id in reversed(newest_first(20)) if turn_id not in lost
        ]
        with pytest.raises(StoreUnavailable, match="cannot be read.*is damaged"):  # noqa: RUF043
            await store.get_turn("turn-0")
        with pytest.raises(StoreUnavailable, match="cannot be read"):
            await store.accept_turn(turn(0), [])
    assert caplog.text.count("is damaged; what is readable") == 1
    async with opened(tmp_path, entries_per_instance=4) as store:
        await store.tidy()
        assert first.exists(), "a damaged file is not thrown away"


async def test_events_of_the_last_ended_turns_are_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        store.set_limits(event_turns_per_instance=2)
        await store.accept_turn(turn(0), events(1))
        for number in range(1, 6):
            await finished(store, number)
        await finished(store, 6, instance="red")
        await store.tidy()

        async def kept(number: int) -> int:
            return len(await store.read_events(f"turn-{number}", 0, 99, 9999))

        assert [await kept(number) for number in range(7)] == [1, 0, 0, 0, 2, 2, 2]
        assert [await store.last_seq(f"turn-{number}") for number in range(7)] == [1, 2, 2, 2, 2, 2, 2]
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(7,)]
        assert await ids(store) == ["turn-6", "turn-5", "turn-4", "turn-3", "turn-2", "turn-1"]


async def test_events_have_a_budget_of_bytes_and_go_oldest_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        store.set_limits(event_bytes=5000)
        await store.accept_turn(turn(0), events(1, size=9000))
        for number in range(1, 7):
            await finished(store, number, size=1000)
        await store.tidy()
        left = rows(tmp_path, "SELECT DISTINCT id FROM events JOIN turns ON number = turn ORDER BY number")
        assert left == [("turn-0",), ("turn-5",), ("turn-6",)]


async def test_a_pruning_that_a_crash_cut_short_goes_on(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.accept_turn(turn(1), events(*range(1, 5000)))
        await store.finish_turn("turn-1", end(), [])
        await store._writer.call(lambda db: shelf.begin_prune(db, [1]))
        await store._writer.call(lambda db: shelf.prune_some(db, 100))
        assert await store.read_events("turn-1", 0, 9, 99) == [], "nobody sees half of them"
    async with opened(tmp_path) as store:
        await store.tidy()
        assert rows(tmp_path, "SELECT count(*) FROM events") == [(0,)]


async def test_the_total_size_holds_and_the_oldest_goes_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path, entries_per_instance=4) as store:
        for number in range(40):
            await finished(store, number, answer=str(number) * 5000)
            if number % 8 == 7:
                await store.tidy()
        files = len(archive_files(tmp_path))
        size = await store._reader.call(shelf.measure)
        assert size.archive_bytes == sum(path.stat().st_size for path in archive_files(tmp_path))
        store.set_limits(total_bytes=size.database_bytes + size.archive_bytes // 2)
        await store.tidy()
        assert 0 < len(archive_files(tmp_path)) < files
        left = await ids(store)
        assert left == newest_first(40)[: len(left)]
        assert store.removed_turns == 40 - len(left) > 0
        assert "over its size limit: an old archive file was deleted" in caplog.text
        # Smaller than even the empty tables: all that has ended goes, the rest stays and it is said once.
        await store.accept_turn(turn(100), [])
        store.set_limits(total_bytes=1)
        await store.tidy()
        await store.tidy()
        assert await ids(store) == []
        assert archive_files(tmp_path) == []
        assert [old.id for old in await store.unfinished_turns()] == ["turn-100"]
        assert caplog.text.count("nothing more can be deleted") == 1


async def test_free_space_goes_back_to_the_file_system(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(30):
            await finished(store, number, answer="x" * 500_000)
        await store.history_clear("blue")
        await store.tidy()
        await store.ping()
    assert database(tmp_path).stat().st_size < 10_000_000


@pytest.mark.parametrize(
    "limit",
    [{"entries_per_instance": 0}, {"total_bytes": 0}, {"event_turns_per_instance": -1}, {"event_bytes": -1}],
)
async def test_senseless_limits_are_refused(tmp_path: Path, limit: dict[str, int]) -> None:
    async with opened(tmp_path) as store:
        before = store.limits
        with pytest.raises(BadInput):
            store.set_limits(**limit)
        assert store.limits == before


async def test_a_failed_registration_leaves_no_file_in_the_end(tmp_path: Path) -> None:
    async with opened(tmp_path, lock_wait_s=0.05) as store:
        for number in range(20):
            await finished(store, number)
        await store.tidy()
        with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            store.set_limits(entries_per_instance=4)
            with pytest.raises(StoreUnavailable, match="locked"):
                await store.tidy()
            assert await ids(store) == newest_first(20)
            other.execute("ROLLBACK")
        store.set_limits(entries_per_instance=1000)
        await store.tidy()
        assert archive_files(tmp_path) == []
        assert await ids(store) == newest_first(20)


async def test_an_error_is_logged_and_housekeeping_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with opened(tmp_path, entries_per_instance=1) as store:
        await store.tidy()
        archive_dir(tmp_path).rename(tmp_path / "away")
        await finished(store, 1)
        await finished(store, 2)
        await wait_for(lambda: "tried again later" in caplog.text)
        await store.ping()
        (tmp_path / "away").rename(archive_dir(tmp_path))
        await finished(store, 3)
        await wait_for(lambda: len(archive_files(tmp_path)) > 0)
        await store.tidy()
        assert await ids(store) == ["turn-3", "turn-2", "turn-1"]


async def test_the_watchdog_hears_of_a_dead_housekeeper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as store:
        await store.tidy()

        async def die() -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(store._housekeeper, "tidy", die)
        store.set_limits()
        assert store._housekeeping is not None
        await wait_for(store._housekeeping.done)
        with pytest.raises(StoreUnavailable, match="housekeeping has died"):
            await store.ping()


async def test_clearing_while_turns_move_leaves_nothing(tmp_path: Path) -> None:
    async with opened(tmp_path, entries_per_instance=2) as store:
        for number in range(60):
            await finished(store, number)
        await asyncio.gather(store.tidy(), store.history_clear("blue"), store.tidy())
        assert await ids(store) == []
        assert archive_files(tmp_path) == []


async def test_no_prompt_or_answer_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with opened(tmp_path, entries_per_instance=1) as store:
        for number in range(9):
            await finished(store, number, prompt="secret-prompt", answer="secret-answer")
        await store.tidy()
        await store.history_search(None, "secret-search", 5, "")
        archive_files(tmp_path)[0].write_bytes(b"x")
        await ids(store)
    assert caplog.records
    assert not any("secret" in str(vars(record)) for record in caplog.records)
