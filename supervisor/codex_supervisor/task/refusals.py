"""What both engines refuse, in words."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from codex_control.errors import NotFound, WrongState

from codex_supervisor.task.contract import IdTaken, NameTaken
from codex_supervisor.task.records import TaskRecord, Worker


def unknown(task_id: str) -> NotFound:
    """The error for an id that no task has."""
    return NotFound(
        what=f"there is no task {task_id[:80]!r}",
        why="it was never submitted, or was pruned",
        next_step="`codexctl task list` shows all",
    )


def id_taken(task_id: str, present: TaskRecord) -> IdTaken:
    """The error for an id that another request has."""
    return IdTaken(
        what=f"there is a task {task_id} already",
        why=f"it is {present.state} and asks for something else",
        next_step="choose another id, or submit exactly what was submitted before",
    )


def name_taken(worker: Worker, where: str) -> NameTaken:
    """The error for a name that another supervisor works under."""
    return NameTaken(
        what=f"no task runs here: another supervisor works under the name {worker.name!r}",
        why=f"it is {where}, and of two with one name each would take the other's tasks for its own",
        next_step="give this one a name of its own (tasks.worker) and restart it; or stop the other one",
    )


def not_ended(record: TaskRecord) -> WrongState:
    """The error for a task that cannot be forgotten yet."""
    return WrongState(
        what=f"task {record.id} cannot be pruned", why=f"it is {record.state}", next_step=f"cancel {record.id} first"
    )


def first_missing(wanted: Sequence[str], present: Collection[str]) -> str:
    """Return the first of `wanted` that is not among `present`."""
    return next(name for name in wanted if name not in present)
