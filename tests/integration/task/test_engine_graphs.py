"""What every engine promises of tasks that wait for others."""

from __future__ import annotations

import asyncio

import pytest
from codex_control.errors import WrongState
from codex_supervisor.task.contract import Engine
from codex_supervisor.task.records import TaskOutcome, TaskState

from tests.integration.task.engine_calls import COMPLETED, FAILED, REFUSED, claim, events_of, nothing_to_claim, submit


async def test_a_child_starts_when_all_its_parents_are_done(engine: Engine) -> None:
    await submit(engine, "a", priority=1)
    await submit(engine, "b")
    child = await submit(engine, "c", after=("a", "b"), priority=9)
    assert child.status.waits_for == "waits for tasks a, b"
    first, second = await claim(engine), await claim(engine)
    assert await nothing_to_claim(engine)
    await engine.finish(first, COMPLETED)
    assert (await engine.get("c")).status.waits_for == "waits for task b"
    assert await nothing_to_claim(engine)
    news = engine.signals.work.next()
    await engine.finish(second, COMPLETED)
    await asyncio.wait_for(news.wait(), 5)
    assert (await claim(engine)).id == "c"


async def test_a_failed_parent_cancels_its_children_and_theirs_with_the_reason(engine: Engine) -> None:
    await submit(engine, "a")
    await submit(engine, "other", priority=-1)
    await submit(engine, "b", after=("a", "other"))
    await submit(engine, "c", after=("b", "a"))
    await engine.finish(await claim(engine), REFUSED)
    b, c, other = await engine.get_many(["b", "c", "other"])
    assert (b.state, b.status.outcome) == (TaskState.ERROR, TaskOutcome.PARENT_FAILED)
    assert b.status.error == "task a, which it comes after, ended as refused: the model refused"
    assert c.status.outcome is TaskOutcome.PARENT_FAILED
    assert "the model refused" in c.status.error
    assert other.state is TaskState.PENDING
    for task_id in ("b", "c"):
        assert sum(" error " in event for event in await events_of(engine, task_id)) == 1
    assert (await claim(engine)).id == "other"
    assert await nothing_to_claim(engine)


async def test_a_child_of_ended_parents_is_decided_at_once(engine: Engine) -> None:
    await submit(engine, "good")
    await submit(engine, "bad", priority=-1)
    await engine.finish(await claim(engine), COMPLETED)
    await engine.finish(await claim(engine), REFUSED)
    assert (await submit(engine, "a", after=("good",))).status.waits_for == ""
    ended = await submit(engine, "b", after=("good", "bad"))
    assert ended.status.outcome is TaskOutcome.PARENT_FAILED
    assert ended.status.error == "task bad, which it comes after, ended as refused: the model refused"
    assert (await claim(engine)).id == "a"


async def test_a_child_is_tried_again_after_its_parent(engine: Engine) -> None:
    await submit(engine, "a", retries=0)
    await submit(engine, "b", after=("a",))
    await engine.finish(await claim(engine), FAILED)
    with pytest.raises(WrongState, match="Retry a first"):
        await engine.retry("b")
    await engine.retry("a")
    assert (await engine.retry("b")).status.waits_for == "waits for task a"
    found = await claim(engine)
    assert found.id == "a"
    assert await nothing_to_claim(engine)
    await engine.finish(found, COMPLETED)
    assert (await claim(engine)).id == "b"


async def test_a_long_row_of_tasks_falls_as_one(engine: Engine) -> None:
    await submit(engine, "T-0")
    for number in range(1, 100):
        await submit(engine, f"T-{number}", after=(f"T-{number - 1}",))
    await engine.cancel("T-0", "wrong plan")
    counts = await engine.counts()
    assert counts == {(TaskState.ERROR, "default"): 100}
    assert len((await engine.get("T-99")).status.error) <= 500
