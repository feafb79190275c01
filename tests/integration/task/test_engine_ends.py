"""What every engine promises of the ends of tasks: outcomes, retries, cancels."""

from __future__ import annotations

import asyncio

import pytest
from codex_control.errors import WrongState
from codex_supervisor.task.contract import Engine, LeaseLost
from codex_supervisor.task.records import Note, TaskOutcome, TaskResult, TaskState

from tests.integration.task.engine_calls import COMPLETED, DIED, FAILED, REFUSED, claim, nothing_to_claim, submit
from tests.support.turning_clock import TurningClock


async def test_a_task_ends_exactly_once(engine: Engine) -> None:
    await submit(engine, "T-1")
    found = await claim(engine)
    ended = await engine.finish(found, COMPLETED)
    assert (ended.state, ended.status.outcome) == (TaskState.DONE, TaskOutcome.COMPLETED)
    assert ended.status.result == TaskResult(answer="42", files_changed=("a.py",))
    for call in (engine.finish(found, REFUSED), engine.give_back(found, "late")):
        with pytest.raises(LeaseLost):
            await call
    await engine.cancel("T-1")
    with pytest.raises(WrongState, match="DONE"):
        await engine.retry("T-1")
    assert await engine.get("T-1") == ended


async def test_failures_are_tried_again_on_the_same_thread_until_the_retries_are_used(
    engine: Engine, clock: TurningClock
) -> None:
    await submit(engine, "T-1", retries=2)
    for number in (1, 2):
        found = await claim(engine)
        assert found.record.status.attempt == number
        await engine.note(found, Note(thread_id="th-1", result=TaskResult(files_changed=(f"{number}.py",))))
        back = await engine.finish(found, FAILED, delay_s=10)
        assert (back.state, back.status.failures) == (TaskState.PENDING, number)
        assert "the model gave up" in back.status.waits_for
        assert await nothing_to_claim(engine)
        clock.turn(10)
    found = await claim(engine)
    assert found.record.status.thread_id == "th-1"
    ended = await engine.finish(found, FAILED)
    assert (ended.state, ended.status.outcome) == (TaskState.ERROR, TaskOutcome.FAILED)
    assert ended.status.error == "the model gave up"
    assert ended.status.result.files_changed == ("1.py", "2.py")


async def test_what_would_fail_again_is_not_tried_again(engine: Engine) -> None:
    await submit(engine, "T-1", retries=5)
    ended = await engine.finish(await claim(engine), REFUSED)
    assert (ended.state, ended.status.outcome) == (TaskState.ERROR, TaskOutcome.REFUSED)


async def test_a_task_that_kills_its_children_is_parked(engine: Engine) -> None:
    await submit(engine, "T-1", retries=0)
    found = await claim(engine)
    for _ in range(2):  # the answer to the first one was lost
        await engine.note(found, Note(deaths=1))
    assert (await engine.finish(found, DIED)).state is TaskState.PENDING
    ended = await engine.finish(await claim(engine), DIED)
    assert (ended.state, ended.status.outcome) == (TaskState.ERROR, TaskOutcome.CHILD_DIED)
    assert ended.status.error == "parked after 3 deaths under it; the last: signal 9"


async def test_a_task_that_loses_its_workers_is_parked(engine: Engine, clock: TurningClock) -> None:
    await submit(engine, "T-1")
    for _ in range(3):
        await claim(engine)
        clock.turn(31)
        (record,) = await engine.reclaim()
    assert (record.state, record.status.outcome) == (TaskState.ERROR, TaskOutcome.WORKER_LOST)


async def test_a_task_that_is_given_back_has_not_used_an_attempt(engine: Engine, clock: TurningClock) -> None:
    await submit(engine, "T-1", retries=0)
    for _ in range(5):
        found = await claim(engine)
        assert found.record.status.attempt == 1
        await engine.give_back(found, "no room", delay_s=1)
        assert await nothing_to_claim(engine)
        clock.turn(1)


async def test_a_time_limit_ends_a_task_that_waits_for_its_next_attempt(engine: Engine, clock: TurningClock) -> None:
    await submit(engine, "late", timeout_s=60)
    await submit(engine, "back", timeout_s=60)
    clock.turn(1000)
    late, back = await claim(engine), await claim(engine)
    clock.turn(50)
    ended = await engine.finish(late, FAILED, delay_s=20)
    assert (ended.state, ended.status.outcome) == (TaskState.TIMEOUT, TaskOutcome.TIMED_OUT)
    assert "the model gave up" in ended.status.error
    await engine.give_back(back, "the supervisor stops")
    clock.turn(20)
    assert await nothing_to_claim(engine)
    assert (await engine.get("back")).state is TaskState.TIMEOUT


async def test_a_pending_task_is_cancelled_at_once(engine: Engine) -> None:
    await submit(engine, "T-1")
    ended = await engine.cancel("T-1", "not needed")
    assert (ended.state, ended.status.outcome) == (TaskState.ERROR, TaskOutcome.CANCELLED)
    assert ended.status.error == "not needed"
    assert await nothing_to_claim(engine)


async def test_the_worker_of_a_running_task_learns_of_the_cancel_by_signal_and_at_its_renewal(engine: Engine) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()
    engine.signals.on_cancel(told.put_nowait)
    await submit(engine, "T-1")
    found = await claim(engine)
    asked = await engine.cancel("T-1", "not needed")
    assert asked.state is TaskState.RUNNING
    assert await asyncio.wait_for(told.get(), 5) == "T-1"
    assert (await engine.renew(found, lease_s=30)).cancel_reason == "not needed"
    ended = await engine.finish(found, FAILED)
    assert (ended.status.outcome, ended.status.error) == (TaskOutcome.CANCELLED, "not needed")


async def test_an_answer_that_comes_after_the_cancel_is_kept(engine: Engine) -> None:
    await submit(engine, "T-1")
    found = await claim(engine)
    await engine.cancel("T-1")
    ended = await engine.finish(found, COMPLETED)
    assert (ended.state, ended.status.result.answer) == (TaskState.DONE, "42")


async def test_a_cancelled_task_whose_worker_is_lost_ends(engine: Engine, clock: TurningClock) -> None:
    await submit(engine, "T-1")
    await claim(engine)
    await engine.cancel("T-1")
    clock.turn(31)
    (record,) = await engine.reclaim()
    assert record.status.outcome is TaskOutcome.CANCELLED


async def test_a_retried_task_has_all_its_attempts_again_and_its_thread(engine: Engine) -> None:
    await submit(engine, "T-1", retries=0)
    found = await claim(engine)
    await engine.note(found, Note(thread_id="th-1", result=TaskResult(answer="half", branch="task/T-1")))
    await engine.finish(found, FAILED)
    again = await engine.retry("T-1")
    assert (again.state, again.status.failures, again.status.error) == (TaskState.PENDING, 0, "")
    assert (again.status.result.answer, again.status.result.branch) == ("", "task/T-1")
    with pytest.raises(WrongState, match="PENDING"):
        await engine.retry("T-1")
    second = await claim(engine)
    assert second.token > found.token
    assert (second.record.status.attempt, second.record.status.thread_id) == (2, "th-1")
    assert (await engine.finish(second, COMPLETED)).state is TaskState.DONE
