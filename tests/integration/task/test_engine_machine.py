"""Any order of calls to an engine, held against a small model of what must come out."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import psycopg
import pytest
from codex_control.errors import NotFound, WrongState
from codex_supervisor.task.contract import Engine, IdTaken, LeaseLost
from codex_supervisor.task.postgresql_engine import PostgresqlEngine
from codex_supervisor.task.records import (
    AttemptEnd,
    Claim,
    EventKind,
    NewEvent,
    Note,
    Policy,
    TaskOutcome,
    TaskRequest,
    TaskState,
    Worker,
)
from codex_supervisor.task.sqlite_engine import SqliteEngine
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, multiple, rule, run_state_machine_as_test

from tests.support.postgresql import ServerClock, schema_of_its_own
from tests.support.turning_clock import TurningClock

T = TypeVar("T")

POLICY = Policy(retries=1, max_deaths=2)
LEASE_S = 30
WORKERS = ("alice", "bob")
RETRIED = (TaskOutcome.FAILED, TaskOutcome.STALLED)
FINAL = (TaskOutcome.REFUSED, TaskOutcome.SETUP)


@dataclass
class Expected:
    """What a task must look like."""

    number: int
    request: TaskRequest
    state: TaskState = TaskState.PENDING
    outcome: TaskOutcome | None = None
    blocked_by: set[str] = field(default_factory=set)
    due_s: float = 0
    lease_end_s: float = 0
    worker: str = ""
    token: int = 0
    failures: int = 0
    deaths: int = 0
    cancelled: bool = False
    ends: int = 0


class Machine(RuleBasedStateMachine):
    """One engine through restarts, and what is expected of it."""

    claims: Bundle[Claim] = Bundle("claims")

    def __init__(self, opening: Callable[[TurningClock], Awaitable[Engine]], clock: TurningClock) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.opening = opening
        self.clock = clock
        self.tasks: dict[str, Expected] = {}
        self.submitted = 0
        self.run = 1
        self.now_s = 0.0
        self.engine = self.do(opening(clock))

    def do(self, call: Awaitable[T]) -> T:
        async def run() -> T:
            return await call

        return self.runner.run(run())

    def teardown(self) -> None:
        for task_id, task in self.tasks.items():
            page = self.do(self.engine.events(task_id, 0, limit=10_000))
            assert [event.seq for event in page.events] == list(range(1, page.last_seq + 1))
            ends = [event for event in page.events if event.event.kind in (EventKind.COMPLETE, EventKind.ERROR)]
            assert len(ends) == task.ends
        self.do(self.engine.close())
        self.runner.close()

    # What is done

    @rule(data=st.data(), priority=st.sampled_from([-1, 0, 0, 1]), retries=st.sampled_from([None, 0, 2]))
    def submit(self, data: st.DataObject, priority: int, retries: int | None) -> None:
        parents = (
            data.draw(st.lists(st.sampled_from(sorted(self.tasks)), max_size=2, unique=True)) if self.tasks else []
        )
        self.submitted += 1
        task_id = f"T-{self.submitted}"
        request = TaskRequest("do it", "/srv", priority=priority, retries=retries, after=tuple(parents))
        self.do(self.engine.submit(task_id, request))
        task = self.tasks[task_id] = Expected(self.submitted, request)
        states = {name: self.tasks[name].state for name in parents}
        task.blocked_by = {name for name, state in states.items() if not state.ended}
        if any(state.ended and state is not TaskState.DONE for state in states.values()):
            self.end(task_id, TaskOutcome.PARENT_FAILED)

    @rule(data=st.data())
    def submit_again(self, data: st.DataObject) -> None:
        task_id = self.some_task(data)
        if task_id is None:
            return
        record, existed = self.do(self.engine.submit(task_id, self.tasks[task_id].request))
        assert existed
        assert record.number > 0
        with pytest.raises(IdTaken):
            self.do(self.engine.submit(task_id, TaskRequest("something else", "/srv")))

    @rule(target=claims, worker=st.sampled_from(WORKERS))
    def claim(self, worker: str) -> Any:
        claim = self.do(self.engine.claim(Worker(worker, str(self.run)), lease_s=LEASE_S))
        ready = [
            (-task.request.priority, task.number, task_id)
            for task_id, task in self.tasks.items()
            if task.state is TaskState.PENDING and not task.blocked_by and task.due_s <= self.now_s
        ]
        if not ready:
            assert claim is None
            return multiple()
        assert claim is not None
        assert claim.id == min(ready)[2]
        task = self.tasks[claim.id]
        assert claim.token > task.token
        task.state, task.token, task.worker = TaskState.RUNNING, claim.token, worker
        task.lease_end_s = self.now_s + LEASE_S
        return claim

    @rule(
        claim=claims,
        outcome=st.sampled_from((TaskOutcome.COMPLETED, TaskOutcome.CHILD_DIED, *RETRIED, *FINAL)),
        delay_s=st.sampled_from([0, 10]),
    )
    def finish(self, claim: Claim, outcome: TaskOutcome, delay_s: int) -> None:
        call = self.engine.finish(claim, AttemptEnd(outcome, "why"), delay_s=delay_s)
        if self.refused(claim, call):
            return
        self.attempt_over(claim.id, outcome, delay_s)

    @rule(claim=claims)
    def renew(self, claim: Claim) -> None:
        if not self.refused(claim, self.engine.renew(claim, lease_s=LEASE_S, heartbeat=True)):
            self.tasks[claim.id].lease_end_s = self.now_s + LEASE_S

    @rule(claim=claims, seq=st.integers(1, 5))
    def note(self, claim: Claim, seq: int) -> None:
        events = [NewEvent(EventKind.ITEM, str(number), turn_seq=number) for number in range(1, seq + 1)]
        self.refused(claim, self.engine.note(claim, Note(progress=f"step {seq}"), events))

    @rule(claim=claims, delay_s=st.sampled_from([0, 10]))
    def give_back(self, claim: Claim, delay_s: int) -> None:
        if self.refused(claim, self.engine.give_back(claim, "no room", delay_s=delay_s)):
            return
        task = self.tasks[claim.id]
        if task.cancelled:
            self.end(claim.id, TaskOutcome.CANCELLED)
        else:
            task.state, task.due_s = TaskState.PENDING, self.now_s + delay_s

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        task_id = self.some_task(data)
        if task_id is None:
            return
        self.do(self.engine.cancel(task_id))
        task = self.tasks[task_id]
        if task.state is TaskState.PENDING:
            self.end(task_id, TaskOutcome.CANCELLED)
        elif task.state is TaskState.RUNNING:
            task.cancelled = True

    @rule(data=st.data())
    def retry(self, data: st.DataObject) -> None:
        task_id = self.some_task(data)
        if task_id is None:
            return
        task = self.tasks[task_id]
        parents = {name: self.tasks[name].state for name in task.request.after if name in self.tasks}
        failed = any(state.ended and state is not TaskState.DONE for state in parents.values())
        if not task.state.ended or task.state is TaskState.DONE or failed:
            with pytest.raises(WrongState):
                self.do(self.engine.retry(task_id))
            return
        self.do(self.engine.retry(task_id))
        task.state, task.outcome, task.cancelled = TaskState.PENDING, None, False
        task.failures = task.deaths = 0
        task.due_s = 0
        task.blocked_by = {name for name, state in parents.items() if not state.ended}

    @rule(data=st.data())
    def prune(self, data: st.DataObject) -> None:
        task_id = self.some_task(data)
        if task_id is None:
            return
        if not self.tasks[task_id].state.ended:
            with pytest.raises(WrongState):
                self.do(self.engine.prune(task_ids=[task_id]))
            return
        assert self.do(self.engine.prune(task_ids=[task_id])) == 1
        del self.tasks[task_id]
        with pytest.raises(NotFound):
            self.do(self.engine.get(task_id))

    @rule(seconds=st.sampled_from([1, 10, 20, 31]))
    def pass_time(self, seconds: int) -> None:
        self.clock.turn(seconds)
        self.now_s += seconds

    @rule()
    def reclaim(self) -> None:
        lost = {name for name, task in self.tasks.items() if self.expired(task)}
        assert {record.id for record in self.do(self.engine.reclaim())} == lost
        for task_id in lost:
            self.attempt_over(task_id, TaskOutcome.WORKER_LOST, 0)

    @rule(target=claims, worker=st.sampled_from(WORKERS))
    def restart(self, worker: str) -> Any:
        """The supervisor dies and comes back; one of its workers takes over what it had."""
        self.do(self.engine.close())
        self.engine = self.do(self.opening(self.clock))
        self.run += 1
        taken = self.do(self.engine.take_over(Worker(worker, str(self.run)), lease_s=LEASE_S))
        mine = {name for name, task in self.tasks.items() if task.state is TaskState.RUNNING and task.worker == worker}
        assert {claim.id for claim in taken} == mine
        for claim in taken:
            assert claim.token > self.tasks[claim.id].token
            self.tasks[claim.id].token = claim.token
            self.tasks[claim.id].lease_end_s = self.now_s + LEASE_S
        return multiple(*taken)

    # What must be

    @invariant()
    def all_is_as_expected(self) -> None:
        records = self.do(self.engine.get_many(list(self.tasks)))
        found = {
            record.id: (
                record.state,
                record.status.outcome,
                set(record.status.blocked_by),
                record.status.failures,
                record.status.deaths,
            )
            for record in records
        }
        assert found == {
            task_id: (task.state, task.outcome, task.blocked_by, task.failures, task.deaths)
            for task_id, task in self.tasks.items()
        }
        assert sum(self.do(self.engine.counts()).values()) == len(self.tasks)

    def some_task(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from(sorted(self.tasks))) if self.tasks else None

    def expired(self, task: Expected) -> bool:
        return task.state is TaskState.RUNNING and task.lease_end_s <= self.now_s

    def refused(self, claim: Claim, call: Awaitable[object]) -> bool:
        """Make the call; return whether it had to be, and was, refused."""
        task = self.tasks.get(claim.id)
        if task is not None and task.state is TaskState.RUNNING and task.token == claim.token:
            self.do(call)
            return False
        before = self.do(self.engine.get(claim.id)) if task else None
        with pytest.raises(LeaseLost):
            self.do(call)
        assert before is None or self.do(self.engine.get(claim.id)) == before
        return True

    def attempt_over(self, task_id: str, outcome: TaskOutcome, delay_s: int) -> None:
        task = self.tasks[task_id]
        retries = POLICY.retries if task.request.retries is None else task.request.retries
        if outcome is TaskOutcome.COMPLETED:
            return self.end(task_id, outcome)
        if task.cancelled:
            return self.end(task_id, TaskOutcome.CANCELLED)
        if outcome in FINAL:
            return self.end(task_id, outcome)
        if outcome in RETRIED:
            task.failures += 1
            if task.failures > retries:
                return self.end(task_id, outcome)
        else:
            task.deaths += 1
            if task.deaths >= POLICY.max_deaths:
                return self.end(task_id, outcome)
        task.state, task.due_s = TaskState.PENDING, self.now_s + delay_s
        return None

    def end(self, task_id: str, outcome: TaskOutcome) -> None:
        task = self.tasks[task_id]
        assert not task.state.ended
        task.state, task.outcome, task.blocked_by = outcome.state, outcome, set()
        task.ends += 1
        for name, child in self.tasks.items():
            if task_id in child.blocked_by:
                if task.state is TaskState.DONE:
                    child.blocked_by.discard(task_id)
                else:
                    self.end(name, TaskOutcome.PARENT_FAILED)


def checked(machine: Callable[[], Machine], examples: int) -> None:
    run_state_machine_as_test(
        machine,  # type: ignore[arg-type] # takes a function too, and says so
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
        ),
    )


def test_the_embedded_engine_keeps_the_contract() -> None:
    with tempfile.TemporaryDirectory() as directory:
        number = 0

        def machine() -> Machine:
            nonlocal number
            number += 1
            path = Path(directory, "state", f"{number}.db")
            return Machine(lambda clock: SqliteEngine.open(path, clock=clock, policy=POLICY), TurningClock())

        checked(machine, 40)


def test_the_engine_on_postgresql_keeps_the_contract(postgresql_dsn: str) -> None:
    with schema_of_its_own(postgresql_dsn) as schema:
        clock = ServerClock(postgresql_dsn, schema)

        def machine() -> Machine:
            with psycopg.connect(postgresql_dsn) as connection:
                if connection.execute("SELECT to_regclass(%s)", (f"{schema}.tasks",)).fetchone() != (None,):
                    connection.execute(
                        f"TRUNCATE {schema}.tasks, {schema}.waits, {schema}.events, {schema}.procrastinate_jobs CASCADE"
                    )
            return Machine(lambda _clock: PostgresqlEngine.open(postgresql_dsn, policy=POLICY, schema=schema), clock)

        try:
            checked(machine, 15)
        finally:
            clock.close()
