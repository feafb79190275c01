"""How instances look to clients, and the words of the configuration as enums of the API."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Generic, TypeVar

from codex_control.errors import BadInput
from codex_control.v1 import instances_pb2

from codex_supervisor.config.turns import ApprovalPolicy, OnInterrupted
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.instance.states import Backoff, Busy, Failed, Starting, State, Stopping, running_turn, state_name
from codex_supervisor.turn.messages import duration, timestamp

Number = TypeVar("Number")


class Words(Generic[Number]):
    """A word of the configuration for each number of an enum of the API."""

    def __init__(self, numbers: Mapping[str, Number]) -> None:
        self._numbers = dict(numbers)

    def number(self, word: str) -> Number:
        """Return the number of a known word."""
        return self._numbers[word]

    def inverse(self, number: Number) -> str:
        """Return the word of a number that a client sent; raise `BadInput` for one that we do not know."""
        for word, known in self._numbers.items():
            if known == number:
                return word
        raise BadInput(
            what=f"{number} is not a known value",
            why=f"known are {', '.join(self._numbers)}",
            next_step="send one of those",
        )


APPROVAL_POLICIES = Words[instances_pb2.ApprovalPolicy](
    {
        ApprovalPolicy.AUTO: instances_pb2.APPROVAL_POLICY_AUTO,
        ApprovalPolicy.INTERACTIVE: instances_pb2.APPROVAL_POLICY_INTERACTIVE,
        ApprovalPolicy.DENY: instances_pb2.APPROVAL_POLICY_DENY,
    }
)
ON_INTERRUPTED = Words[instances_pb2.OnInterrupted](
    {
        OnInterrupted.CONTINUE: instances_pb2.ON_INTERRUPTED_CONTINUE,
        OnInterrupted.REPLAY: instances_pb2.ON_INTERRUPTED_REPLAY,
        OnInterrupted.REPORT: instances_pb2.ON_INTERRUPTED_REPORT,
    }
)


def instance_message(shell: InstanceShell) -> instances_pb2.Instance:
    """Return an instance as it stands now."""
    record, core, child = shell.record, shell.core, shell.child
    state = core.state
    return instances_pb2.Instance(
        id=record.id,
        state=f"INSTANCE_STATE_{state_name(state).upper()}",
        since=timestamp(shell.since_ns),
        detail=_detail(shell, state),
        settings=_settings(shell),
        workspace=record.workspace,
        claude_session=record.claude_session,
        thread_id=record.thread_id,
        child=_child(shell) if child is not None else None,
        turn_id=running_turn(state) or "",
        queued=len(core.queue),
        restarts=core.restarts,
        stderr_tail=shell.keeper.stderr_tail if isinstance(state, Failed | Backoff) else [],
        created_at=timestamp(record.created_ns),
        task_id=record.task.id if record.task is not None else "",
    )


def _detail(shell: InstanceShell, state: State) -> str:
    now = shell.house.clock.monotonic()
    match state:
        case Failed(reason=reason, retry_at=retry_at):
            again = f"tried again in {retry_at - now:.0f} s" if retry_at - now < 1e9 else "waits for a restart"
            return f"{reason.rstrip('.')}; {again}"
        case Backoff(reason=reason, until=until, last=last):
            then = ", then stopped" if last else ""
            return f"{reason.rstrip('.')}; started again in {max(0.0, until - now):.1f} s{then}"
        case Stopping(then=then):
            return f"ending everything that it started; then {then.value}"
        case Busy(then=then) if then is not None:
            return f"after this turn: {then.value}"
        case Starting(carry_on=turn, last=last) if turn is not None:
            return f"turn {turn} is carried on then" + (", and after it: stopped" if last else "")
        case _:
            return ""


def _settings(shell: InstanceShell) -> instances_pb2.Settings:
    config, own = shell.house.config, shell.record.settings
    defaults = config.defaults
    return instances_pb2.Settings(
        profile=own.profile or defaults.profile,
        show_reasoning=defaults.show_reasoning if own.show_reasoning is None else own.show_reasoning,
        final_only=defaults.final_only if own.final_only is None else own.final_only,
        approval_policy=APPROVAL_POLICIES.number(own.approval_policy or config.approvals.policy),
        on_interrupted=ON_INTERRUPTED.number(own.on_interrupted or config.turns.on_interrupted),
        cwd=own.cwd,
    )


def _child(shell: InstanceShell) -> instances_pb2.Child | None:
    child = shell.child
    if child is None:
        return None
    return instances_pb2.Child(
        pid=child.process.pid,
        started_at=timestamp(child.record.started_ns),
        memory_bytes=child.memory_bytes,
        cpu=duration(child.cpu_s),
        codex_version=child.server.codex_version or child.record.codex_version,
        adopted=child.adopted,
    )
