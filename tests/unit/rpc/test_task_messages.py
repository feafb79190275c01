"""Tasks and their events as messages, and as lines."""

from __future__ import annotations

from typing import get_type_hints

import pytest
from codex_control.errors import BadInput
from codex_control.v1 import tasks_pb2, turns_pb2
from codex_supervisor.rpc.task_lines import event_lines
from codex_supervisor.rpc.task_messages import event_message, gap_message, request_record, state_record, task_message
from codex_supervisor.store.records import Usage
from codex_supervisor.task.records import (
    EventKind,
    Lease,
    NewEvent,
    TaskEvent,
    TaskOutcome,
    TaskRecord,
    TaskRequest,
    TaskResult,
    TaskState,
    TaskStatus,
    Worker,
)

REQUEST = TaskRequest(
    "do it",
    "/w",
    priority=-3,
    timeout_s=1.5,
    retries=0,
    after=("a",),
    profile="high",
    worktree=True,
    output_schema="{}",
    queue="night",
    labels=("gpu",),
    state_dir="/s",
)
STATUS = TaskStatus(
    state=TaskState.RUNNING,
    error="before",
    waits_for="w",
    not_before_ns=5,
    attempt=2,
    failures=1,
    deaths=1,
    lease=Lease(Worker("here", "run"), 6_000_000_007),
    cancel_reason="",
    submitted_ns=1,
    started_ns=2,
    heartbeat_ns=3,
    ended_ns=4,
    thread_id="th",
    progress="busy",
    state_file="/s/T-1.json",
    state_file_error="full",
    result=TaskResult("an", ("f",), 3, 2, "sum", Usage(1, 2, 3, 4, 5), "d", "b", "t"),
)


def event(kind: EventKind, seq: int = 4, **more: object) -> TaskEvent:
    return TaskEvent(seq, 9, 2, NewEvent(kind, **more))  # type: ignore[arg-type] # as NewEvent has it


def test_a_request_comes_back_as_it_was() -> None:
    message = task_message(TaskRecord("T-1", 1, REQUEST, STATUS))
    assert request_record(message.spec) == REQUEST
    # Each field of the specification says something here, so none is forgotten.
    assert {field.name for field, _ in message.spec.ListFields()} == {
        field.name for field in tasks_pb2.TaskSpec.DESCRIPTOR.fields
    }


def test_what_is_absent_stays_absent() -> None:
    bare = TaskRequest("x", "/w")
    assert request_record(task_message(TaskRecord("T-1", 1, bare, TaskStatus())).spec) == bare


def test_a_record_says_everything() -> None:
    message = task_message(TaskRecord("T-1", 1, REQUEST, STATUS, last_seq=7))
    said = {field.name for field, _ in message.ListFields()}
    # It runs: it has no outcome yet.
    assert {field.name for field in tasks_pb2.Task.DESCRIPTOR.fields} - said == {"outcome"}
    result = {field.name for field, _ in message.result.ListFields()}
    assert result == {field.name for field in tasks_pb2.TaskResult.DESCRIPTOR.fields}
    assert message.lease_expires_at.ToNanoseconds() == 6_000_000_007
    assert message.cancel_requested, "also without a reason"


@pytest.mark.parametrize("outcome", TaskOutcome)
def test_every_state_and_outcome_has_its_number(outcome: TaskOutcome) -> None:
    status = TaskStatus(state=outcome.state, outcome=outcome)
    message = task_message(TaskRecord("T-1", 1, REQUEST, status))
    assert tasks_pb2.TaskOutcome.Name(message.outcome) == f"TASK_OUTCOME_{outcome.name}"
    assert state_record(message.state) is outcome.state


def test_an_unknown_state_is_refused() -> None:
    for number in (tasks_pb2.TASK_STATE_UNSPECIFIED, 99):
        with pytest.raises(BadInput, match="is not a state of a task"):
            state_record(number)  # type: ignore[arg-type] # as a newer client may send it


def test_an_end_carries_the_record_unless_the_task_was_retried_since() -> None:
    ended = TaskStatus(state=TaskState.ERROR, outcome=TaskOutcome.REFUSED, error="no")
    record = TaskRecord("T-1", 1, REQUEST, ended, last_seq=4)
    told = event(EventKind.ERROR, text="no", state=TaskState.ERROR, outcome=TaskOutcome.REFUSED)
    assert event_message("T-1", told, record).error.task == task_message(record)
    later = TaskRecord("T-1", 1, REQUEST, TaskStatus(), last_seq=5)
    then = event_message("T-1", told, later).error.task
    assert (then.id, then.error, then.last_seq) == ("T-1", "no", 0)
    assert (then.state, then.outcome) == (tasks_pb2.TASK_STATE_ERROR, tasks_pb2.TASK_OUTCOME_REFUSED)


def test_every_kind_of_event_has_its_message() -> None:
    item = turns_pb2.TurnEvent(command=turns_pb2.CommandRun(command="make")).SerializeToString()
    kinds = {
        kind: event_message("T-1", event(kind, text="t", item=item, state=TaskState.RUNNING)).WhichOneof("event")
        for kind in EventKind
    }
    assert kinds == {kind: kind.value for kind in EventKind}
    assert get_type_hints(NewEvent)["kind"] is EventKind


def test_a_gap_stands_in_the_place_of_the_last_that_is_gone() -> None:
    message = gap_message("T-1", 3, 10)
    assert (message.seq, message.dropped.count) == (10, 7)
    assert [line[0] for line in event_lines(message)] == ["warning"]


@pytest.mark.parametrize(
    ("item", "lines"),
    [
        ({"text": turns_pb2.TextDelta(text="x")}, []),
        ({"command": turns_pb2.CommandRun(command="make", status="inProgress")}, [("command", "make")]),
        (
            {"command": turns_pb2.CommandRun(command="make", status="failed", output_tail="a\nb")},
            [("output", "a"), ("output", "b"), ("command", "make (failed)")],
        ),
        ({"file": turns_pb2.FileChange(path="a", kind="add", status="failed")}, [("file", "add a (failed)")]),
        (
            {"plan": turns_pb2.PlanUpdated(steps=[turns_pb2.PlanStep(text="look", status="pending")])},
            [("plan", "1. [pending] look")],
        ),
        (
            {"tool": turns_pb2.ToolActivity(kind="webSearch", subject="x", completed=True)},
            [("tool", "webSearch: x")],
        ),
        ({"warning": turns_pb2.Warning(message="low")}, [("warning", "low")]),
        (
            {"retry": turns_pb2.ProviderRetry(message="503", count=2)},
            [("warning", "the model provider failed, retry 2: 503")],
        ),
        (
            {"approval_resolved": turns_pb2.ApprovalResolved(by="policy", decision=turns_pb2.DECISION_DECLINE)},
            [("warning", "what Codex asked for was answered by policy: decline")],
        ),
        (
            {"recovery": turns_pb2.RecoveryReport(what_happened="it died", what_next="it goes on")},
            [("warning", "it died: it goes on")],
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_items_as_lines(item: dict[str, object], lines: list[tuple[str, str]]) -> None:
    told = turns_pb2.TurnEvent(**item)  # type: ignore[arg-type] # one of its fields
    message = tasks_pb2.TaskEvent(item=tasks_pb2.TaskItem(event=told))
    assert list(event_lines(message)) == lines
