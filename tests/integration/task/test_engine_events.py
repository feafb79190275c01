"""What every engine promises of events, and of those who follow and wait."""

from __future__ import annotations

import asyncio

import pytest
from codex_control.errors import NotFound
from codex_supervisor.task.contract import Engine
from codex_supervisor.task.following import Followed, follow, wait
from codex_supervisor.task.records import EventKind, NewEvent, Note, TaskState

from tests.integration.task.engine_calls import COMPLETED, REFUSED, claim, events_of, submit


async def test_events_are_numbered_and_replayed_from_any_number(engine: Engine) -> None:
    await submit(engine, "T-1")
    found = await claim(engine)
    await engine.note(found, Note(progress="reads"), [NewEvent(EventKind.ITEM, "one", turn_seq=1)])
    await engine.note(found, Note(progress="reads"), [NewEvent(EventKind.ITEM, "two", item=b"\x00\xff", turn_seq=5)])
    await engine.finish(found, COMPLETED)
    assert await events_of(engine, "T-1") == [
        "1 changed accepted",
        "2 changed attempt 1 on alice",
        "3 progress reads",
        "4 item one",
        "5 item two",
        "6 complete",
    ]
    assert await events_of(engine, "T-1", 4) == ["5 item two", "6 complete"]
    page = await engine.events("T-1", 4, limit=1)
    assert (page.events[0].event.item, page.last_seq, page.ended) == (b"\x00\xff", 6, True)


async def test_an_event_that_is_told_again_is_recorded_once(engine: Engine) -> None:
    await submit(engine, "T-1")
    found = await claim(engine)
    note = Note(turn_id="turn-1")
    items = [NewEvent(EventKind.ITEM, text, turn_seq=seq) for text, seq in (("one", 3), ("two", 7))]
    await engine.note(found, note, items)
    await engine.note(found, note, [*items, NewEvent(EventKind.ITEM, "three", turn_seq=8)])
    assert await events_of(engine, "T-1", 2) == ["3 item one", "4 item two", "5 item three"]
    await engine.note(found, Note(turn_id="turn-2"), items[:1])
    assert await events_of(engine, "T-1", 5) == ["6 item one"]
    assert (await engine.get("T-1")).status.turn_seq == 3


async def test_events_past_the_limit_go_from_the_oldest_on_and_the_gap_is_told(engine: Engine) -> None:
    await submit(engine, "T-1")
    found = await claim(engine)
    for number in range(150):
        await engine.note(found, Note(), [NewEvent(EventKind.ITEM, f"item {number}")])
    page = await engine.events("T-1", 0, limit=1000)
    assert page.last_seq == 152
    assert page.dropped_seq > 0
    assert len(page.events) <= 100
    assert [event.seq for event in page.events] == list(range(page.dropped_seq + 1, 153))
    await engine.note(found, Note(), [NewEvent(EventKind.ITEM, item=b"x" * 100_000)])
    assert [event.seq for event in (await engine.events("T-1", 0)).events] == [153]
    await engine.finish(found, COMPLETED)
    steps = [step async for step in follow(engine, {"T-1": 0})]
    assert (steps[0].event, steps[0].dropped_to) == (None, 153)
    assert [step.event.event.kind for step in steps[1:] if step.event] == [EventKind.COMPLETE]


async def test_a_follower_gets_every_event_once_also_after_it_comes_back(engine: Engine) -> None:
    await submit(engine, "T-1")
    await submit(engine, "T-2")
    seen: list[Followed] = []
    enough = asyncio.Event()

    async def watch(after: dict[str, int], stop_at: int) -> None:
        async for step in follow(engine, after):
            seen.append(step)
            if len(seen) == stop_at:
                enough.set()
                return

    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        group.create_task(watch({"T-1": 0, "T-2": 0}, 20))
        first, second = await claim(engine), await claim(engine)
        for number in range(30):
            await engine.note(first, Note(), [NewEvent(EventKind.ITEM, f"{number}")])
            await engine.note(second, Note(), [NewEvent(EventKind.ITEM, f"{number}")])
        await enough.wait()
        positions = {
            task_id: max(seq_of(step) for step in seen if step.task_id == task_id) for task_id in ("T-1", "T-2")
        }
        group.create_task(watch(positions, 0))
        await engine.finish(first, COMPLETED)
        await engine.finish(second, REFUSED)
    for task_id in ("T-1", "T-2"):
        last_seq = (await engine.get(task_id)).last_seq
        assert [seq_of(step) for step in seen if step.task_id == task_id] == list(range(1, last_seq + 1))


def seq_of(step: Followed) -> int:
    assert step.event is not None
    return step.event.seq


async def test_a_wait_for_all_returns_with_the_last_end(engine: Engine) -> None:
    for task_id in ("a", "b"):
        await submit(engine, task_id)
    async with asyncio.timeout(20), asyncio.TaskGroup() as group:
        any_one = group.create_task(wait(engine, ["a", "b"], any_of_them=True))
        every = group.create_task(wait(engine, ["b", "a"]))
        await engine.finish(await claim(engine), COMPLETED)
        records, timed_out = await any_one
        assert [record.state for record in records] == [TaskState.DONE, TaskState.PENDING]
        assert not timed_out
        assert not every.done()
        await engine.cancel("b")
        records, _timed_out = await every
        assert [record.id for record in records] == ["b", "a"]
        assert all(record.ended for record in records)


async def test_a_wait_ends_when_its_time_is_over(engine: Engine) -> None:
    await submit(engine, "T-1")
    records, timed_out = await wait(engine, ["T-1"], timeout_s=0.01)
    assert timed_out
    assert records[0].state is TaskState.PENDING
    with pytest.raises(NotFound):
        await wait(engine, ["T-1", "T-9"], timeout_s=0.01)


async def test_a_cancelled_caller_does_not_swallow_the_news(engine: Engine) -> None:
    await submit(engine, "T-0")
    with engine.signals.subscribed(["T-0"]) as subscription:
        call = asyncio.get_running_loop().create_task(engine.cancel("T-0"))
        await asyncio.sleep(0)
        call.cancel()
        async with asyncio.timeout(5):
            # A signal may also come without need; the one of the end comes for certain.
            while not (await engine.get("T-0")).ended:
                await subscription.changed()
    assert call.cancelled()
