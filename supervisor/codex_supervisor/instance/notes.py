"""What is told of a decision: the fields of its log record, and the reasons under which it is counted. Pure."""

from __future__ import annotations

import math

from codex_supervisor.instance.events import (
    ChildDied,
    Event,
    RestartWanted,
    StartDeferred,
    StartRefused,
    Tick,
)
from codex_supervisor.instance.states import (
    Backoff,
    Busy,
    Core,
    Failed,
    Ready,
    Starting,
    State,
    Stopping,
    Then,
    running_turn,
    state_name,
)

Fields = dict[str, str | int | float]


def state_note(before: Core, event: Event, after: Core, now: float) -> Fields | None:
    """Return the fields of `state_changed`, or None where nothing changed that a person would ask about.

    `because` is the event's name; `why` its reason in words; `wait_s` the seconds until the next start; `then` what
    follows the present state; `turn` the turn that runs or is carried on.
    """
    was, state = before.state, after.state
    if not _is_told(before, after):
        return None
    fields: Fields = {"state": state_name(state), "was": state_name(was), "because": type(event).__name__}
    fields["attempt"] = after.generation
    if isinstance(event, ChildDied | StartRefused | StartDeferred):
        fields["why"] = event.reason
    match state:
        case Backoff(until=due) | Failed(retry_at=due) if math.isfinite(due):
            fields["wait_s"] = round(max(0.0, due - now), 3)
        case Stopping(then=then) | Busy(then=Then() as then):
            fields["then"] = then.value
        case _:
            pass
    if _is_last(state):
        fields["then"] = Then.STOP.value
    turn = running_turn(state) or running_turn(was)
    if turn is not None:
        fields["turn"] = turn
    return fields


def _is_told(before: Core, after: Core) -> bool:
    was, state = before.state, after.state
    match was, state:
        case Busy(turn=earlier, then=then_was), Busy(turn=turn, then=then):
            return earlier != turn or then_was is not then
        case Stopping(then=then_was), Stopping(then=then):
            return then_was is not then
        case _ if _is_last(state) and not _is_last(was):
            return True
        case _:
            return state_name(state) != state_name(was) or after.generation != before.generation


def _is_last(state: State) -> bool:
    return isinstance(state, Starting | Backoff) and state.last


def restart_reason(before: Core, event: Event, after: Core) -> str | None:
    """Return the reason under which a restart is counted, as in `metrics.RESTART_REASONS`; None where it is none."""
    was, state = before.state, after.state
    match event:
        case ChildDied() if after.restarts != before.restarts:
            match was:
                case Starting():
                    return "start_failed"
                case Ready(misses=misses) | Busy(misses=misses) if misses:
                    return "probe_misses"
                case _:
                    return "child_died"
        case RestartWanted() if _restarts(state) and not _restarts(was):
            return "requested"
        case Tick() if isinstance(was, Failed) and isinstance(state, Starting):
            return "cool_down"
        case _:
            return None


def _restarts(state: State) -> bool:
    match state:
        case Stopping(then=Then.RESTART) | Busy(then=Then.RESTART):
            return True
        case _:
            return False


def idled(before: Core, event: Event, after: Core) -> bool:
    """Say whether this is a hibernation for idleness; the others are counted by who asks for them."""
    match before.state, event, after.state:
        case Ready(), Tick(), Stopping(then=Then.HIBERNATE):
            return True
        case _:
            return False
