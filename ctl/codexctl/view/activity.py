"""What Codex is doing now, worked out from a turn's events."""

from __future__ import annotations

from dataclasses import dataclass, replace

from codex_control.safe_text import one_line
from codex_control.v1.turns_pb2 import TurnEvent

from codexctl.view.lines import retry_line

THINKING = "thinking"


@dataclass(frozen=True)
class Activity:
    """One thing that is done at present. `since_s` is on the caller's monotonic clock; `plan` may be empty."""

    what: str
    since_s: float
    plan: str = ""

    def text(self) -> str:
        """The activity and the step of the plan that it belongs to."""
        return f"{self.what} · {self.plan}" if self.plan else self.what


def next_activity(now: Activity, event: TurnEvent, at_s: float) -> Activity:
    """The activity after `event`; the time it began stays where the activity stays."""
    if event.WhichOneof("event") == "plan":
        return replace(now, plan=_plan_step(event))
    what = _what(event)
    return now if what is None or what == now.what else replace(now, what=what, since_s=at_s)


def _plan_step(event: TurnEvent) -> str:
    steps = event.plan.steps
    current = next((number for number, step in enumerate(steps) if step.status == "inProgress"), None)
    return "" if current is None else f"step {current + 1}/{len(steps)}: {one_line(steps[current].text, 60)}"


def _what(event: TurnEvent) -> str | None:
    """What `event` says is done now; None where it says nothing about it."""
    match event.WhichOneof("event"):
        case "accepted":
            return "accepted"
        case "queued":
            reason = f" ({one_line(event.queued.reason, 60)})" if event.queued.reason else ""
            return f"waiting in the queue, position {event.queued.position}{reason}"
        case "started" | "reasoning" | "approval_resolved":
            return THINKING
        case "text":
            return "answering"
        case "command":
            return (
                f"running: {one_line(event.command.command, 80)}" if event.command.status == "inProgress" else THINKING
            )
        case "file":
            return f"changing {one_line(event.file.path, 80)}" if event.file.status == "inProgress" else THINKING
        case "tool":
            tool = event.tool
            return THINKING if tool.completed else f"{tool.kind}: {one_line(tool.subject, 80)}"
        case "retry":
            return retry_line(event.retry, 80)
        case "approval":
            return "waiting for an answer of a person"
        case "recovery":
            return f"recovering: {one_line(event.recovery.what_next, 80)}"
        case _:
            return None
