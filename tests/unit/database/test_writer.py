"""The writer: one transaction for all that waits, errors to their own request, bounded waiting."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
from codex_control.database import worker
from codex_control.database.writer import Writer
from codex_control.errors import StoreUnavailable, WrongState
from codex_control.service.clock import SystemClock

T = TypeVar("T")


class Held:
    """Work that occupies the writer until it is let go."""

    def __init__(self) -> None:
        self._running = threading.Event()
        self._go = threading.Event()

    def work(self, _db: sqlite3.Connection) -> None:
        self._running.set()
        assert self._go.wait(10)

    async def wait_for_start(self) -> None:
        while not self._running.is_set():
            await asyncio.sleep(0)

    def let_go(self) -> None:
        self._go.set()


def connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("CREATE TABLE IF NOT EXISTS t (x INTEGER PRIMARY KEY, big BLOB)")
    return db


def put(db: sqlite3.Connection, x: int) -> int:
    db.execute("INSERT INTO t (x) VALUES (?)", (x,))
    return x


def read(db: sqlite3.Connection) -> list[int]:
    return [x for (x,) in db.execute("SELECT x FROM t ORDER BY x")]


@pytest.fixture
def commits() -> list[float]:
    return []


@pytest.fixture
async def writer(tmp_path: Path, commits: list[float]) -> AsyncIterator[Writer]:
    made = Writer(tmp_path / "w.db", partial(connect, tmp_path / "w.db"), clock=SystemClock(), on_commit=commits.append)
    await made.start()
    yield made
    await made.close()


async def queue_behind(
    writer: Writer, held: Held, *works: Callable[[sqlite3.Connection], Any]
) -> list[asyncio.Task[Any]]:
    """Start `held`, then the works, which all wait behind it."""
    first = started(writer.call(held.work))
    await held.wait_for_start()
    rest = [started(writer.call(work)) for work in works]
    await asyncio.sleep(0)
    return [first, *rest]


def started(call: Coroutine[object, object, T]) -> asyncio.Task[T]:
    """The tests await every task, and conftest finds those that they forget."""
    return asyncio.get_running_loop().create_task(call)


async def test_what_waits_goes_into_one_transaction_in_order(writer: Writer, commits: list[float]) -> None:
    held = Held()
    order: list[object] = []
    tasks = await queue_behind(writer, held, *(partial(put, x=x) for x in range(100)))
    for task in tasks[1:]:
        task.add_done_callback(lambda done: order.append(done.result()))
    held.let_go()
    await asyncio.gather(*tasks)
    await asyncio.sleep(0)
    assert order == list(range(100))
    assert len(commits) == 1
    assert 0 < commits[0] < 5
    assert await writer.call(read) == list(range(100))


async def test_a_failing_request_takes_no_other_with_it(writer: Writer) -> None:
    held = Held()

    def broken(db: sqlite3.Connection) -> None:
        put(db, 77)
        raise ValueError("in the work")

    tasks = await queue_behind(writer, held, partial(put, x=1), partial(put, x=1), partial(broken), partial(put, x=2))
    held.let_go()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert results[1] == 1
    assert isinstance(results[2], WrongState)
    assert isinstance(results[3], ValueError)
    assert results[4] == 2
    assert await writer.call(read) == [1, 2]


async def test_where_sqlite_drops_the_whole_transaction_only_the_guilty_fails(writer: Writer) -> None:
    held = Held()

    def roll_all_back(db: sqlite3.Connection) -> None:
        # As SQLite does by itself on a full disk.
        db.execute("INSERT OR ROLLBACK INTO t (x) VALUES (1)")

    tasks = await queue_behind(writer, held, partial(put, x=1), partial(roll_all_back), partial(put, x=2))
    held.let_go()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert (results[1], results[3]) == (1, 2)
    assert isinstance(results[2], WrongState)
    assert await writer.call(read) == [1, 2]


async def test_the_durability_is_that_of_the_most_demanding_request(writer: Writer) -> None:
    def level(db: sqlite3.Connection) -> int:
        return int(db.execute("PRAGMA synchronous").fetchone()[0])

    normal, full = 1, 2
    assert await writer.call(level) == normal
    assert await writer.call(level, durable=True) == full
    assert await writer.call(level) == normal


async def test_callers_past_the_bound_wait_and_keep_their_order(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_WAITING", 3)
    held = Held()
    ran: list[int] = []

    def note(db: sqlite3.Connection, x: int) -> None:
        ran.append(x)
        put(db, x)

    tasks = await queue_behind(writer, held, *(partial(note, x=x) for x in range(20)))
    assert "waiting=3" in repr(writer)
    tasks[10].cancel()
    held.let_go()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[10], asyncio.CancelledError)
    expected = [x for x in range(20) if x != 9]
    assert ran == expected, "a call that was cancelled while it waited for room did nothing"
    assert await writer.call(read) == expected
    assert "waiting=0 bytes=0" in repr(writer)


async def test_bytes_are_bounded_too_and_one_large_request_passes(
    writer: Writer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_WAITING_BYTES", 100)
    await writer.call(partial(put, x=0), cost_bytes=1000)
    held = Held()
    tasks = await queue_behind(writer, held)
    tasks += [started(writer.call(partial(put, x=x), cost_bytes=60)) for x in (1, 2)]
    await asyncio.sleep(0)
    assert "waiting=2 bytes=60" in repr(writer)
    held.let_go()
    await asyncio.gather(*tasks)
    assert await writer.call(read) == [0, 1, 2]


async def test_a_cancelled_caller_does_not_undo_its_write(writer: Writer) -> None:
    held = Held()
    tasks = await queue_behind(writer, held, partial(put, x=1))
    tasks[1].cancel()
    held.let_go()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await writer.call(read) == [1]


async def test_close_finishes_what_waits_and_refuses_the_rest(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "w.db", partial(connect, tmp_path / "w.db"), clock=SystemClock())
    await writer.start()
    held = Held()
    tasks = await queue_behind(writer, held, partial(put, x=1))
    closing = started(writer.close())
    await asyncio.sleep(0)
    with pytest.raises(StoreUnavailable):
        await writer.call(read)
    held.let_go()
    await asyncio.gather(*tasks, closing)
    assert tasks[1].result() == 1


async def test_a_reading_request_reports_no_commit(writer: Writer, commits: list[float]) -> None:
    await writer.call(read)
    await asyncio.sleep(0)
    assert commits == []


async def test_a_thread_that_dies_leaves_nobody_waiting(writer: Writer, caplog: pytest.LogCaptureFixture) -> None:
    def die(_db: sqlite3.Connection) -> None:
        raise SystemExit

    calls = [writer.call(die), *(writer.call(read) for _ in range(3))]
    results = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(result) for result in results] == [StoreUnavailable] * 4
    with pytest.raises(StoreUnavailable):
        await writer.call(read)
    assert "has died" in caplog.text
