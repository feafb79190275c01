"""Tasks as lines for people, and as exit codes."""

from __future__ import annotations

import pytest
from codex_control.errors import Exit
from codex_control.v1.tasks_pb2 import (
    CountTasksResponse,
    Task,
    TaskOutcome,
    TaskSpec,
    TaskState,
    TaskStateCount,
)
from codexctl.task_table import (
    HEADINGS,
    counts_line,
    ended_text,
    exit_code,
    facts,
    has_ended,
    outcome_name,
    row,
    standing,
    worst_exit,
)


def task(state: str, outcome: str = "UNSPECIFIED", **more: object) -> Task:
    made = Task(id="T-1", state=f"TASK_STATE_{state}", outcome=f"TASK_OUTCOME_{outcome}", **more)  # type: ignore[arg-type]
    made.started_at.FromSeconds(100)
    if has_ended(made):
        made.ended_at.FromMilliseconds(102_500)
    return made


@pytest.mark.parametrize(
    ("made", "code", "shown"),
    [
        (task("PENDING"), Exit.NOT_ENDED, "PENDING"),
        (task("RUNNING"), Exit.NOT_ENDED, "RUNNING"),
        (task("RUNNING", cancel_requested=True), Exit.NOT_ENDED, "RUNNING (stopping)"),
        (task("DONE", "COMPLETED", cancel_requested=True), Exit.OK, "DONE"),
        (task("ERROR", "CHILD_DIED"), Exit.FAILED, "ERROR (child died)"),
        (task("ERROR", "LIMIT"), Exit.FAILED, "ERROR (limit)"),
        (task("ERROR", "CANCELLED"), Exit.CANCELLED, "ERROR (cancelled)"),
        (task("TIMEOUT", "TIMED_OUT"), Exit.TIMED_OUT, "TIMEOUT"),
    ],
)
def test_where_it_stands(made: Task, code: Exit, shown: str) -> None:
    assert (exit_code(made), standing(made)) == (code, shown)
    assert len(row(made)) == len(HEADINGS)


def test_every_outcome_has_words_and_every_state_a_code() -> None:
    assert all(outcome_name(Task(outcome=name)) for name in TaskOutcome.DESCRIPTOR.values_by_name)
    assert all(isinstance(exit_code(Task(state=name)), Exit) for name in TaskState.keys()[1:])


@pytest.mark.parametrize(
    ("states", "worst"),
    [
        (["DONE"], Exit.OK),
        (["DONE", "TIMEOUT"], Exit.TIMED_OUT),
        (["TIMEOUT", "ERROR", "DONE"], Exit.FAILED),
        ([], Exit.OK),
    ],
)
def test_the_worst_of_several_counts(states: list[str], worst: Exit) -> None:
    assert worst_exit(task(state) for state in states) is worst


def test_an_end_says_what_came_of_it() -> None:
    made = task("ERROR", "REFUSED", error="because\n\x1b[31m")
    made.result.files_changed.extend(["a", "b"])
    made.result.tests_run, made.result.tests_passed = 5, 4
    made.result.branch = "codex/T-1"
    shown = ended_text(made)
    assert shown == "ERROR (refused) in 2.5 s · 2 files changed · tests: 4 of 5 passed · branch codex/T-1: because"


def test_facts_leave_out_what_is_not_known() -> None:
    bare = dict(facts(Task(id="T-1", state="TASK_STATE_PENDING", spec=TaskSpec(cwd="/w"))))
    assert bare == {"task": "T-1", "state": "PENDING", "directory": "/w", "waits for": "a free worker"}
    routed = Task(id="T-1", state="TASK_STATE_PENDING", spec=TaskSpec(queue="night", labels=["gpu", "x86"]))
    assert dict(facts(routed))["waits for"] == "a free worker of queue night with gpu, x86"
    waiting = Task(id="T-1", state="TASK_STATE_PENDING", waits_for="waits for task T-0")
    assert dict(facts(waiting))["waits for"] == "task T-0"
    made = task("RUNNING", attempt=3, failures=1, deaths=1)
    assert dict(facts(made))["attempt"] == "3 (1 failed, 1 died)"
    assert dict(facts(made))["lease"] == "expired"
    made.result.files_changed.extend(f"f{number}" for number in range(30))
    assert list(facts(made))[-1] == ("changed", "… and 10 more")


def test_counts_are_those_of_all_queues() -> None:
    counts = CountTasksResponse(
        engine="sqlite",
        counts=[
            TaskStateCount(state="TASK_STATE_RUNNING", queue="a", count=1),
            TaskStateCount(state="TASK_STATE_RUNNING", queue="b", count=2),
            TaskStateCount(state="TASK_STATE_DONE", queue="a", count=4),
            TaskStateCount(state="TASK_STATE_ERROR", queue="a", count=1),
        ],
    )
    assert counts_line(counts) == "tasks: 3 running, 0 pending, 5 ended (sqlite)"
    assert counts_line(CountTasksResponse(engine="sqlite")) == ""
