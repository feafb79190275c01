"""The log of a task: its events as lines of text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from codex_control.v1 import outcome_pb2, tasks_pb2, turns_pb2

Line = tuple[str, str]
"""Source and text, as in `TaskLogsResponse`."""


def event_lines(event: tasks_pb2.TaskEvent) -> Iterator[Line]:
    """Yield the lines of one event; none for one that says nothing new (a heartbeat, the beginning of an item)."""
    match event.WhichOneof("event"):
        case "changed":
            yield "task", f"{tasks_pb2.TaskState.Name(event.changed.state)[11:]}: {event.changed.message}"
        case "progress":
            yield "progress", event.progress.text
        case "item":
            yield from _item_lines(event.item.event)
        case "complete":
            yield "task", _end(event.complete.task)
        case "error":
            yield "task", _end(event.error.task)
        case "dropped":
            yield "warning", f"{event.dropped.count} events are gone: {event.dropped.reason}"
        case _:
            pass


def _end(task: tasks_pb2.Task) -> str:
    outcome = tasks_pb2.TaskOutcome.Name(task.outcome).removeprefix("TASK_OUTCOME_").lower()
    text = f"{tasks_pb2.TaskState.Name(task.state)[11:]}: {outcome}"
    return f"{text}: {task.error}" if task.error else text


def _item_lines(event: turns_pb2.TurnEvent) -> Iterator[Line]:
    match event.WhichOneof("event"):
        case "message":
            yield from _each("message", event.message.text)
        case "command" if event.command.status == "inProgress":
            yield "command", event.command.command
        case "command":
            command = event.command
            yield from _each("output", command.output_tail)
            end = f"exit {command.exit_code}" if command.HasField("exit_code") else command.status or "cut off"
            yield "command", f"{command.command} ({end})"
        case "file" if event.file.status != "inProgress":
            change = event.file
            yield (
                "file",
                f"{change.kind} {change.path}" + ("" if change.status == "completed" else f" ({change.status})"),
            )
        case "plan":
            for number, step in enumerate(event.plan.steps, 1):
                yield "plan", f"{number}. [{step.status}] {step.text}"
        case "tool" if event.tool.completed:
            yield "tool", f"{event.tool.kind}: {event.tool.subject}"
        case "warning":
            # The stub for mypy mistakes our message for the builtin of the same name.
            yield "warning", event.warning.message  # type: ignore[attr-defined]
        case "retry":
            yield "warning", f"the model provider failed, retry {event.retry.count}: {event.retry.message}"
        case "approval_resolved":
            decision = turns_pb2.Decision.Name(event.approval_resolved.decision).removeprefix("DECISION_").lower()
            yield "warning", f"what Codex asked for was answered by {event.approval_resolved.by}: {decision}"
        case "recovery":
            yield "warning", f"{event.recovery.what_happened}: {event.recovery.what_next}"
        case "dropped":
            yield "warning", f"{event.dropped.count} events of the turn are gone: {event.dropped.reason}"
        case "ended":
            turn = event.ended.turn
            outcome = outcome_pb2.Outcome.Name(turn.outcome).removeprefix("OUTCOME_").lower()
            yield "task", f"the turn ended: {outcome}" + (f": {turn.error}" if turn.error else "")
        case _:
            pass


def _each(source: str, text: str) -> Iterator[Line]:
    for line in text.splitlines():
        yield source, line
