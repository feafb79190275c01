"""From the end of a turn to the end of an attempt; what the next one is told."""

from __future__ import annotations

import pytest
from codex_supervisor.store.records import Cause, Outcome, TaskLink, TurnRecord, TurnRequest
from codex_supervisor.task.attempt import instance_name
from codex_supervisor.task.attempt_end import Reason, outcome_of, prompt_of, stall_sentence
from codex_supervisor.task.heartbeat import Life
from codex_supervisor.task.records import TaskOutcome, TaskRecord, TaskRequest, TaskStatus


def turn(outcome: Outcome, cause: Cause | None = None) -> TurnRecord:
    return TurnRecord("t", "r", "i", TurnRequest("p"), 1, outcome=outcome, cause=cause, error="why", ended_ns=2)


@pytest.mark.parametrize(
    ("outcome", "cause", "expected"),
    [
        (Outcome.COMPLETED, None, TaskOutcome.COMPLETED),
        (Outcome.CANCELLED, Cause.USER, TaskOutcome.CANCELLED),
        (Outcome.INTERRUPTED, Cause.CHILD_DIED, TaskOutcome.CHILD_DIED),
        (Outcome.FAILED, Cause.QUOTA, TaskOutcome.QUOTA),
        (Outcome.FAILED, Cause.AUTH, TaskOutcome.AUTH),
        (Outcome.FAILED, Cause.SUPERVISOR_LOST, TaskOutcome.WORKER_LOST),
        (Outcome.FAILED, Cause.STALLED, TaskOutcome.STALLED),
        (Outcome.FAILED, Cause.TIMED_OUT, TaskOutcome.FAILED),
        (Outcome.FAILED, None, TaskOutcome.FAILED),
    ],
)
def test_outcome_of_a_turn(outcome: Outcome, cause: Cause | None, expected: TaskOutcome) -> None:
    assert outcome_of(turn(outcome, cause), None, "")[0] is expected


@pytest.mark.parametrize("reason", Reason)
def test_what_we_asked_for_counts_unless_it_was_done_before(reason: Reason) -> None:
    cut = turn(Outcome.FAILED, reason.cause)
    assert outcome_of(cut, reason, "because") == (reason.outcome, "because")
    assert outcome_of(turn(Outcome.COMPLETED), reason, "because") == (TaskOutcome.COMPLETED, "")


def test_alive_but_not_moving_is_told_apart_from_dead() -> None:
    assert stall_sentence(Life.STILL, 60.2, "x") == (
        Reason.STALLED,
        "it gave no sign of life for 60 s: its child lives, but nothing comes from Codex",
    )
    assert stall_sentence(Life.DEAD, 61, "Codex ended: killed") == (
        Reason.DEAD,
        "it had no living child for 61 s: Codex ended: killed",
    )


def task(**status: object) -> TaskRecord:
    return TaskRecord("T", 1, TaskRequest("port it", "/w"), TaskStatus(**status))  # type: ignore[arg-type]


def test_a_first_attempt_gets_the_prompt_as_it_is() -> None:
    assert prompt_of(task(), "here", 100) == ("port it", False, "")


def test_a_later_one_goes_on_with_the_thread() -> None:
    prompt, goes_on, notice = prompt_of(task(thread_id="t", thread_worker="here", error="it stalled"), "here", 1000)
    assert goes_on
    assert not notice
    assert "(it stalled)" in prompt
    assert prompt.endswith("port it")
    assert prompt_of(task(thread_id="t", thread_worker="here"), "here", 20) == ("port it", True, "")


def test_on_another_machine_it_starts_anew_and_says_so() -> None:
    prompt, goes_on, notice = prompt_of(task(thread_id="t", thread_worker="there"), "here", 1000)
    assert (prompt, goes_on) == ("port it", False)
    assert "there" in notice


def test_names_of_instances() -> None:
    assert instance_name(TaskLink("T-1", 3)) == "task-T-1-3"
    long = instance_name(TaskLink("x" * 64, 123456789))
    assert len(long) <= 64
    assert long != instance_name(TaskLink("x" * 63 + "y", 123456789))
