"""Tasks as lines for people; all are safe for a terminal."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from codex_control.errors import Exit
from codex_control.safe_text import duration_text, one_line
from codex_control.v1.tasks_pb2 import (
    TASK_OUTCOME_CANCELLED,
    TASK_STATE_DONE,
    TASK_STATE_PENDING,
    TASK_STATE_RUNNING,
    TASK_STATE_TIMEOUT,
    CountTasksResponse,
    Task,
    TaskOutcome,
    TaskResult,
    TaskState,
)
from google.protobuf.timestamp_pb2 import Timestamp

from codexctl.turn_table import local_time

HEADINGS = ("TASK", "STATE", "ATTEMPT", "SUBMITTED", "TOOK", "NOW", "PROMPT")

EXPENDABLE = ("ATTEMPT", "SUBMITTED", "TOOK", "NOW")
"""What a narrow terminal goes without, first to last."""

# What is worst stands first: the exit code of a command that waited for several tasks.
_WORST_FIRST = (Exit.FAILED, Exit.TIMED_OUT, Exit.CANCELLED, Exit.NOT_ENDED, Exit.OK)

# `result` and `show` say all; a line names so many files.
_MOST_FILES = 20


def has_ended(task: Task) -> bool:
    """Whether it has its outcome."""
    return task.state not in (TASK_STATE_PENDING, TASK_STATE_RUNNING)


def state_name(state: TaskState) -> str:
    """The state as it is in state files: PENDING, RUNNING, DONE, ERROR, TIMEOUT."""
    return TaskState.Name(state).removeprefix("TASK_STATE_")


def outcome_name(task: Task) -> str:
    """The outcome in words: child died, parent failed."""
    return TaskOutcome.Name(task.outcome).removeprefix("TASK_OUTCOME_").lower().replace("_", " ")


def standing(task: Task) -> str:
    """The state, and behind ERROR the outcome; of a running task also that it was asked to stop."""
    name = state_name(task.state)
    if has_ended(task) and task.state not in (TASK_STATE_DONE, TASK_STATE_TIMEOUT):
        return f"{name} ({outcome_name(task)})"
    return f"{name} (stopping)" if task.cancel_requested and task.state == TASK_STATE_RUNNING else name


def exit_code(task: Task) -> Exit:
    """Exit code of a command that waited for `task`."""
    if not has_ended(task):
        return Exit.NOT_ENDED
    if task.state == TASK_STATE_DONE:
        return Exit.OK
    if task.state == TASK_STATE_TIMEOUT:
        return Exit.TIMED_OUT
    return Exit.CANCELLED if task.outcome == TASK_OUTCOME_CANCELLED else Exit.FAILED


def worst_exit(tasks: Iterable[Task]) -> Exit:
    """Exit code of a command that waited for all of `tasks`."""
    codes = {exit_code(task) for task in tasks}
    return next((code for code in _WORST_FIRST if code in codes), Exit.OK)


def doing(task: Task) -> str:
    """What it does, waits for, or failed with."""
    return task.progress if task.state == TASK_STATE_RUNNING else task.waits_for or task.error


def row(task: Task, width: int = 0) -> tuple[str, ...]:
    """One task under `HEADINGS`, for a terminal of `width` columns."""
    return (
        task.id,
        standing(task),
        str(task.attempt or ""),
        local_time(task.submitted_at.seconds),
        _took(task),
        one_line(doing(task), max(width // 5, 16) if 0 < width < 160 else 60),
        task.spec.prompt[:200],
    )


def ended_text(task: Task) -> str:
    """How it ended, with what came of it."""
    parts = [standing(task) + (f" in {took}" if (took := _took(task)) else "")]
    result = task.result
    if result.files_changed:
        number = len(result.files_changed)
        parts.append(f"{number} file{'' if number == 1 else 's'} changed")
    if tests := _tests(result):
        parts.append(f"tests: {tests}")
    if result.branch:
        parts.append(f"branch {one_line(result.branch)}")
    line = " · ".join(parts)
    return f"{line}: {one_line(task.error, 2000)}" if task.error else line


def facts(task: Task) -> Iterator[tuple[str, str]]:
    """Everything about one task but its prompt and answer, as label and value; what is empty is left out."""
    for label, value in _facts(task):
        if value:
            yield label, one_line(value, 500)
    for path in task.result.files_changed[:_MOST_FILES]:
        yield "changed", one_line(path, 500)
    if len(task.result.files_changed) > _MOST_FILES:
        yield "changed", f"… and {len(task.result.files_changed) - _MOST_FILES} more"


def _facts(task: Task) -> Iterator[tuple[str, str]]:
    spec, result = task.spec, task.result
    yield "task", task.id
    yield "state", standing(task)
    yield "error", task.error
    yield "waits for", _waits_for(task)
    yield "not before", _at(task.not_before)
    yield "progress", task.progress
    yield "attempt", _attempts(task)
    yield "worker", task.worker
    yield "heartbeat", _ago(task.last_heartbeat_at)
    yield "lease", _until(task) if task.state == TASK_STATE_RUNNING else ""
    yield "submitted", _at(task.submitted_at)
    yield "started", _at(task.started_at)
    yield "ended", _at(task.ended_at)
    yield "took", _took(task)
    yield "directory", spec.cwd
    yield "queue", spec.queue
    yield "labels", ", ".join(spec.labels)
    yield "priority", str(spec.priority) if spec.priority else ""
    yield "time limit", duration_text(spec.timeout.ToTimedelta().total_seconds()) if spec.HasField("timeout") else ""
    yield "retries", str(spec.retries) if spec.HasField("retries") else ""
    yield "after", ", ".join(spec.after)
    yield "profile", spec.profile
    yield "schema", "given" if spec.output_schema else ""
    yield "thread", task.thread_id
    yield "branch", result.branch
    yield "worktree", result.worktree
    yield "tests", _tests(result)
    yield "tokens", f"{result.usage.input:,} in, {result.usage.output:,} out" if result.usage.input else ""
    yield "diff", result.diff_path
    yield "state file", task.state_file
    yield "state file error", task.state_file_error


def _waits_for(task: Task) -> str:
    if task.state != TASK_STATE_PENDING or task.waits_for:
        return task.waits_for.removeprefix("waits for ")
    labels = ", ".join(task.spec.labels)
    queue = f" of queue {task.spec.queue}" if task.spec.queue not in ("", "default") else ""
    return f"a free worker{queue}{f' with {labels}' if labels else ''}"


def counts_line(counts: CountTasksResponse) -> str:
    """How many tasks run and wait, over all queues; empty where there has been none."""
    if not counts.counts:
        return ""
    of_state = dict.fromkeys(TaskState.values(), 0)
    for one in counts.counts:
        of_state[one.state] = of_state.get(one.state, 0) + one.count
    running, pending = of_state[TASK_STATE_RUNNING], of_state[TASK_STATE_PENDING]
    ended = sum(of_state.values()) - running - pending
    return f"tasks: {running} running, {pending} pending, {ended} ended ({counts.engine})"


def _attempts(task: Task) -> str:
    counted = [f"{task.failures} failed"] if task.failures else []
    counted += [f"{task.deaths} died"] if task.deaths else []
    return f"{task.attempt} ({', '.join(counted)})" if counted else str(task.attempt or "")


def _tests(result: TaskResult) -> str:
    if not result.HasField("tests_run"):
        return ""
    passed = f"{result.tests_passed} of " if result.HasField("tests_passed") else ""
    return f"{passed}{result.tests_run}{' passed' if passed else ' run'}"


def _took(task: Task) -> str:
    if not task.HasField("started_at"):
        return ""
    end_s = _seconds(task.ended_at) if task.HasField("ended_at") else _now_s()
    took_s = max(0.0, end_s - _seconds(task.started_at))
    return duration_text(took_s if task.HasField("ended_at") else int(took_s))


def _at(at: Timestamp) -> str:
    return local_time(at.seconds)


def _ago(at: Timestamp) -> str:
    """How long ago that was; a machine whose clock is ahead of ours was heard of just now."""
    return f"{duration_text(int(max(0.0, _now_s() - _seconds(at))))} ago" if at.seconds else ""


def _until(task: Task) -> str:
    left_s = int(_seconds(task.lease_expires_at) - _now_s())
    return f"for {duration_text(left_s)}" if left_s > 0 else "expired"


def _now_s() -> float:
    return time.time_ns() / 1e9


def _seconds(at: Timestamp) -> float:
    return at.seconds + at.nanos / 1e9
