"""What every engine promises of the taking in of tasks, and of who gets which one."""

from __future__ import annotations

import asyncio

import pytest
from codex_control.errors import BadInput, NotFound
from codex_supervisor.task.contract import Engine, IdTaken
from codex_supervisor.task.records import TaskState

from tests.integration.task.conftest import Opening
from tests.integration.task.engine_calls import ALICE, BOB, COMPLETED, asking, claim, nothing_to_claim, submit


async def test_a_submitted_task_is_there_after_a_restart(opening: Opening) -> None:
    engine = await opening()
    record = await submit(
        engine, "T-1", prompt="p" * 100_000, output_schema="{}", labels=("b", "a"), timeout_s=5, state_dir="/s"
    )
    await engine.close()
    engine = await opening()
    assert await engine.get("T-1") == record
    assert record.state is TaskState.PENDING
    assert record.request.labels == ("a", "b")
    assert len(record.request.prompt) == 100_000


async def test_the_same_request_finds_the_same_task(engine: Engine) -> None:
    first = await submit(engine, "T-1", labels=("b", "a"))
    again, existed = await engine.submit("T-1", asking(labels=("a", "b", "a")))
    assert (again, existed) == (first, True)
    await engine.finish(await claim(engine, labels=["a", "b"]), COMPLETED)
    ended, existed = await engine.submit("T-1", asking(labels=("a", "b")))
    assert existed
    assert ended.state is TaskState.DONE


async def test_a_taken_id_with_another_request_is_an_error(engine: Engine) -> None:
    await submit(engine, "T-1")
    with pytest.raises(IdTaken, match="T-1 already"):
        await engine.submit("T-1", asking("something else"))
    assert (await engine.get("T-1")).request.prompt == "do it"


async def test_many_at_once_under_one_id_are_one_task(engine: Engine) -> None:
    found = await asyncio.gather(*(engine.submit("T-1", asking()) for _ in range(10)))
    assert sorted(existed for _record, existed in found) == [False] + [True] * 9
    assert sum((await engine.counts()).values()) == 1


async def test_bad_requests_are_refused(engine: Engine) -> None:
    for task_id in ("", "a/b", "..", "-x", "x" * 65, "a..b", "a.lock", "a\n"):
        with pytest.raises(BadInput):
            await engine.submit(task_id, asking())
    with pytest.raises(BadInput, match="comes after itself"):
        await engine.submit("T-1", asking(after=("T-1",)))
    with pytest.raises(NotFound, match="T-0"):
        await engine.submit("T-1", asking(after=("T-0",)))
    with pytest.raises(BadInput, match="queue"):
        await engine.submit("T-1", asking(queue="no spaces"))
    with pytest.raises(BadInput, match="priority"):
        await engine.submit("T-1", asking(priority=1001))
    with pytest.raises(BadInput, match="time limit"):
        await engine.submit("T-1", asking(timeout_s=0))
    assert await engine.counts() == {}


async def test_an_unknown_task_is_named(engine: Engine) -> None:
    for call in (engine.get("T-9"), engine.cancel("T-9"), engine.retry("T-9"), engine.events("T-9", 0)):
        with pytest.raises(NotFound, match="T-9"):
            await call
    with pytest.raises(NotFound, match="T-9"):
        await engine.prune(task_ids=["T-9"])


async def test_priority_first_then_the_order_of_submission(engine: Engine) -> None:
    for task_id, priority in (("a", 0), ("b", 5), ("c", 0), ("d", -5), ("e", 5)):
        await submit(engine, task_id, priority=priority)
    assert [(await claim(engine)).id for _ in range(5)] == ["b", "e", "a", "c", "d"]
    assert await nothing_to_claim(engine)


async def test_queues_and_labels_route(engine: Engine) -> None:
    await submit(engine, "gpu", labels=("gpu",), priority=9)
    await submit(engine, "both", labels=("gpu", "linux"), priority=8)
    await submit(engine, "night", queue="night", priority=7)
    await submit(engine, "plain")
    assert (await claim(engine, queues=["default", "other"])).id == "plain"
    assert await nothing_to_claim(engine, queues=["default"], labels=["linux"])
    assert (await claim(engine, queues=["night"], labels=["gpu"])).id == "night"
    assert (await claim(engine, labels=["gpu"])).id == "gpu"
    assert await nothing_to_claim(engine, labels=["gpu"])
    assert (await claim(engine, labels=["gpu", "linux", "more"])).id == "both"


async def test_workers_that_claim_at_once_get_different_tasks(engine: Engine) -> None:
    for number in range(8):
        await submit(engine, f"T-{number}")
    claims = await asyncio.gather(*(engine.claim(worker, lease_s=30) for worker in (ALICE, BOB) * 5))
    assert sorted(found.id for found in claims if found) == [f"T-{number}" for number in range(8)]


async def test_work_is_told_of(engine: Engine) -> None:
    news = engine.signals.work.next()
    await submit(engine, "T-1")
    await asyncio.wait_for(news.wait(), 5)
    found = await claim(engine)
    news = engine.signals.work.next()
    await engine.give_back(found, "the supervisor stops")
    await asyncio.wait_for(news.wait(), 5)
