"""The sentences in which a turn's events are told to people; all are one line and safe for a terminal."""

from __future__ import annotations

from codex_control.errors import Exit
from codex_control.safe_text import duration_text, make_visible, one_line
from codex_control.v1.outcome_pb2 import (
    CAUSE_LIMIT,
    CAUSE_TIMED_OUT,
    OUTCOME_CANCELLED,
    OUTCOME_COMPLETED,
    OUTCOME_INTERRUPTED,
    Cause,
)
from codex_control.v1.turns_pb2 import (
    APPROVAL_KIND_COMMAND,
    APPROVAL_KIND_ELICITATION,
    APPROVAL_KIND_FILE_CHANGE,
    APPROVAL_KIND_PERMISSIONS,
    APPROVAL_KIND_QUESTION,
    ApprovalRequested,
    CommandRun,
    FileChange,
    ProviderRetry,
    RecoveryReport,
    Turn,
    TurnEvent,
)

_KINDS = {
    APPROVAL_KIND_COMMAND: "Codex wants to run a command",
    APPROVAL_KIND_FILE_CHANGE: "Codex wants to change files",
    APPROVAL_KIND_QUESTION: "Codex has a question",
    APPROVAL_KIND_ELICITATION: "a tool server asks",
    APPROVAL_KIND_PERMISSIONS: "Codex asks for more permissions",
}


def retry_reason(message: str, limit: int = 500) -> str:
    """Why the provider is asked again, in Codex's words; where it cannot be reached, that need not be the network."""
    # Codex says this of every address that refuses a connection, one on this machine too.
    if message.rstrip(".").endswith("waiting for network"):
        return "it cannot be reached; Codex goes on trying"
    return one_line(message, limit)


def retry_line(retry: ProviderRetry, limit: int = 500) -> str:
    """That the provider failed; how often, where that was heard of, and why."""
    count = f", retry {retry.count}" if retry.count else ""
    return f"the model provider failed{count}: {retry_reason(retry.message, limit)}"


def receipt_line(turn_id: str) -> str:
    """Where the turn can be found again."""
    return f"turn {turn_id} · attach with: codexctl attach {turn_id}"


def detail_line(event: TurnEvent) -> str | None:
    """What Codex did, as seen at its end; None for an event that tells nothing of the kind."""
    match event.WhichOneof("event"):
        case "queued":
            reason = f" ({one_line(event.queued.reason)})" if event.queued.reason else ""
            return f"waiting in the queue: position {event.queued.position}{reason}"
        case "command" if event.command.status != "inProgress":
            return f"ran: {command_text(event.command)}"
        case "file" if event.file.status != "inProgress":
            return file_text(event.file)
        case "tool" if event.tool.completed:
            return one_line(f"{event.tool.kind}: {event.tool.subject}")
        case "plan":
            step = next((step for step in event.plan.steps if step.status == "inProgress"), None)
            return f"plan: {one_line(step.text)}" if step else None
        case _:
            return None


def notice_line(event: TurnEvent) -> str | None:
    """What the user has to see whatever they asked for; None for other events."""
    match event.WhichOneof("event"):
        case "accepted" if event.accepted.attached:
            return "this request is known: its turn is shown"
        case "warning":
            # The stub for mypy mistakes our message for the builtin of the same name.
            return f"warning: {one_line(event.warning.message, 500)}"  # type: ignore[attr-defined]
        case "retry":
            void = "; the text before this is void" if event.retry.superseded_item_ids else ""
            return retry_line(event.retry) + void
        case "recovery":
            return recovery_line(event.recovery)
        case "dropped":
            reason = one_line(event.dropped.reason)
            return f"warning: {event.dropped.count} events ({event.dropped.bytes} bytes) are not shown: {reason}"
        case _:
            return None


def command_text(command: CommandRun) -> str:
    """A command and how it ended."""
    end = f"exit {command.exit_code}" if command.HasField("exit_code") else command.status or "cut off"
    took = f", {duration_text(command.duration.ToTimedelta().total_seconds())}" if command.HasField("duration") else ""
    return f"{one_line(command.command)} ({end}{took})"


def file_text(change: FileChange) -> str:
    """A file and what became of it."""
    done = {"add": "added", "delete": "deleted", "update": "changed"}.get(change.kind, change.kind)
    return one_line(f"{done}: {change.path}") + ("" if change.status == "completed" else f" ({change.status})")


def recovery_line(report: RecoveryReport) -> str:
    """What happened, what had been done before it, and what is done about it."""
    parts = []
    if report.commands:
        parts.append("it had run " + ", ".join(one_line(command.command, 60) for command in report.commands[:3]))
        if len(report.commands) > 3:
            parts[-1] += f" and {len(report.commands) - 3} more commands"
    if report.files:
        parts.append("it had changed " + ", ".join(one_line(change.path, 60) for change in report.files[:3]))
        if len(report.files) > 3:
            parts[-1] += f" and {len(report.files) - 3} more files"
    if report.superseded_item_ids:
        parts.append("the text before this is void")
    before = f" ({'; '.join(parts)})" if parts else ""
    return f"recovery: {one_line(report.what_happened).rstrip('.')}{before}: {one_line(report.what_next).rstrip('.')}"


def approval_lines(approval: ApprovalRequested) -> list[str]:
    """What is asked for, with hidden characters written out; every line is indented, so that none can pose as ours."""
    lines = [_KINDS.get(approval.kind, "Codex asks") + ":"]
    lines += [f"    {make_visible(line)}" for line in approval.subject.splitlines() or [""]]
    if approval.cwd:
        lines.append(f"  in {make_visible(approval.cwd)}")
    if approval.reason:
        lines.append(f"  why: {one_line(make_visible(approval.reason), 500)}")
    for question in approval.questions:
        options = f" [{' | '.join(make_visible(option) for option in question.options)}]" if question.options else ""
        lines.append(f"  {make_visible(question.id)}: {one_line(make_visible(question.text), 500)}{options}")
    return lines


def answer_hint(approval: ApprovalRequested) -> str:
    """How to answer from somewhere else."""
    known = approval.approval_id
    if approval.questions:
        answers = " ".join(f"--answer {question.id}=TEXT" for question in approval.questions)
        return f"answer with: codexctl approve {known} {answers} (or: codexctl deny {known})"
    return f"answer with: codexctl approve {known} (or: codexctl deny {known})"


def ended_line(turn: Turn) -> str:
    """How the turn ended; with the error where it did not complete."""
    if turn.outcome == OUTCOME_COMPLETED:
        parts = ["completed"]
        if turn.timings.HasField("total"):
            parts[0] += f" in {duration_text(turn.timings.total.ToTimedelta().total_seconds())}"
        if turn.usage.input or turn.usage.output:
            parts.append(f"{turn.usage.input:,} tokens in, {turn.usage.output:,} out")
        if turn.commands:
            parts.append(_count(len(turn.commands), "command"))
        if turn.files:
            parts.append(_count(len({change.path for change in turn.files}), "file") + " changed")
        return " · ".join(parts)
    ended = {OUTCOME_CANCELLED: "was cancelled", OUTCOME_INTERRUPTED: "was interrupted"}.get(turn.outcome, "failed")
    cause = f" ({Cause.Name(turn.cause).removeprefix('CAUSE_').lower().replace('_', ' ')})" if turn.cause else ""
    error = f": {one_line(turn.error, 2000)}" if turn.error else ""
    return f"the turn {ended}{cause}{error}"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def exit_code(turn: Turn) -> Exit:
    """Exit code of a command that waited for `turn`."""
    if turn.outcome == OUTCOME_COMPLETED:
        return Exit.OK
    if turn.cause == CAUSE_TIMED_OUT:
        return Exit.TIMED_OUT
    if turn.cause == CAUSE_LIMIT:
        return Exit.LIMIT
    if turn.outcome == OUTCOME_CANCELLED:
        return Exit.CANCELLED
    return Exit.INTERRUPTED if turn.outcome == OUTCOME_INTERRUPTED else Exit.FAILED
