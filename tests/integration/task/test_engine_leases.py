"""What every engine promises of leases and their tokens."""

from __future__ import annotations

import pytest
from codex_supervisor.task.contract import Engine, LeaseLost
from codex_supervisor.task.records import EventKind, NewEvent, Note, TaskState, Worker

from tests.integration.task.conftest import Opening
from tests.integration.task.engine_calls import ALICE, BOB, COMPLETED, FAILED, claim, events_of, submit
from tests.support.turning_clock import TurningClock


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
