"""The sentences in which the events of tasks are told to people; all are one line and safe for a terminal."""

from __future__ import annotations

from codex_control.safe_text import one_line
from codex_control.v1.tasks_pb2 import TaskEvent

from codexctl.task_table import ended_text, state_name
from codexctl.view.lines import detail_line, notice_line


def event_line(event: TaskEvent, *, details: bool) -> str | None:
    """What `event` tells, without the task's id; None for one that says nothing.

    `details` asks also for what Codex did: commands, files, messages.
    """
    match event.WhichOneof("event"):
        case "changed":
            return f"{state_name(event.changed.state)}: {one_line(event.changed.message, 500)}"
        case "progress":
            return one_line(event.progress.text, 500) or None
        case "item":
            return _item_line(event, details=details)
        case "complete":
            return ended_text(event.complete.task)
        case "error":
            return ended_text(event.error.task)
        case "dropped":
            return f"warning: {event.dropped.count} events are gone: {one_line(event.dropped.reason)}"
        case _:
            return None


def _item_line(event: TaskEvent, *, details: bool) -> str | None:
    item = event.item.event
    if notice := notice_line(item):
        return notice
    if not details:
        return None
    if item.WhichOneof("event") == "message":
        return f"says: {one_line(item.message.text, 500)}"
    return detail_line(item)
