"""What every engine promises of lists, counts and pruning."""

from __future__ import annotations

import pytest
from codex_control.errors import NotFound, WrongState
from codex_supervisor.task.contract import Engine, LeaseLost
from codex_supervisor.task.records import TaskState

from tests.integration.task.engine_calls import COMPLETED, REFUSED, asking, claim, events_of, submit
from tests.support.turning_clock import TurningClock


async def test_a_list_has_the_newest_first_in_pages(engine: Engine) -> None:
    for number in range(7):
        await submit(engine, f"T-{number}", prompt="p" * 2000, output_schema="{}", queue="q" if number % 2 else "r")
    await engine.finish(await claim(engine), COMPLETED)
    seen, before = [], None
    while True:
        page = await engine.list_tasks(limit=3, before=before)
        seen += [record.id for record in page.records]
        before = page.next_number
        if before is None:
            break
    assert seen == [f"T-{number}" for number in reversed(range(7))]
    assert [record.id for record in (await engine.list_tasks(queue="q")).records] == ["T-5", "T-3", "T-1"]
    (done,) = (await engine.list_tasks(states=[TaskState.DONE, TaskState.TIMEOUT])).records
    assert done.id == "T-0"
    assert (len(done.request.prompt), done.request.output_schema, done.status.result.answer) == (500, "", "")
    pending = await engine.list_tasks(states=[TaskState.PENDING], queue="r", limit=2)
    assert [record.id for record in pending.records] == ["T-6", "T-4"]
    assert await engine.counts() == {
        (TaskState.DONE, "r"): 1,
        (TaskState.PENDING, "r"): 3,
        (TaskState.PENDING, "q"): 3,
    }


async def test_pruning_forgets_what_has_ended(engine: Engine, clock: TurningClock) -> None:
    for number in range(6):
        await submit(engine, f"T-{number}")
    for number in range(4):
        found = await claim(engine)
        await engine.finish(found, REFUSED if number == 1 else COMPLETED)
        clock.turn(10)
    assert await engine.prune(ended_before_s=35) == 1
    with pytest.raises(NotFound):
        await engine.get("T-0")
    assert await engine.prune(states=[TaskState.ERROR]) == 1
    with pytest.raises(WrongState, match="T-5"):
        await engine.prune(task_ids=["T-2", "T-5"])
    assert (await engine.get("T-2")).ended
    assert await engine.prune(keep=3) == 1
    assert await engine.prune(task_ids=["T-3"]) == 1
    assert await engine.prune() == 0
    assert await engine.counts() == {(TaskState.PENDING, "default"): 2}
    assert (await engine.submit("T-0", asking("another prompt")))[1] is False
    assert await events_of(engine, "T-0") == ["1 changed accepted"]


async def test_pruning_in_steps(engine: Engine) -> None:
    for number in range(5):
        await submit(engine, f"T-{number}")
        await engine.cancel(f"T-{number}")
    assert [await engine.prune(limit=2) for _ in range(4)] == [2, 2, 1, 0]


async def test_a_pruned_parent_leaves_its_children_as_they_are(engine: Engine) -> None:
    await submit(engine, "a")
    await submit(engine, "b", after=("a",))
    await engine.finish(await claim(engine), COMPLETED)
    assert await engine.prune() == 1
    again, existed = await engine.submit("b", asking(after=("a",)))
    assert existed
    assert again.state is TaskState.PENDING
    assert (await claim(engine)).id == "b"


async def test_a_worker_whose_task_was_retried_and_pruned_is_refused(engine: Engine) -> None:
    await submit(engine, "T-1")
    found = await claim(engine)
    await engine.finish(found, COMPLETED)
    await engine.prune()
    with pytest.raises(LeaseLost):
        await engine.renew(found, lease_s=30)
