"""Owned tasks, and news of changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest
from codex_control.service.owned_tasks import News, TaskSet

from tests.support.waiting import wait_for


class Owner:
    """A task set and the failures that it told of."""

    def __init__(self) -> None:
        self.failures: list[BaseException] = []
        self.tasks = TaskSet(self.failures.append)


@pytest.fixture
async def owner() -> AsyncIterator[Owner]:
    made = Owner()
    yield made
    await made.tasks.cancel()


async def fail(error: Exception) -> None:
    raise error


async def forever() -> None:
    await asyncio.Event().wait()


async def test_a_task_that_ends_is_forgotten(owner: Owner) -> None:
    task = owner.tasks.start(asyncio.sleep(0), "short")
    assert (task.get_name(), len(owner.tasks)) == ("short", 1)
    await task
    await wait_for(lambda: len(owner.tasks) == 0)
    assert owner.failures == []


async def test_an_error_is_logged_and_told(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    error = ValueError("ours")
    with caplog.at_level(logging.CRITICAL):
        owner.tasks.start(fail(error), "broken")
        await wait_for(lambda: owner.failures == [error])
    (record,) = caplog.records
    assert (record.getMessage(), record.__dict__["task"]) == ("task_failed", "broken")


async def test_cancelled_tasks_have_ended_when_cancel_returns(owner: Owner) -> None:
    ended: list[str] = []

    async def slow_to_end() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            ended.append("slow")

    owner.tasks.start(slow_to_end(), "slow")
    owner.tasks.start(forever(), "quick")
    await asyncio.sleep(0)
    await owner.tasks.cancel()
    assert ended == ["slow"]
    assert len(owner.tasks) == 0
    assert owner.failures == []


async def test_an_error_while_being_cancelled_is_told_too(owner: Owner) -> None:
    error = ValueError("in the end")

    async def fails_at_its_end() -> None:
        try:
            await forever()
        finally:
            raise error

    owner.tasks.start(fails_at_its_end(), "broken")
    await asyncio.sleep(0)
    await owner.tasks.cancel()
    assert owner.failures == [error]


async def test_a_task_that_cancels_its_own_set_goes_on(owner: Owner) -> None:
    done: list[str] = []

    async def ends_the_others() -> None:
        await owner.tasks.cancel()
        done.append("went on")

    owner.tasks.start(forever(), "other")
    await owner.tasks.start(ends_the_others(), "ender")
    assert done == ["went on"]


async def test_work_that_must_be_done_outlives_its_caller(owner: Owner) -> None:
    gate, done = asyncio.Event(), []

    async def work() -> str:
        await gate.wait()
        done.append("done")
        return "result"

    caller = asyncio.get_running_loop().create_task(owner.tasks.to_the_end(work(), "work"))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (done, len(owner.tasks)) == ([], 1)
    gate.set()
    await wait_for(lambda: done == ["done"])
    await wait_for(lambda: len(owner.tasks) == 0)


async def test_work_gives_its_result_or_its_error_to_its_caller(owner: Owner) -> None:
    async def result() -> int:
        return 42

    assert await owner.tasks.to_the_end(result(), "work") == 42
    with pytest.raises(ValueError, match="refused"):
        await owner.tasks.to_the_end(fail(ValueError("refused")), "work")
    assert owner.failures == [], "the caller has heard of it"


async def test_news_wakes_everybody_who_waits_and_nobody_who_comes_later() -> None:
    news = News()
    first, second = news.next(), news.next()
    assert not first.is_set()
    news.tell()
    assert first.is_set()
    assert second.is_set()
    assert not news.next().is_set()


async def test_news_between_a_look_and_the_wait_is_not_missed() -> None:
    news, state = News(), [0]

    async def reached(value: int) -> None:
        while True:
            event = news.next()
            if state[0] >= value:
                return
            await event.wait()

    waiting = [asyncio.get_running_loop().create_task(reached(value)) for value in (1, 2, 3)]
    for value in (1, 2, 3):
        state[0] = value
        news.tell()
        await asyncio.sleep(0)
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
