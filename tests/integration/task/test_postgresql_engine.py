"""What only the engine on PostgreSQL can meet: other supervisors, a database that goes away, hands in its tables."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress

import psycopg
import pytest
from codex_control.errors import BadConfig, StoreUnavailable
from codex_supervisor.task.contract import LeaseLost, NameTaken
from codex_supervisor.task.following import wait
from codex_supervisor.task.postgresql_engine import PostgresqlEngine
from codex_supervisor.task.postgresql_schema import MIGRATIONS, queue_steps, version_numbers
from codex_supervisor.task.records import (
    AttemptEnd,
    Claim,
    EventKind,
    NewEvent,
    Note,
    Seat,
    TaskOutcome,
    TaskRequest,
    TaskResult,
    TaskState,
    Worker,
)
from psycopg import sql

from tests.support.postgresql import PostgresqlServer, missing_server, programs, running_server
from tests.support.waiting import wait_for

ALICE = Worker("alice", "1")
COMPLETED = AttemptEnd(TaskOutcome.COMPLETED)
ASKING = TaskRequest("do it", "/srv")


@pytest.fixture
async def engines(postgresql_dsn: str, schema: str) -> AsyncIterator[list[PostgresqlEngine]]:
    """Three supervisors' engines on one database."""
    async with AsyncExitStack() as stack:
        opened = []
        for _ in range(3):
            engine = await PostgresqlEngine.open(postgresql_dsn, schema=schema)
            stack.push_async_callback(engine.close)
            opened.append(engine)
        yield opened


@pytest.fixture
def tables(postgresql_dsn: str, schema: str) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection of somebody who looks into the tables."""
    with psycopg.connect(postgresql_dsn, autocommit=True) as connection:
        connection.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        yield connection


async def claimed(engine: PostgresqlEngine, worker: Worker = ALICE, lease_s: float = 30) -> Claim:
    claim = await engine.claim(worker, lease_s=lease_s)
    assert claim is not None
    return claim


async def listening(engine: PostgresqlEngine, other: PostgresqlEngine, name: str = "hello") -> None:
    """Wait until `engine` hears what `other` does."""
    await other.submit(name, ASKING)
    with engine.signals.subscribed([name]) as subscription:

        async def heard() -> bool:
            await other.cancel(name)
            try:
                async with asyncio.timeout(0.1):
                    await subscription.changed()
            except TimeoutError:
                return False
            return True

        await wait_for(heard, what="the engine listens")


async def test_engines_that_start_at_once_make_one_schema(engines: list[PostgresqlEngine]) -> None:
    assert await asyncio.gather(*(engine.counts() for engine in engines)) == [{}, {}, {}]


async def test_three_supervisors_work_one_queue_and_every_task_ends_once(engines: list[PostgresqlEngine]) -> None:
    for number in range(30):
        after = (f"T-{number - 10}",) if number >= 10 else ()
        await engines[number % 3].submit(f"T-{number}", TaskRequest("do it", "/srv", after=after))
    done: list[str] = []

    async def work(engine: PostgresqlEngine, worker: Worker) -> None:
        while len(done) < 30:
            news = engine.signals.work.next()
            claim = await engine.claim(worker, lease_s=30)
            if claim is None:
                with suppress(TimeoutError):
                    await asyncio.wait_for(news.wait(), 0.2)
                continue
            await engine.note(claim, Note(progress="works"), [NewEvent(EventKind.ITEM, "one")])
            await engine.finish(claim, COMPLETED)
            done.append(claim.id)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for number, engine in enumerate(engines):
            for run in range(2):
                group.create_task(work(engine, Worker(f"w{number}", str(run))))
    assert sorted(done) == sorted(f"T-{number}" for number in range(30))
    assert await engines[0].counts() == {(TaskState.DONE, "default"): 30}
    for number in range(30):
        page = await engines[0].events(f"T-{number}", 0)
        assert [event.seq for event in page.events] == list(range(1, page.last_seq + 1))
        assert sum(event.event.kind is EventKind.COMPLETE for event in page.events) == 1


async def test_an_end_on_one_machine_is_told_on_another(engines: list[PostgresqlEngine]) -> None:
    here, there, _ = engines
    await listening(there, here)
    await here.submit("T-1", ASKING)
    async with asyncio.timeout(5), asyncio.TaskGroup() as group:
        waiting = group.create_task(wait(there, ["T-1"]))
        await here.finish(await claimed(here), COMPLETED)
    assert waiting.result()[0][0].state is TaskState.DONE


async def test_a_cancel_on_one_machine_reaches_the_worker_on_another(engines: list[PostgresqlEngine]) -> None:
    here, there, _ = engines
    told: asyncio.Queue[str] = asyncio.Queue()
    there.signals.on_cancel(told.put_nowait)
    await listening(there, here)
    await here.submit("T-1", ASKING)
    await claimed(there)
    await here.cancel("T-1")
    assert await asyncio.wait_for(told.get(), 5) == "T-1"


async def test_a_lost_machine_gives_its_task_back_by_the_server_s_clock(engines: list[PostgresqlEngine]) -> None:
    here, there, _ = engines
    await here.submit("T-1", ASKING)
    lost = await claimed(here, lease_s=0.05)

    async def reclaimed() -> bool:
        return bool(await there.reclaim())

    await wait_for(reclaimed)
    again = await claimed(there, Worker("bob", "1"))
    with pytest.raises(LeaseLost):
        await here.finish(lost, COMPLETED)
    await there.finish(again, COMPLETED)
    assert (await here.get("T-1")).state is TaskState.DONE


async def test_a_back_off_ends_by_itself(engines: list[PostgresqlEngine]) -> None:
    engine = engines[0]
    await engine.submit("T-1", ASKING)
    await engine.finish(await claimed(engine), AttemptEnd(TaskOutcome.FAILED), delay_s=0.2)
    assert await engine.claim(ALICE, lease_s=30) is None

    async def claimable() -> bool:
        return await engine.claim(ALICE, lease_s=30) is not None

    await wait_for(claimable)


async def test_long_names_and_strange_texts(engines: list[PostgresqlEngine]) -> None:
    engine = engines[0]
    request = TaskRequest("a\0b\N{GRINNING FACE}" * 300, "/srv", queue="q" * 64, labels=("x" * 64,))
    await engine.submit("T-1", request)
    assert (await engine.get("T-1")).request == request
    listed = (await engine.list_tasks()).records[0].request.prompt
    assert listed == request.prompt[: len(listed)]
    claim = await engine.claim(ALICE, lease_s=30, queues=["q" * 64], labels=["x" * 64])
    assert claim is not None
    ended = await engine.finish(
        claim, AttemptEnd(TaskOutcome.REFUSED, "no\0", Note(result=TaskResult(answer="\0", summary="\0")))
    )
    assert (ended.status.error, ended.status.result.answer) == ("no\0", "\0")


async def test_two_machines_cannot_work_under_one_name(
    engines: list[PostgresqlEngine], tables: psycopg.Connection[tuple[object, ...]]
) -> None:
    one, other, _ = engines
    here, there = Seat("boot-1", "on host-1"), Seat("boot-2", "on host-2")
    clone = Worker("alice", "clone")
    await one.enrol(ALICE, here, for_s=30)
    with pytest.raises(NameTaken, match="on host-1") as raised:
        await other.enrol(clone, there, for_s=30)
    assert "tasks.worker" in raised.value.next_step
    await other.enrol(Worker("bob", "1"), there, for_s=30)
    again = Worker("alice", "2")
    await one.enrol(again, here, for_s=30)  # a restart after a crash, at once
    await one.enrol(again, here, for_s=30)
    await one.leave(ALICE)  # an earlier run has nothing to say any more
    with pytest.raises(NameTaken):
        await other.enrol(clone, there, for_s=30)
    await one.leave(again)
    await other.enrol(clone, there, for_s=30)
    # A machine that is gone keeps its name for a short time only.
    tables.execute("UPDATE workers SET until_ns = 0 WHERE name = 'alice'")
    await one.enrol(again, here, for_s=30)
    with pytest.raises(NameTaken, match="on host-1"):
        await other.enrol(clone, there, for_s=30)


async def test_a_job_that_was_moved_by_hand_starts_nothing_twice(
    engines: list[PostgresqlEngine], tables: psycopg.Connection[tuple[object, ...]]
) -> None:
    engine = engines[0]
    await engine.submit("T-1", ASKING)
    claim = await claimed(engine)
    # What procrastinate's own advice for stalled jobs does.
    tables.execute("UPDATE procrastinate_jobs SET status = 'todo'")
    assert await engine.claim(ALICE, lease_s=30) is None
    tables.execute("DELETE FROM procrastinate_jobs")
    await engine.give_back(claim, "no room")
    claim = await claimed(engine)
    tables.execute("UPDATE procrastinate_jobs SET status = 'failed'")
    assert (await engine.finish(claim, COMPLETED)).state is TaskState.DONE
    assert await engine.claim(ALICE, lease_s=30) is None


async def test_a_newer_schema_is_refused_and_left_alone(
    engines: list[PostgresqlEngine], tables: psycopg.Connection[tuple[object, ...]], postgresql_dsn: str, schema: str
) -> None:
    await engines[0].submit("T-1", ASKING)
    tables.execute("UPDATE schema_version SET tasks = 99")
    late = await PostgresqlEngine.open(postgresql_dsn, schema=schema)
    try:
        with pytest.raises(StoreUnavailable, match="newer codex-supervisor"):
            await late.counts()
    finally:
        await late.close()
    assert tables.execute("SELECT count(*) FROM tasks").fetchone() == (1,)


async def test_tables_of_an_earlier_version_are_brought_up_to_date(
    engines: list[PostgresqlEngine], tables: psycopg.Connection[tuple[object, ...]]
) -> None:
    await engines[0].submit("T-1", ASKING)
    tables.execute("DROP TABLE workers")
    tables.execute("UPDATE schema_version SET tasks = 1")
    await engines[1].enrol(ALICE, Seat("boot-1", "on host-1"), for_s=30)
    assert (await engines[1].get("T-1")).state is TaskState.PENDING
    assert tables.execute("SELECT tasks FROM schema_version").fetchone() == (len(MIGRATIONS),)


def test_procrastinate_s_tables_are_brought_up_to_date_from_where_they_are() -> None:
    assert len(queue_steps((), (3, 4, 0))) == 1
    steps = queue_steps((3, 2, 0), (3, 4, 0))
    assert len(steps) >= 2
    assert "procrastinate_retry_job_v2" in steps[-1] + steps[-2]
    assert queue_steps((3, 4, 0), (3, 4, 0)) == []
    assert version_numbers("3.10.0rc1") == (3, 10, 0)


@pytest.mark.parametrize("dsn", ["postgresql//me:s3cret@host", "host=x password=s3cret nonsense"])
async def test_a_wrong_dsn_is_named_without_its_password(dsn: str) -> None:
    with pytest.raises(BadConfig, match=r"tasks\.dsn") as raised:
        await PostgresqlEngine.open(dsn)
    assert "s3cret" not in repr(raised.value) + str(raised.value)
    assert raised.value.__suppress_context__


# A server of our own, which goes away


@pytest.fixture
def server() -> Iterator[PostgresqlServer]:
    if programs() is None:
        missing_server()
    with running_server() as server:
        yield server


async def test_a_database_that_goes_away_is_found_again(
    server: PostgresqlServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    dsn = f"{server.dsn} password=s3cret"
    engine = await PostgresqlEngine.open(dsn, schema="away")
    try:
        await engine.submit("T-1", ASKING)
        claim = await claimed(engine)
        await wait_for(lambda: engine.listens)
        with engine.signals.subscribed(["T-1"]) as subscription:
            server.stop()
            with pytest.raises(StoreUnavailable, match="cannot be used"):
                await engine.renew(claim, lease_s=30)
            await wait_for(lambda: "task_database_lost" in caplog.text)
            assert not engine.listens
            server.start()
            # Everybody looks once the engine listens again.
            await asyncio.wait_for(subscription.changed(), 15)
        await engine.renew(claim, lease_s=30)
        assert (await engine.finish(claim, COMPLETED)).state is TaskState.DONE
    finally:
        await engine.close()
    assert "s3cret" not in caplog.text + repr(engine) + repr([record.__dict__ for record in caplog.records])


async def test_a_supervisor_starts_while_the_database_is_away(server: PostgresqlServer) -> None:
    server.stop()
    engine = await PostgresqlEngine.open(server.dsn, schema="away")
    try:
        with pytest.raises(StoreUnavailable):
            await engine.submit("T-1", ASKING)
        server.start()

        async def submitted() -> bool:
            try:
                await engine.submit("T-1", ASKING)
            except StoreUnavailable:
                return False
            return True

        await wait_for(submitted, 20)
    finally:
        await engine.close()
