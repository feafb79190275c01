"""Tasks that are followed without a terminal: lines, or JSON."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from codex_control.v1.tasks_pb2 import Task, TaskEvent

from codexctl.output import put, put_message, say
from codexctl.task_feed import ended_task
from codexctl.task_table import ended_text, has_ended, standing
from codexctl.turn_table import local_time
from codexctl.view.task_lines import event_line


class _Lines:
    tick_s: float | None = None

    def notice(self, line: str) -> None:
        """Tell what is not about a task."""
        say(line)

    def paint(self) -> None:
        """Nothing changes by itself."""

    def close(self) -> None:
        """All is written."""


class WaitLines(_Lines):
    """`task wait` in a pipe: stdout gets a line for each end, the id first; stderr gets what happens until then."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json

    def begin(self, tasks: Sequence[Task]) -> None:
        """Take the tasks as they stand; those that have ended are told."""
        for task in tasks:
            if has_ended(task):
                self._end(task)
            else:
                say(f"{task.id} {standing(task)}")

    def show(self, event: TaskEvent) -> None:
        """Show one event."""
        task = ended_task(event)
        if task is not None:
            self._end(task)
        elif line := event_line(event, details=False):
            say(f"{event.task_id} {line}")

    def _end(self, task: Task) -> None:
        if self._json:
            put_message(task)
            return
        put(f"{task.id} {ended_text(task)}")
        sys.stdout.flush()


class WatchLines(_Lines):
    """`task watch` in a pipe: stdout gets a line for each event."""

    def __init__(self, *, as_json: bool) -> None:
        self._json = as_json

    def begin(self, tasks: Sequence[Task]) -> None:
        """Their events say all."""

    def show(self, event: TaskEvent) -> None:
        """Show one event."""
        if self._json:
            put_message(event)
        elif line := event_line(event, details=True):
            put(f"{local_time(event.at.seconds) or '-'} {event.task_id} {line}")
            sys.stdout.flush()
