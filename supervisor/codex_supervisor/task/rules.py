"""What happens to a task: the pure rules that both engines use.

Each takes the task as it is and returns a `Change`: its next status and the events that say so. No rule has a clock or
does I/O; the engine applies a rule to the row that it has locked and writes what comes out in the same transaction.
A rule that ends a task sets `ended_ns`; the engine then applies `parent_ended` to its children.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec
from codex_control.errors import WrongState
from msgspec.structs import replace

from codex_supervisor.task.contract import LeaseLost
from codex_supervisor.task.records import (
    LISTED_CHARS,
    AttemptEnd,
    EventKind,
    Lease,
    NewEvent,
    Note,
    Policy,
    TaskOutcome,
    TaskRecord,
    TaskRequest,
    TaskResult,
    TaskState,
    TaskStatus,
    Worker,
)

DEATHS = frozenset({TaskOutcome.CHILD_DIED, TaskOutcome.WORKER_LOST})
"""Ends of an attempt that count as a death, not against the retries."""

RETRIED = frozenset(
    {TaskOutcome.FAILED, TaskOutcome.STALLED, TaskOutcome.QUOTA, TaskOutcome.PROVIDER, TaskOutcome.CODEX}
)
"""Ends of an attempt after which another may succeed. The others (a refusal, wrong credentials, a missing directory)
would end the same way again."""

MAX_ERROR_CHARS = 4000
"""How much of an error is kept."""

NS = 1_000_000_000


class Change(msgspec.Struct, frozen=True):
    """What a rule makes of a task."""

    status: TaskStatus
    events: tuple[NewEvent, ...] = ()


def submitted(parents: Iterable[tuple[str, TaskStatus]], now_ns: int) -> Change:
    """A task is accepted. `parents` are all tasks that it comes after."""
    parents = tuple(parents)
    blocked_by = tuple(name for name, parent in parents if not parent.state.ended)
    status = TaskStatus(submitted_ns=now_ns, blocked_by=blocked_by)
    status = replace(status, waits_for=_waits_for(status.blocked_by))
    accepted = NewEvent(EventKind.CHANGED, text=status.waits_for or "accepted", state=TaskState.PENDING)
    for name, parent in parents:
        if parent.state.ended and parent.state is not TaskState.DONE:
            end = _ended(status, TaskOutcome.PARENT_FAILED, _why_parent_failed(name, parent), now_ns)
            return Change(end.status, (accepted, *end.events))
    return Change(status, (accepted,))


def claimable(status: TaskStatus, now_ns: int) -> bool:
    """Whether a worker may have it now."""
    return status.state is TaskState.PENDING and not status.blocked_by and status.not_before_ns <= now_ns


def claimed(record: TaskRecord, worker: Worker, lease_s: float, policy: Policy, now_ns: int) -> Change:
    """A worker takes a claimable task. Where its time is over meanwhile, it ends instead."""
    status = record.status
    if not claimable(status, now_ns):
        raise WrongState(what=f"task {record.id} cannot be claimed", why=f"it is {status.state}")
    if status.deadline_ns is not None and status.deadline_ns <= now_ns:
        return _timed_out(status, now_ns)
    timeout_s = policy.timeout_s if record.request.timeout_s is None else record.request.timeout_s
    deadline_ns = status.deadline_ns
    if status.started_ns is None and timeout_s is not None:
        deadline_ns = now_ns + int(timeout_s * NS)
    attempt = status.attempt + 1
    return Change(
        replace(
            status,
            state=TaskState.RUNNING,
            waits_for="",
            not_before_ns=0,
            token=status.token + 1,
            attempt=attempt,
            lease=Lease(worker, now_ns + int(lease_s * NS)),
            started_ns=now_ns if status.started_ns is None else status.started_ns,
            deadline_ns=deadline_ns,
            heartbeat_ns=now_ns,
            instance="",
            turn_id="",
            turn_seq=0,
        ),
        (NewEvent(EventKind.CHANGED, text=f"attempt {attempt} on {worker.name}", state=TaskState.RUNNING),),
    )


def taken_over(record: TaskRecord, worker: Worker, lease_s: float, now_ns: int) -> Change:
    """The supervisor that has the task, or its next run, goes on with it: a new token, the same attempt."""
    status = record.status
    if status.lease is None or status.lease.worker.name != worker.name:
        raise WrongState(what=f"task {record.id} is not of {worker.name}")
    restarted = status.lease.worker.run != worker.run
    text = "taken over after a restart of the supervisor" if restarted else "taken over after a lost connection"
    return Change(
        replace(status, token=status.token + 1, lease=Lease(worker, now_ns + int(lease_s * NS))),
        (NewEvent(EventKind.CHANGED, text=text, state=TaskState.RUNNING),),
    )


def check_token(record: TaskRecord, token: int) -> None:
    """Raise `LeaseLost` unless `token` is that of the task's present claim."""
    status = record.status
    if status.state is not TaskState.RUNNING or status.token != token:
        raise LeaseLost(
            what=f"task {record.id} is no longer this worker's",
            why=f"it is {status.state} under token {status.token}, and the claim has token {token}",
        )


def renewed(record: TaskRecord, token: int, lease_s: float, heartbeat: bool, now_ns: int) -> Change:
    """The worker keeps the task. `heartbeat` says that it is alive and moves, and makes an event.

    A lease that ran out, but was not yet taken from the worker, is good again.
    """
    check_token(record, token)
    lease = record.status.lease
    assert lease is not None  # noqa: S101 - a running task has one
    status = replace(record.status, lease=replace(lease, expires_ns=now_ns + int(lease_s * NS)))
    if not heartbeat:
        return Change(status)
    return Change(replace(status, heartbeat_ns=now_ns), (NewEvent(EventKind.HEARTBEAT),))


def noted(record: TaskRecord, token: int, note: Note, events: Sequence[NewEvent] = ()) -> Change:
    """The worker tells of its attempt. A new progress makes an event; then come `events`.

    Those of the turn that are recorded already are left out, so that a write may be made again.
    """
    check_token(record, token)
    status = _with_note(record.status, note)
    made = []
    if note.progress is not None and note.progress != record.status.progress:
        made.append(NewEvent(EventKind.PROGRESS, text=note.progress))
    for event in events:
        if event.turn_seq == 0 or event.turn_seq > status.turn_seq:
            made.append(event)
            status = replace(status, turn_seq=max(status.turn_seq, event.turn_seq))
    return Change(status, tuple(made))


def finished(record: TaskRecord, token: int, end: AttemptEnd, delay_s: float, policy: Policy, now_ns: int) -> Change:
    """The attempt is over: the task ends, or waits `delay_s` for the next attempt."""
    check_token(record, token)
    return _attempt_over(record.request, _with_note(record.status, end.note), end, delay_s, policy, now_ns)


def expired(record: TaskRecord, delay_s: float, policy: Policy, now_ns: int) -> Change:
    """The lease ran out: the worker is lost, and the task goes back or is given up."""
    status = record.status
    if status.lease is None or status.lease.expires_ns > now_ns:
        raise WrongState(what=f"the lease of task {record.id} has not expired")
    end = AttemptEnd(TaskOutcome.WORKER_LOST, f"worker {status.lease.worker.name} was lost")
    return _attempt_over(record.request, status, end, delay_s, policy, now_ns)


def given_back(record: TaskRecord, token: int, reason: str, delay_s: float, now_ns: int) -> Change:
    """The worker cannot run it now (it stops, or has no room). The attempt is not counted."""
    check_token(record, token)
    status = record.status
    if status.cancel_reason is not None:
        return _ended(status, TaskOutcome.CANCELLED, status.cancel_reason, now_ns)
    return _pending(replace(status, attempt=status.attempt - 1), reason, reason, delay_s, now_ns)


def cancelled(record: TaskRecord, reason: str, now_ns: int) -> Change:
    """A person or a client cancels it. A running task is asked to stop; one that has ended stays as it is."""
    status = record.status
    reason = reason or "cancelled"
    match status.state:
        case TaskState.PENDING:
            return _ended(status, TaskOutcome.CANCELLED, reason, now_ns)
        case TaskState.RUNNING if status.cancel_reason is None:
            text = "asked to stop" if reason == "cancelled" else f"asked to stop: {reason}"
            return Change(
                replace(status, cancel_reason=reason),
                (NewEvent(EventKind.CHANGED, text=text, state=TaskState.RUNNING),),
            )
        case _:
            return Change(status)


def parent_ended(status: TaskStatus, parent: str, end: TaskStatus, now_ns: int) -> Change:
    """A task that this one comes after has ended: this one ends too, or waits for one less."""
    if parent not in status.blocked_by:
        return Change(status)
    if end.state is not TaskState.DONE:
        return _ended(status, TaskOutcome.PARENT_FAILED, _why_parent_failed(parent, end), now_ns)
    left = tuple(name for name in status.blocked_by if name != parent)
    text = _waits_for(left)
    return Change(
        replace(status, blocked_by=left, waits_for=text),
        (NewEvent(EventKind.CHANGED, text=text or f"task {parent} is done", state=TaskState.PENDING),),
    )


def retried(record: TaskRecord, parents: Iterable[tuple[str, TaskStatus]]) -> Change:
    """A person has it tried again, with all its retries, on its own thread. `parents` are those that still exist."""
    status = record.status
    if not status.state.ended or status.state is TaskState.DONE:
        raise WrongState(
            what=f"task {record.id} cannot be tried again",
            why=f"it is {status.state}",
            next_step="submit a new task" if status.state is TaskState.DONE else "cancel it first, or wait for its end",
        )
    blocked_by = []
    for name, parent in parents:
        state = parent.state
        if state.ended and state is not TaskState.DONE:
            raise WrongState(
                what=f"task {record.id} cannot be tried again",
                why=f"task {name}, which it comes after, is {state}",
                next_step=f"retry {name} first",
            )
        if not state.ended:
            blocked_by.append(name)
    waits_for = _waits_for(tuple(blocked_by))
    return Change(
        TaskStatus(
            blocked_by=tuple(blocked_by),
            waits_for=waits_for,
            token=status.token,
            attempt=status.attempt,
            submitted_ns=status.submitted_ns,
            thread_id=status.thread_id,
            thread_worker=status.thread_worker,
            state_file=status.state_file,
            result=replace(status.result, answer="", summary="", tests_run=None, tests_passed=None),
        ),
        (NewEvent(EventKind.CHANGED, text=waits_for or "to be tried again", state=TaskState.PENDING),),
    )


def moved(status: TaskStatus, by_ns: int) -> TaskStatus:
    """The engine's clock was set: what is to come moves with it, what has been stays as it was told."""
    lease = status.lease
    return replace(
        status,
        not_before_ns=status.not_before_ns + by_ns if status.not_before_ns else 0,
        deadline_ns=None if status.deadline_ns is None else status.deadline_ns + by_ns,
        lease=None if lease is None else replace(lease, expires_ns=lease.expires_ns + by_ns),
    )


def retry_delay_s(failures: int, policy: Policy, fraction: float) -> float:
    """Exponential back-off with full jitter before the next attempt; `fraction` is random in [0, 1)."""
    return fraction * min(policy.backoff_cap_s, policy.backoff_base_s * 2.0 ** min(failures, 30))


def _attempt_over(
    request: TaskRequest, status: TaskStatus, end: AttemptEnd, delay_s: float, policy: Policy, now_ns: int
) -> Change:
    outcome, error = end.outcome, end.error[:MAX_ERROR_CHARS]
    if outcome is TaskOutcome.COMPLETED:
        # Also where it was asked to stop meanwhile: the work is done, and an answer is never thrown away.
        return _ended(status, outcome, "", now_ns)
    if status.cancel_reason is not None:
        return _ended(status, TaskOutcome.CANCELLED, status.cancel_reason, now_ns)
    if outcome in DEATHS:
        status = replace(status, deaths=status.deaths + 1)
        if status.deaths >= policy.max_deaths:
            return _ended(status, outcome, f"parked after {status.deaths} deaths under it; the last: {error}", now_ns)
    elif outcome in RETRIED:
        status = replace(status, failures=status.failures + 1)
        retries = policy.retries if request.retries is None else request.retries
        if status.failures > retries:
            return _ended(status, outcome, error, now_ns)
    else:
        return _ended(status, outcome, error, now_ns)
    if status.deadline_ns is not None and status.deadline_ns <= now_ns + int(delay_s * NS):
        return _timed_out(replace(status, error=error), now_ns)
    return _pending(status, error, f"tried again after: {error or outcome}", delay_s, now_ns)


def _pending(status: TaskStatus, error: str, text: str, delay_s: float, now_ns: int) -> Change:
    return Change(
        replace(
            status,
            state=TaskState.PENDING,
            lease=None,
            error=error,
            waits_for=f"waits for its next attempt: {error}" if delay_s > 0 else "",
            not_before_ns=now_ns + int(delay_s * NS) if delay_s > 0 else 0,
            progress="",
            instance="",
            turn_id="",
            turn_seq=0,
        ),
        (NewEvent(EventKind.CHANGED, text=text, state=TaskState.PENDING),),
    )


def _ended(status: TaskStatus, outcome: TaskOutcome, error: str, now_ns: int) -> Change:
    kind = EventKind.COMPLETE if outcome is TaskOutcome.COMPLETED else EventKind.ERROR
    return Change(
        replace(
            status,
            state=outcome.state,
            outcome=outcome,
            error=error,
            waits_for="",
            blocked_by=(),
            not_before_ns=0,
            lease=None,
            ended_ns=now_ns,
            instance="",
            turn_id="",
            turn_seq=0,
        ),
        (NewEvent(kind, text=error, state=outcome.state, outcome=outcome),),
    )


def _timed_out(status: TaskStatus, now_ns: int) -> Change:
    error = "its time limit passed"
    if status.error:
        error = f"{error}; its last attempt: {status.error}"
    return _ended(status, TaskOutcome.TIMED_OUT, error, now_ns)


def _with_note(status: TaskStatus, note: Note) -> TaskStatus:
    worker = status.lease.worker.name if status.lease else ""
    result = status.result if note.result is None else _merged(status.result, note.result)
    return replace(
        status,
        thread_id=status.thread_id if note.thread_id is None else note.thread_id,
        thread_worker=status.thread_worker if note.thread_id is None else worker,
        instance=status.instance if note.instance is None else note.instance,
        turn_id=status.turn_id if note.turn_id is None else note.turn_id,
        turn_seq=status.turn_seq if note.turn_id in (None, status.turn_id) else 0,
        progress=status.progress if note.progress is None else note.progress,
        state_file=status.state_file if note.state_file is None else note.state_file,
        state_file_error=status.state_file_error if note.state_file_error is None else note.state_file_error,
        result=result,
        deaths=max(status.deaths, note.deaths),
    )


def _merged(old: TaskResult, new: TaskResult) -> TaskResult:
    """The newer result; files are those of all attempts, and its worktree is not forgotten."""
    return replace(
        new,
        files_changed=tuple(dict.fromkeys((*old.files_changed, *new.files_changed))),
        branch=new.branch or old.branch,
        worktree=new.worktree or old.worktree,
        diff_path=new.diff_path or old.diff_path,
    )


def _why_parent_failed(parent: str, end: TaskStatus) -> str:
    # In a long row of tasks each names the one before it, and so on: the text is bounded here.
    why = f"task {parent}, which it comes after, ended as {end.outcome}" + (f": {end.error}" if end.error else "")
    return why[:LISTED_CHARS]


def _waits_for(blocked_by: tuple[str, ...]) -> str:
    if not blocked_by:
        return ""
    return f"waits for {'task' if len(blocked_by) == 1 else 'tasks'} {', '.join(blocked_by[:3])}" + (
        f" and {len(blocked_by) - 3} more" if len(blocked_by) > 3 else ""
    )
