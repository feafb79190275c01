"""The pure rules, in any order: what holds after every one of them."""

from __future__ import annotations

from codex_control.errors import WrongState
from codex_supervisor.task import rules
from codex_supervisor.task.contract import LeaseLost
from codex_supervisor.task.records import (
    AttemptEnd,
    EventKind,
    Note,
    Policy,
    TaskOutcome,
    TaskRecord,
    TaskRequest,
    TaskState,
    TaskStatus,
    Worker,
)
from codex_supervisor.task.rules import NS, Change
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

POLICY = Policy(retries=1, max_deaths=3, timeout_s=200)
ALICE, ALICE_AGAIN, BOB = Worker("alice", "1"), Worker("alice", "2"), Worker("bob", "1")
ENDS = (EventKind.COMPLETE, EventKind.ERROR)


class OneTask(RuleBasedStateMachine):
    """A task with a parent, from its submission on."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ns = 1
        self.record = TaskRecord("T-1", 1, TaskRequest("do it", "/srv"), TaskStatus())
        self.ends = 0
        self.retries = 0
        self.tokens = {0}
        self.take(rules.submitted([("T-0", TaskStatus())], self.now_ns))

    def take(self, change: Change) -> None:
        before = self.record.status
        assert change.status.token >= before.token
        ends = [event for event in change.events if event.kind in ENDS]
        assert len(ends) == (change.status.state.ended and not before.state.ended)
        self.ends += len(ends)
        self.record = TaskRecord(self.record.id, 1, self.record.request, change.status)

    @property
    def status(self) -> TaskStatus:
        return self.record.status

    @rule(seconds=st.sampled_from([1, 10, 40, 150]))
    def pass_time(self, seconds: int) -> None:
        self.now_ns += seconds * NS

    @rule()
    def parent_done(self) -> None:
        self.take(rules.parent_ended(self.status, "T-0", TaskStatus(TaskState.DONE), self.now_ns))

    @rule()
    def parent_failed(self) -> None:
        failed = TaskStatus(TaskState.ERROR, TaskOutcome.FAILED, "why")
        self.take(rules.parent_ended(self.status, "T-0", failed, self.now_ns))

    @precondition(lambda self: rules.claimable(self.status, self.now_ns))
    @rule(worker=st.sampled_from([ALICE, BOB]))
    def claim(self, worker: Worker) -> None:
        self.take(rules.claimed(self.record, worker, 30, POLICY, self.now_ns))
        assert self.status.state in (TaskState.RUNNING, TaskState.TIMEOUT)
        if self.status.state is TaskState.RUNNING:
            assert self.status.token not in self.tokens
            self.tokens.add(self.status.token)

    @precondition(lambda self: not rules.claimable(self.status, self.now_ns))
    @rule()
    def claim_too_early(self) -> None:
        refused(lambda: rules.claimed(self.record, BOB, 30, POLICY, self.now_ns), WrongState)

    @precondition(lambda self: self.status.state is TaskState.RUNNING)
    @rule(
        what=st.sampled_from(["renew", "note", "finish", "give back"]),
        outcome=st.sampled_from(TaskOutcome),
        delay_s=st.sampled_from([0, 20]),
        stale=st.booleans(),
    )
    def worker_writes(self, what: str, outcome: TaskOutcome, delay_s: float, stale: bool) -> None:
        token = self.status.token - 1 if stale else self.status.token

        def write() -> Change:
            match what:
                case "renew":
                    return rules.renewed(self.record, token, 30, True, self.now_ns)
                case "note":
                    return rules.noted(self.record, token, Note(progress="works", deaths=1))
                case "finish":
                    end = AttemptEnd(outcome, "why")
                    return rules.finished(self.record, token, end, delay_s, POLICY, self.now_ns)
                case _:
                    return rules.given_back(self.record, token, "no room", delay_s, self.now_ns)

        if stale:
            refused(write, LeaseLost)
        else:
            self.take(write())

    @precondition(lambda self: self.status.state is not TaskState.RUNNING)
    @rule()
    def late_worker_writes(self) -> None:
        refused(lambda: rules.renewed(self.record, self.status.token, 30, False, self.now_ns), LeaseLost)
        end = AttemptEnd(TaskOutcome.COMPLETED)
        refused(lambda: rules.finished(self.record, self.status.token, end, 0, POLICY, self.now_ns), LeaseLost)

    @precondition(lambda self: self.status.lease is not None and self.status.lease.expires_ns <= self.now_ns)
    @rule()
    def reclaim(self) -> None:
        self.take(rules.expired(self.record, 0, POLICY, self.now_ns))

    @precondition(lambda self: self.status.lease is not None and self.status.lease.worker == ALICE)
    @rule()
    def take_over(self) -> None:
        attempt = self.status.attempt
        self.take(rules.taken_over(self.record, ALICE_AGAIN, 30, self.now_ns))
        assert self.status.attempt == attempt
        self.tokens.add(self.status.token)

    @rule()
    def cancel(self) -> None:
        self.take(rules.cancelled(self.record, "", self.now_ns))

    @precondition(lambda self: self.status.state in (TaskState.ERROR, TaskState.TIMEOUT))
    @rule()
    def retry(self) -> None:
        self.take(rules.retried(self.record, []))
        self.retries += 1
        assert self.status.state is TaskState.PENDING

    @invariant()
    def it_makes_sense(self) -> None:
        status = self.status
        assert (status.lease is not None) == (status.state is TaskState.RUNNING)
        assert (status.ended_ns is not None) == status.state.ended == (status.outcome is not None)
        assert status.outcome is None or status.outcome.state is status.state
        assert not status.blocked_by or status.state is TaskState.PENDING
        assert 0 <= status.attempt <= status.token
        assert status.failures <= POLICY.retries + 1
        assert self.ends == self.retries + status.state.ended
        assert bool(status.error) or status.state not in (TaskState.ERROR, TaskState.TIMEOUT)


def refused(call: object, error: type[Exception]) -> None:
    try:
        call()  # type: ignore[operator]
    except error:
        return
    raise AssertionError(f"not refused with {error.__name__}")


TestOneTask = OneTask.TestCase
TestOneTask.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


@given(st.integers(0, 10_000), st.floats(0, 1, exclude_max=True))
def test_the_back_off_grows_to_its_limit(failures: int, fraction: float) -> None:
    delay_s = rules.retry_delay_s(failures, POLICY, fraction)
    assert 0 <= delay_s <= min(POLICY.backoff_cap_s, POLICY.backoff_base_s * 2.0 ** min(failures, 30))


def test_an_error_without_end_is_cut() -> None:
    record = TaskRecord("T-1", 1, TaskRequest("do it", "/srv"), rules.submitted([], 1).status)
    record = TaskRecord("T-1", 1, record.request, rules.claimed(record, ALICE, 30, POLICY, 2).status)
    end = AttemptEnd(TaskOutcome.REFUSED, "x" * 100_000)
    assert len(rules.finished(record, 1, end, 0, POLICY, 3).status.error) == rules.MAX_ERROR_CHARS
