"""What a task does now and what it has changed, from what Codex really did. Pure.

Nothing here is taken from the model's words, but for the figures of a structured answer that the task's own schema
asked for.
"""

from __future__ import annotations

import json
import os.path
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from codex_control.v1 import turns_pb2

from codex_supervisor.store.records import Usage
from codex_supervisor.task.records import TaskResult
from codex_supervisor.turn.messages import usage_record

MAX_PROGRESS_CHARACTERS = 200
"""Longest line of progress."""

MAX_ITEM_CHARACTERS = 16 * 1024
"""How much of a message is recorded with its event; the answer itself is in the result."""

SUMMARY_CHARACTERS = 500
"""How much of an answer without a summary of its own stands for one."""

MIN_BETWEEN_S = 1.0
"""Progress is told at most once in this time; the last one is never lost."""

_RECORDED = frozenset(
    {"message", "command", "file", "plan", "tool", "warning", "retry", "recovery", "approval", "dropped"}
)

_DIFF_PATH = re.compile(r"(?:\+\+\+|---) (?:[ab]/)?([^\t]+)")
_DIFF_HUNK = re.compile(r"@@ -\d+(?:,(\d+))? \+\d+(?:,(\d+))? @@")


@dataclass(slots=True)
class Work:
    """What one attempt did so far: fed with the events of its turn, from the first on. `cwd` is where it runs."""

    cwd: str
    thread_id: str = ""
    usage: Usage = field(default_factory=Usage)
    running: dict[str, str] = field(default_factory=dict)
    """Commands that run now, by item id."""
    _plan: str = ""
    _activity: str = ""
    _changed: dict[str, None] = field(default_factory=dict)

    @property
    def progress(self) -> str:
        """One line: the step of the plan, and what is done for it."""
        return one_line(
            f"{self._plan}: {self._activity}" if self._plan and self._activity else self._plan or self._activity
        )

    @property
    def files_changed(self) -> tuple[str, ...]:
        """Paths of the files that were changed, in that order; relative where they are in the task's directory."""
        return tuple(self._changed)

    def feed(self, event: turns_pb2.TurnEvent) -> None:
        """Take in one event of the turn."""
        match event.WhichOneof("event"):
            case "started":
                self.thread_id = event.started.thread_id
                self._activity = self._activity or "started"
            case "plan":
                self._plan = _plan_step(event.plan)
            case "command":
                self._command(event.command)
            case "file":
                self._file(event.file)
            case "tool" if not event.tool.completed:
                self._activity = _tool(event.tool)
            case "usage":
                self.usage = usage_record(event.usage)
            case "retry":
                # Codex tries again by itself: it is no stall, and people see why nothing else happens.
                self._activity = f"the model provider failed, try {event.retry.count + 1}: {event.retry.message}"
            case "recovery":
                self.running.clear()
                self._activity = f"{event.recovery.what_happened}; {event.recovery.what_next}"
            case _:
                pass

    def take_diff(self, diff: str, root: str) -> None:
        """Take in the paths of the turn's diff, relative to `root`: they hold what no item told."""
        for path in diff_paths(diff):
            self._changed[self._shown(os.path.join(root, path))] = None  # noqa: PTH118 (as below)

    def _command(self, command: turns_pb2.CommandRun) -> None:
        if command.status == "inProgress":
            self.running[command.item_id] = command.command
            self._activity = f"runs {command.command}"
            return
        self.running.pop(command.item_id, None)
        if self.running:
            self._activity = f"runs {next(reversed(self.running.values()))}"
        elif command.HasField("exit_code") and command.exit_code:
            self._activity = f"ran {command.command} (exit code {command.exit_code})"
        else:
            self._activity = f"ran {command.command}"

    def _file(self, file: turns_pb2.FileChange) -> None:
        path = self._shown(file.path)
        match file.status:
            case "inProgress":
                self._activity = f"changes {path}"
            case "completed":
                self._activity = f"changed {path}"
                self._changed[path] = None
            case _:
                self._activity = f"could not change {path}"

    def _shown(self, path: str) -> str:
        whole = os.path.normpath(os.path.join(self.cwd, path))  # noqa: PTH118 (a pure function of two texts)
        below = self.cwd.rstrip("/") + "/"
        return whole.removeprefix(below) if whole.startswith(below) else whole


def diff_paths(diff: str) -> list[str]:
    """Return the paths that a unified diff names in its headers, each once.

    Lines are counted: one of a hunk that only looks like a header is none.
    """
    paths: dict[str, None] = {}
    old = new = 0
    for line in diff.split("\n"):
        if old > 0 or new > 0:
            match line[:1]:
                case "-":
                    old -= 1
                case "+":
                    new -= 1
                case "\\":
                    pass  # "No newline at end of file"
                case _:
                    old, new = old - 1, new - 1
        elif hunk := _DIFF_HUNK.match(line):
            old, new = (1 if count is None else int(count) for count in hunk.groups())
        elif (header := _DIFF_PATH.fullmatch(line)) and header[1] != "/dev/null":
            paths[header[1]] = None
    return list(paths)


def _plan_step(plan: turns_pb2.PlanUpdated) -> str:
    steps = plan.steps
    done = sum(step.status == "completed" for step in steps)
    current = next((step for step in steps if step.status == "inProgress"), None)
    current = current or next((step for step in steps if step.status != "completed"), None)
    if current is None:
        return f"plan {done}/{len(steps)}" if steps else ""
    return f"plan {min(done + 1, len(steps))}/{len(steps)} {current.text}"


def _tool(tool: turns_pb2.ToolActivity) -> str:
    match tool.kind:
        case "webSearch":
            return f"searches the web: {tool.subject}"
        case "imageView":
            return f"looks at {tool.subject}"
        case "contextCompaction":
            return "shortens the conversation"
        case _:
            return f"calls {tool.subject}"


def one_line(text: str) -> str:
    """Return `text` as one line that fits a list: no control characters, not too long."""
    shown = " ".join(
        "".join(sign if sign.isprintable() else " " for sign in text[: 4 * MAX_PROGRESS_CHARACTERS]).split()
    )
    return shown if len(shown) <= MAX_PROGRESS_CHARACTERS else shown[: MAX_PROGRESS_CHARACTERS - 1] + "…"


def recorded_item(event: turns_pb2.TurnEvent) -> bytes | None:
    """Return an event of the turn as it is recorded with the task; None for what is not: deltas, and what other events
    of the task say already.
    """
    kind = event.WhichOneof("event")
    if kind not in _RECORDED:
        return None
    if kind == "message" and len(event.message.text) > MAX_ITEM_CHARACTERS:
        shorter = turns_pb2.TurnEvent()
        shorter.CopyFrom(event)
        shorter.message.text = event.message.text[:MAX_ITEM_CHARACTERS] + "…"
        event = shorter
    return event.SerializeToString()


def result_of(
    answer: str, *, schema: str, files_changed: Iterable[str], usage: Usage, before: TaskResult, completed: bool
) -> TaskResult:
    """Return what came of a task: `before` is what its earlier attempts left.

    Figures and a summary are taken from the answer only where the task's schema asked for a structured one.
    """
    told = _structured(answer) if schema and completed else {}
    summary = told.get("summary")
    if not isinstance(summary, str) or not summary.strip():
        summary = answer.strip()[:SUMMARY_CHARACTERS]
    return TaskResult(
        answer=answer,
        files_changed=tuple(files_changed),
        tests_run=_integer(told, "testsRun", "tests_run"),
        tests_passed=_integer(told, "testsPassed", "tests_passed"),
        summary=summary[: 4 * SUMMARY_CHARACTERS],
        usage=added(before.usage, usage),
        diff_path=before.diff_path,
        branch=before.branch,
        worktree=before.worktree,
    )


def added(before: Usage, more: Usage) -> Usage:
    """Return the tokens of two attempts together."""
    return Usage(
        input=before.input + more.input,
        cached_input=before.cached_input + more.cached_input,
        output=before.output + more.output,
        reasoning_output=before.reasoning_output + more.reasoning_output,
        context_window=more.context_window or before.context_window,
    )


def _structured(answer: str) -> dict[str, object]:
    try:
        told = json.loads(answer)
    except (ValueError, RecursionError):
        return {}
    return told if isinstance(told, dict) else {}


def _integer(told: dict[str, object], *names: str) -> int | None:
    for name in names:
        value = told.get(name)
        # A bool is an int in Python and no number of tests.
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 53:
            return value
    return None


@dataclass(slots=True)
class Coalescer:
    """Lets a text through at most once in `min_between_s`; what comes sooner waits, and the latest one wins."""

    min_between_s: float = MIN_BETWEEN_S
    _shown: str = ""
    _wanted: str = ""
    _shown_at: float = -1e9

    def offer(self, text: str) -> None:
        """Say what the text is now."""
        self._wanted = text

    def due_at(self) -> float | None:
        """Return the monotonic time from which there is something to take; None where there is nothing new."""
        return self._shown_at + self.min_between_s if self._wanted != self._shown else None

    def take(self, now: float, *, last: bool = False) -> str | None:
        """Return the text that is to be shown now, or None. `last` does not wait."""
        due = self.due_at()
        if due is None or (now < due and not last):
            return None
        self._shown, self._shown_at = self._wanted, now
        return self._shown

    def put_back(self) -> None:
        """Say that what was taken could not be shown."""
        self._shown = ""
