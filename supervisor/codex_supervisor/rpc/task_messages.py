"""Tasks and their events between the engine's records and the API's messages. Pure."""

from __future__ import annotations

from typing import assert_never

from codex_control.errors import BadInput
from codex_control.v1 import tasks_pb2, turns_pb2

from codex_supervisor.task.records import (
    DEFAULT_QUEUE,
    EventKind,
    TaskEvent,
    TaskRecord,
    TaskRequest,
    TaskResult,
    TaskState,
)
from codex_supervisor.turn.messages import duration, timestamp, usage_message

_STATES = {tasks_pb2.TaskState.Value(f"TASK_STATE_{state}"): state for state in TaskState}


def state_record(number: tasks_pb2.TaskState) -> TaskState:
    """Return the state that a client named; raise `BadInput` for one that we do not know."""
    if number not in _STATES:
        raise BadInput(
            what=f"{number} is not a state of a task",
            why=f"known are {', '.join(TaskState)}",
            next_step="send one of those",
        )
    return _STATES[number]


def request_record(spec: tasks_pb2.TaskSpec) -> TaskRequest:
    """Return what a client asked for, unchecked."""
    return TaskRequest(
        prompt=spec.prompt,
        cwd=spec.cwd,
        priority=spec.priority,
        timeout_s=spec.timeout.ToNanoseconds() / 1e9 if spec.HasField("timeout") else None,
        retries=spec.retries if spec.HasField("retries") else None,
        after=tuple(spec.after),
        profile=spec.profile,
        worktree=spec.worktree,
        output_schema=spec.output_schema,
        queue=spec.queue or DEFAULT_QUEUE,
        labels=tuple(spec.labels),
        state_dir=spec.state_dir,
    )


def task_message(record: TaskRecord) -> tasks_pb2.Task:
    """Return the record of a task as a message."""
    status = record.status
    return tasks_pb2.Task(
        id=record.id,
        spec=_spec(record.request),
        state=f"TASK_STATE_{status.state}",
        outcome=f"TASK_OUTCOME_{status.outcome.name if status.outcome else 'UNSPECIFIED'}",
        error=status.error,
        waits_for=status.waits_for,
        progress=status.progress,
        thread_id=status.thread_id,
        attempt=status.attempt,
        failures=status.failures,
        deaths=status.deaths,
        worker=status.lease.worker.name if status.lease else "",
        lease_expires_at=timestamp(status.lease.expires_ns) if status.lease else None,
        cancel_requested=status.cancel_reason is not None,
        submitted_at=timestamp(status.submitted_ns),
        started_at=timestamp(status.started_ns) if status.started_ns is not None else None,
        last_heartbeat_at=timestamp(status.heartbeat_ns) if status.heartbeat_ns is not None else None,
        ended_at=timestamp(status.ended_ns) if status.ended_ns is not None else None,
        not_before=timestamp(status.not_before_ns) if status.not_before_ns else None,
        result=_result(status.result),
        last_seq=record.last_seq,
        state_file=status.state_file,
        state_file_error=status.state_file_error,
    )


def _spec(request: TaskRequest) -> tasks_pb2.TaskSpec:
    return tasks_pb2.TaskSpec(
        prompt=request.prompt,
        cwd=request.cwd,
        priority=request.priority,
        timeout=duration(request.timeout_s),
        retries=request.retries,
        after=request.after,
        profile=request.profile,
        worktree=request.worktree,
        output_schema=request.output_schema,
        queue=request.queue,
        labels=request.labels,
        state_dir=request.state_dir,
    )


def _result(result: TaskResult) -> tasks_pb2.TaskResult:
    return tasks_pb2.TaskResult(
        answer=result.answer,
        files_changed=result.files_changed,
        tests_run=result.tests_run,
        tests_passed=result.tests_passed,
        summary=result.summary,
        usage=usage_message(result.usage),
        diff_path=result.diff_path,
        branch=result.branch,
        worktree=result.worktree,
    )


def event_message(task_id: str, event: TaskEvent, record: TaskRecord | None = None) -> tasks_pb2.TaskEvent:
    """Return an event of a task.

    Give the task's `record` with the event of an end. Where the task has been retried since, the event says how it
    ended then, and the task in it has no `last_seq`.
    """
    message = tasks_pb2.TaskEvent(task_id=task_id, seq=event.seq, at=timestamp(event.at_ns), attempt=event.attempt)
    happened = event.event
    match happened.kind:
        case EventKind.CHANGED:
            state = f"TASK_STATE_{happened.state or 'UNSPECIFIED'}"
            message.changed.CopyFrom(tasks_pb2.TaskChanged(state=state, message=happened.text))
        case EventKind.HEARTBEAT:
            message.heartbeat.SetInParent()
        case EventKind.PROGRESS:
            message.progress.text = happened.text
        case EventKind.ITEM:
            message.item.event.CopyFrom(turns_pb2.TurnEvent.FromString(happened.item))
        case EventKind.COMPLETE:
            message.complete.task.CopyFrom(_ended_task(task_id, event, record))
        case EventKind.ERROR:
            message.error.task.CopyFrom(_ended_task(task_id, event, record))
        case _:
            assert_never(happened.kind)
    return message


def _ended_task(task_id: str, event: TaskEvent, record: TaskRecord | None) -> tasks_pb2.Task:
    if record is not None and record.last_seq == event.seq:
        return task_message(record)
    happened = event.event
    return tasks_pb2.Task(
        id=task_id,
        state=f"TASK_STATE_{happened.state or 'UNSPECIFIED'}",
        outcome=f"TASK_OUTCOME_{happened.outcome.name if happened.outcome else 'UNSPECIFIED'}",
        error=happened.text,
        attempt=event.attempt,
        ended_at=timestamp(event.at_ns),
    )


def gap_message(task_id: str, after_seq: int, dropped_to: int) -> tasks_pb2.TaskEvent:
    """Return the event that stands for those from past `after_seq` to `dropped_to`, in the place of the last."""
    return tasks_pb2.TaskEvent(
        task_id=task_id,
        seq=dropped_to,
        dropped=turns_pb2.EventsDropped(
            count=dropped_to - after_seq, reason="the task went over its limit of recorded events"
        ),
    )
