"""How an attempt ended, from how its turn did; and what a later attempt is told. Pure."""

from __future__ import annotations

import enum
from typing import assert_never

from codex_supervisor.store.records import Cause, Outcome, TurnRecord
from codex_supervisor.task.heartbeat import Life
from codex_supervisor.task.records import TaskOutcome, TaskRecord


class Reason(enum.Enum):
    """Why we ended a turn."""

    CANCELLED = "cancelled"
    """Somebody asked for it."""
    TIMED_OUT = "timed_out"
    """The task's time was over."""
    STALLED = "stalled"
    """Its child lives, and nothing comes."""
    DEAD = "dead"
    """It was without a living child for too long."""

    @property
    def cause(self) -> Cause:
        """The cause that its turn ends with."""
        match self:
            case Reason.CANCELLED:
                return Cause.USER
            case Reason.TIMED_OUT:
                return Cause.TIMED_OUT
            case Reason.STALLED:
                return Cause.STALLED
            case Reason.DEAD:
                return Cause.CHILD_DIED
            case _:
                assert_never(self)

    @property
    def outcome(self) -> TaskOutcome:
        """The outcome of the attempt."""
        return TaskOutcome.CHILD_DIED if self is Reason.DEAD else TaskOutcome(self.value)


_OUTCOMES = {
    Cause.CHILD_DIED: TaskOutcome.CHILD_DIED,
    Cause.STALLED: TaskOutcome.STALLED,
    Cause.QUOTA: TaskOutcome.QUOTA,
    Cause.AUTH: TaskOutcome.AUTH,
    Cause.CONTEXT_WINDOW: TaskOutcome.CONTEXT_WINDOW,
    Cause.REFUSED: TaskOutcome.REFUSED,
    Cause.SUPERVISOR_LOST: TaskOutcome.WORKER_LOST,
    Cause.USER: TaskOutcome.CANCELLED,
    Cause.PROVIDER: TaskOutcome.PROVIDER,
    Cause.CODEX: TaskOutcome.CODEX,
    Cause.LIMIT: TaskOutcome.LIMIT,
}


def outcome_of(turn: TurnRecord, reason: Reason | None, why: str) -> tuple[TaskOutcome, str]:
    """Return the outcome of an attempt and the sentence for its error.

    `reason` and `why` are those of an end that we asked for; a turn that was complete all the same is complete.
    """
    match turn.outcome:
        case Outcome.COMPLETED:
            return TaskOutcome.COMPLETED, ""
        case _ if reason is not None:
            return reason.outcome, why
        case Outcome.CANCELLED:
            return TaskOutcome.CANCELLED, turn.error
        case _:
            return _OUTCOMES.get(turn.cause, TaskOutcome.FAILED) if turn.cause else TaskOutcome.FAILED, turn.error


def stall_sentence(life: Life, quiet_s: float, last_death: str) -> tuple[Reason, str]:
    """Return the reason and a sentence for a task without a sign of life for `quiet_s`."""
    if life is Life.DEAD:
        died = f": {last_death}" if last_death else ""
        return Reason.DEAD, f"it had no living child for {quiet_s:.0f} s{died}"
    return Reason.STALLED, f"it gave no sign of life for {quiet_s:.0f} s: its child lives, but nothing comes from Codex"


_GO_ON = (
    "Go on with the task that you have begun in this conversation; it was cut off{why}. Do not start over: look first "
    "at what is done already. This was the task:\n\n"
)


def prompt_of(record: TaskRecord, worker: str, limit: int) -> tuple[str, bool, str]:
    """Return the prompt of the next attempt, whether it goes on with the task's thread, and what people should know.

    A thread lives where its rollout is: on another machine the task starts anew.
    """
    status, prompt = record.status, record.request.prompt
    if not status.thread_id:
        return prompt, False, ""
    if status.thread_worker != worker:
        return prompt, False, f"its conversation is on {status.thread_worker}: here the task starts anew"
    going_on = _GO_ON.format(why=f" ({status.error})" if status.error else "") + prompt
    # One that is too long for both is said again as it was.
    return (going_on if len(going_on) <= limit else prompt), True, ""
