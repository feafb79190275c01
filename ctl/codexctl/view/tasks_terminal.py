"""Tasks that are followed on a terminal: a live row for each that goes on, and above them what happened."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from codex_control.safe_text import duration_text, one_line, strip_controls
from codex_control.v1.tasks_pb2 import TASK_STATE_DONE, TASK_STATE_RUNNING, Task, TaskEvent
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from codexctl.task_feed import ended_task
from codexctl.task_table import doing, ended_text, has_ended, state_name
from codexctl.view.task_lines import event_line

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_FRAME_S = 0.1


@dataclass
class _Row:
    """A task that goes on; `since_s` is monotonic: when it began to do what it does."""

    running: bool
    text: str
    since_s: float


class TasksTerminal:
    """Shows events on the terminal that stdout is; call `paint` every `tick_s`.

    `details` prints what Codex does line by line, as `task watch` does; without, the rows alone say it.
    """

    tick_s: float | None = _FRAME_S

    def __init__(self, *, details: bool) -> None:
        self._details = details
        self._console = Console(highlight=False, markup=False, emoji=False)
        self._live: Live | None = None
        self._rows: dict[str, _Row] = {}

    def begin(self, tasks: Sequence[Task]) -> None:
        """Take the tasks as they stand; those that have ended are told."""
        for task in tasks:
            if not has_ended(task):
                text = one_line(doing(task)) or state_name(task.state).lower()
                self._rows[task.id] = _Row(task.state == TASK_STATE_RUNNING, text, time.monotonic())
            elif not self._details:
                self._end(task)
        self.paint()

    def show(self, event: TaskEvent) -> None:
        """Show one event."""
        task = ended_task(event)
        if task is not None:
            self._rows.pop(event.task_id, None)
            self._end(task)
            return
        row = self._rows.get(event.task_id)
        line = event_line(event, details=self._details)
        match event.WhichOneof("event"):
            case "changed":
                if row is not None:
                    row.running, row.since_s = event.changed.state == TASK_STATE_RUNNING, time.monotonic()
                    row.text = one_line(event.changed.message)
            case "progress" if row is not None:
                row.text, row.since_s = line or "", time.monotonic()
                return
            case _:
                pass
        if line:
            self._print(Text(f"{event.task_id} {line}", style="dim"))

    def notice(self, line: str) -> None:
        """Print a line that the person has to see."""
        self._print(Text(strip_controls(line), style="yellow"))

    def paint(self) -> None:
        """Draw the rows."""
        if self._live is None and self._console.is_terminal and not self._console.is_dumb_terminal:
            self._live = Live(
                console=self._console, auto_refresh=False, transient=True, redirect_stdout=False, redirect_stderr=True
            )
            self._live.start()
        if self._live is not None:
            self._live.update(self._picture(), refresh=True)

    def close(self) -> None:
        """Take the rows off the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _end(self, task: Task) -> None:
        style = "green" if task.state == TASK_STATE_DONE else "red"
        self._print(Text(f"{task.id} {ended_text(task)}", style=style))

    def _print(self, text: Text) -> None:
        if self._live is not None:  # what is drawn again below the line must not be what was there before
            self._live.update(self._picture(), refresh=True)
        self._console.print(text)

    def _picture(self) -> Group:
        frame = _SPINNER[int(time.monotonic() / _FRAME_S) % len(_SPINNER)]
        # Only as many as fit: what is taller than the screen cannot be taken off it again.
        room = max(1, self._console.height - 2)
        # Those that do something come first.
        ordered = sorted(self._rows.items(), key=lambda one: not one[1].running)
        lines = []
        for task_id, row in ordered[:room]:
            seconds = int(time.monotonic() - row.since_s)
            line = Text(
                f"{frame if row.running else '·'} {task_id} {row.text} · {duration_text(seconds)}", no_wrap=True
            )
            line.stylize("cyan" if row.running else "dim")
            line.truncate(self._console.width - 1, overflow="ellipsis")
            lines.append(line)
        if len(ordered) > room:
            lines.append(Text(f"  and {len(ordered) - room} more", style="dim"))
        return Group(*lines)
