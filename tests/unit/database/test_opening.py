"""Opening: private files, damage set aside, sound files of others left alone."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from codex_control.database import opening
from codex_control.errors import StoreUnavailable, UnsafePath

from tests.unit.store.samples import archive_dir, archive_files, database, finished, opened, rows


async def test_files_are_private_even_under_a_loose_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        async with opened(tmp_path, entries_per_instance=1) as store:
            await finished(store, 1)
            await finished(store, 2)
            await store.tidy()
            files = [*database(tmp_path).parent.glob("supervisor.db*"), *archive_files(tmp_path)]
            assert len(files) == 4, "database, its two side files, one archive file"
            assert {file.stat().st_mode & 0o777 for file in files} == {0o600}
            assert {path.stat().st_mode & 0o777 for path in (database(tmp_path).parent, archive_dir(tmp_path))} == {
                0o700
            }
    finally:
        os.umask(before)


async def test_a_file_that_was_open_to_others_is_made_private(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    database(tmp_path).chmod(0o644)
    async with opened(tmp_path):
        assert database(tmp_path).stat().st_mode & 0o777 == 0o600


async def test_a_clean_end_leaves_one_file_and_no_thread(tmp_path: Path) -> None:
    before = threading.active_count()
    async with opened(tmp_path) as store:
        await finished(store, 1)
        assert threading.active_count() == before + 2
    assert threading.active_count() == before
    assert [path.name for path in database(tmp_path).parent.glob("supervisor.db*")] == ["supervisor.db"]


async def test_a_second_close_and_a_late_call(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        pass
    await store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.ping()
    with pytest.raises(StoreUnavailable, match="closed"):
        await store.load_instances()


def empty(path: Path) -> None:
    path.write_bytes(b"")


def garbage(path: Path) -> None:
    path.write_bytes(b"\x07garbage" * 4096)


def half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2 // 4096 * 4096)


def a_few_bytes(path: Path) -> None:
    os.truncate(path, 50)


def zeros(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def gone_but_its_log(path: Path) -> None:
    path.rename(path.with_name("supervisor.db-wal"))


@pytest.mark.parametrize("break_it", [empty, garbage, half, a_few_bytes, zeros, gone_but_its_log])
async def test_a_damaged_database_is_set_aside(
    tmp_path: Path, break_it: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path) as store:
        assert store.quarantined is None
        for number in range(50):
            await finished(store, number, answer="x" * 2000)
    break_it(database(tmp_path))
    left = {path.name: path.read_bytes() for path in database(tmp_path).parent.glob("supervisor.db*")}
    async with opened(tmp_path) as store:
        aside = store.quarantined
        assert aside is not None
        assert aside.name.startswith("supervisor.db.damaged-")
        kept = {
            path.name.replace(aside.name, "supervisor.db"): path.read_bytes()
            for path in aside.parent.glob(f"{aside.name}*")
        }
        # SQLite may have made an empty log and an index of it beside the database before it saw the damage.
        assert kept.items() >= left.items()
        assert await store.unfinished_turns() == []
        await finished(store, 1)
    assert "set aside" in caplog.text
    async with opened(tmp_path) as store:
        assert store.quarantined is None
        assert await store.get_turn("turn-1") is not None


async def test_what_a_death_at_the_first_start_left_is_in_nobodys_way(tmp_path: Path) -> None:
    database(tmp_path).parent.mkdir(mode=0o700)
    for suffix in (".new", ".new-wal", ".new-shm", ".new-journal"):
        database(tmp_path).with_name(f"supervisor.db{suffix}").write_bytes(b"half made" * 999)
    async with opened(tmp_path) as store:
        assert store.quarantined is None
        await finished(store, 1)
    assert sorted(path.name for path in database(tmp_path).parent.iterdir()) == ["archive", "supervisor.db"]


async def test_two_quarantines_in_one_second_keep_both(tmp_path: Path) -> None:
    aside = set()
    for content in (b"first" * 999, b"second" * 999):
        database(tmp_path).parent.mkdir(mode=0o700, exist_ok=True)
        database(tmp_path).write_bytes(content)
        async with opened(tmp_path) as store:
            assert store.quarantined is not None
            assert store.quarantined.read_bytes() == content
            aside.add(store.quarantined)
    assert len(aside) == 2


async def test_damage_inside_is_found_after_an_unclean_end(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(50):
            await finished(store, number, answer="x" * 2000)
    size = database(tmp_path).stat().st_size
    with database(tmp_path).open("r+b") as file:
        file.seek(size // 2 // 4096 * 4096)
        file.write(b"\xff" * 8192)
    copy = tmp_path / "copy"
    shutil.copytree(database(tmp_path).parent, copy / "state")
    # Clean: not looked through, so that big files open at once.
    async with opened(copy) as store:
        assert store.quarantined is None
    # Unclean: a log beside it.
    database(tmp_path).with_name("supervisor.db-wal").write_bytes(b"\x00" * 32)
    async with opened(tmp_path) as store:
        assert store.quarantined is not None


async def test_damage_that_is_met_later_is_healed_by_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        for number in range(50):
            await finished(store, number, answer="x" * 2000)
    (page,) = rows(tmp_path, "SELECT rootpage FROM sqlite_master WHERE name = 'instances'")[0]
    assert isinstance(page, int)
    with database(tmp_path).open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(b"\xff" * 4096)
    async with opened(tmp_path) as store:
        assert store.quarantined is None
        with pytest.raises(StoreUnavailable, match=r"damaged.*Restart the service"):
            await store.load_instances()
    async with opened(tmp_path) as store:
        assert store.quarantined is not None
        assert await store.load_instances() == []
    async with opened(tmp_path) as store:
        assert store.quarantined is None


def test_a_long_check_is_cut_short(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with closing(sqlite3.connect(tmp_path / "big.db", isolation_level=None)) as db:
        db.execute("CREATE TABLE big (x)")
        db.execute("BEGIN")
        db.executemany("INSERT INTO big VALUES (?)", ((os.urandom(4000),) for _ in range(10000)))
        db.execute("COMMIT")
        opening._check(db, 0.0005)
        assert "cut short" in caplog.text
        assert db.execute("SELECT count(*) FROM big").fetchone() == (10000,), "later statements are not interrupted"


async def test_another_programs_database_is_refused_and_untouched(tmp_path: Path) -> None:
    database(tmp_path).parent.mkdir(mode=0o700)
    with closing(sqlite3.connect(database(tmp_path))) as db:
        db.execute("CREATE TABLE theirs (x)")
    database(tmp_path).chmod(0o600)
    before = database(tmp_path).read_bytes()
    with pytest.raises(StoreUnavailable, match="another program"):
        async with opened(tmp_path):
            pass
    assert database(tmp_path).read_bytes() == before


async def test_a_newer_schema_is_refused_and_untouched(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    with closing(sqlite3.connect(database(tmp_path))) as db:
        db.execute("PRAGMA user_version = 99")
    before = database(tmp_path).read_bytes()
    with pytest.raises(StoreUnavailable, match="newer version of this program"):
        async with opened(tmp_path):
            pass
    assert database(tmp_path).read_bytes() == before


async def test_a_locked_database_is_refused_after_a_bounded_wait(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        began = time.monotonic()
        with pytest.raises(StoreUnavailable, match=r"locked: another process is using it\. End that process"):
            async with opened(tmp_path, lock_wait_s=0.2):
                pass
        assert 0.15 < time.monotonic() - began < 3
        other.execute("ROLLBACK")
    async with opened(tmp_path) as store:
        assert store.quarantined is None


async def test_a_lock_that_comes_later_fails_one_call_and_goes(tmp_path: Path) -> None:
    async with opened(tmp_path, lock_wait_s=0.1) as store:
        with closing(sqlite3.connect(database(tmp_path), isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreUnavailable, match="locked"):
                await finished(store, 1)
            other.execute("ROLLBACK")
        await finished(store, 1)


async def test_an_open_directory_is_refused(tmp_path: Path) -> None:
    database(tmp_path).parent.mkdir()
    database(tmp_path).parent.chmod(0o755)
    with pytest.raises(UnsafePath, match="open to other users"):
        async with opened(tmp_path):
            pass


async def test_a_link_or_directory_in_place_of_the_database_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    database(tmp_path).rename(tmp_path / "elsewhere.db")
    database(tmp_path).symlink_to(tmp_path / "elsewhere.db")
    with pytest.raises(UnsafePath, match="not a regular file"):
        async with opened(tmp_path):
            pass
    database(tmp_path).unlink()
    database(tmp_path).mkdir()
    with pytest.raises(UnsafePath, match="not a regular file"):
        async with opened(tmp_path):
            pass


async def test_paths_with_odd_characters(tmp_path: Path) -> None:
    odd = tmp_path / "a b?c#d%20ü'"
    odd.mkdir()
    async with opened(odd) as store:
        await finished(store, 1)
    assert database(odd).exists()
