"""What every engine promises; see `codex_supervisor.task.contract`."""

from __future__ import annotations

import asyncio

import pytest
from codex_control.errors import BadInput, NotFound, WrongState
from codex_supervisor.task.contract import Engine, IdTaken, LeaseLost
from codex_supervisor.task.following import Followed, follow, wait
from codex_supervisor.task.records import (
    AttemptEnd,
    Claim,
    EventKind,
    NewEvent,
    Note,
    TaskOutcome,
    TaskRecord,
    TaskRequest,
    TaskResult,
    TaskState,
    Worker,
)

from tests.integration.task.conftest import Opening
from tests.support.turning_clock import TurningClock

ALICE = Worker("alice", "1")
BOB = Worker("bob", "1")
COMPLETED = AttemptEnd(TaskOutcome.COMPLETED, note=Note(result=TaskResult(answer="42", files_changed=("a.py",))))
FAILED = AttemptEnd(TaskOutcome.FAILED, "the model gave up")
REFUSED = AttemptEnd(TaskOutcome.REFUSED, "the model refused")
DIED = AttemptEnd(TaskOutcome.CHILD_DIED, "signal 9")


def asking(prompt: str = "do it", **settings: object) -> TaskRequest:
    return TaskRequest(prompt, "/srv", **settings)  # type: ignore[arg-type]


async def submit(engine: Engine, task_id: str, prompt: str = "do it", **settings: object) -> TaskRecord:
    record, existed = await engine.submit(task_id, asking(prompt, **settings))
    assert not existed
    return record


async def claim(engine: Engine, worker: Worker = ALICE, **settings: object) -> Claim:
    found = await engine.claim(worker, lease_s=30, **settings)  # type: ignore[arg-type]
    assert found is not None
    return found


async def nothing_to_claim(engine: Engine, worker: Worker = ALICE, **settings: object) -> bool:
    return await engine.claim(worker, lease_s=30, **settings) is None  # type: ignore[arg-type]


async def events_of(engine: Engine, task_id: str, after_seq: int = 0) -> list[str]:
    page = await engine.events(task_id, after_seq)
    return [f"{event.seq} {event.event.kind} {event.event.text}".rstrip() for event in page.events]


# Submitting


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


# Scheduling


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


# Leases and tokens


async def test_a_claim_names_its_worker_and_counts_the_attempt(engine: Engine, clock: TurningClock) -> None:
    await submit(engine, "T-1", timeout_s=100)
    clock.turn(7)
    found = await claim(engine)
    status = (await engine.get("T-1")).status
    assert (status.state, status.attempt, status.token) == (TaskState.RUNNING, 1, found.token)
    assert status.lease is not None
    assert status.lease.worker == ALICE
    assert status.started_ns is not None
    assert status.started_ns - status.submitted_ns == 7_000_000_000
    assert status.deadline_ns == status.started_ns + 100_000_000_000


async def test_a_renewed_lease_does_not_expire(engine: Engine, clock: TurningClock) -> None:
    await submit(engine, "T-1")
    found = await claim(engine)
    for _ in range(3):
        clock.turn(20)
        await engine.renew(found, lease_s=30)
        assert await engine.reclaim() == []
    clock.turn(31)
    assert [record.id for record in await engine.reclaim()] == ["T-1"]


async def test_an_expired_lease_gives_the_task_back_and_the_late_worker_is_refused(
    engine: Engine, clock: TurningClock
) -> None:
    await submit(engine, "T-1")
    late = await claim(engine)
    await engine.note(late, Note(thread_id="th-1"))
    clock.turn(31)
    (back,) = await engine.reclaim()
    assert (back.state, back.status.deaths, back.status.failures) == (TaskState.PENDING, 1, 0)
    found = await claim(engine, BOB)
    assert found.token > late.token
    assert (found.record.status.thread_id, found.record.status.thread_worker) == ("th-1", "alice")
    before = await engine.get("T-1")
    for call in (
        engine.renew(late, lease_s=30),
        engine.note(late, Note(progress="late"), [NewEvent(EventKind.ITEM, item=b"x")]),
        engine.finish(late, COMPLETED),
        engine.give_back(late, "late"),
    ):
        with pytest.raises(LeaseLost):
            await call
    assert await engine.get("T-1") == before
    assert (await engine.finish(found, COMPLETED)).state is TaskState.DONE


async def test_a_late_worker_whose_lease_was_not_taken_goes_on(engine: Engine, clock: TurningClock) -> None:
    await submit(engine, "T-1")
    found = await claim(engine)
    clock.turn(31)
    await engine.renew(found, lease_s=30)
    assert await engine.reclaim() == []
    assert (await engine.finish(found, COMPLETED)).state is TaskState.DONE


async def test_the_next_run_of_a_worker_takes_its_tasks_over(opening: Opening) -> None:
    engine = await opening()
    for task_id in ("mine", "other"):
        await submit(engine, task_id)
    old = await claim(engine, ALICE)
    await claim(engine, BOB)
    await engine.note(old, Note(thread_id="th-1", instance="task-mine", turn_id="turn-1"))
    await engine.close()
    engine = await opening()
    (found,) = await engine.take_over(Worker("alice", "2"), lease_s=30)
    assert found.id == "mine"
    status = found.record.status
    assert (status.attempt, status.instance, status.turn_id) == (1, "task-mine", "turn-1")
    with pytest.raises(LeaseLost):
        await engine.renew(old, lease_s=30)
    assert await engine.take_over(Worker("alice", "2"), lease_s=30) == []
    assert (await engine.finish(found, COMPLETED)).state is TaskState.DONE


async def test_a_claim_whose_answer_was_lost_is_found_again(engine: Engine) -> None:
    for task_id in ("heard", "lost", "other"):
        await submit(engine, task_id)
    heard, lost = await claim(engine, ALICE), await claim(engine, ALICE)
    await claim(engine, BOB)
    assert await engine.take_over(ALICE, lease_s=30, known=["heard", "lost"]) == []
    (found,) = await engine.take_over(ALICE, lease_s=30, known=["heard"])
    assert (found.id, found.record.status.attempt) == ("lost", 1)
    with pytest.raises(LeaseLost):
        await engine.renew(lost, lease_s=30)
    await engine.renew(heard, lease_s=30)


async def test_a_heartbeat_is_an_event_and_a_time(engine: Engine, clock: TurningClock) -> None:
    await submit(engine, "T-1")
    found = await claim(engine)
    seq = (await engine.get("T-1")).last_seq
    clock.turn(10)
    await engine.renew(found, lease_s=30)
    assert await events_of(engine, "T-1", seq) == []
    await engine.renew(found, lease_s=30, heartbeat=True)
    status = (await engine.get("T-1")).status
    assert status.started_ns is not None
    assert status.heartbeat_ns == status.started_ns + 10_000_000_000
    assert await events_of(engine, "T-1", seq) == [f"{seq + 1} heartbeat"]


async def test_what_falls_due_is_known(engine: Engine, clock: TurningClock) -> None:
    assert await engine.next_due_s() is None
    await submit(engine, "T-1")
    assert await engine.next_due_s() is None
    found = await claim(engine)
    assert await engine.next_due_s() == pytest.approx(30, abs=0.01)
    await engine.finish(found, FAILED, delay_s=12)
    assert await engine.next_due_s() == pytest.approx(12, abs=0.01)
    clock.turn(13)
    assert await engine.next_due_s() is None


# Ends


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


# Cancelling and trying again


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


# Graphs


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


# Events, watching and waiting


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


# Lists, counts, pruning


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
