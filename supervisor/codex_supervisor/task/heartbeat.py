"""Is a task alive, and does it move? Pure.

- **moves**: its child answers, and since the last look something has come from Codex for its turn, or a command that
  the turn started still runs (its process lives). A retry after a failure of the model provider is something that came.
  Each look at a task that moves is a heartbeat.
- **still**: its child answers, but nothing has come and no command runs.
- **dead**: it has no child, or one that does not answer. The instance is bringing up another one, or has given up.

No heartbeat for `stall_after_s`: the turn is interrupted. What the task ends its attempt with says which of the two it
was: `stalled` for still, `child_died` for dead.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, replace


class Life(enum.Enum):
    """What was seen of a task."""

    MOVES = "moves"
    STILL = "still"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class Pulse:
    """One look."""

    answers: bool
    """Whether there is a child, its process lives, and it has answered the last probe."""
    last_event_at: float
    """When something came from Codex for the turn, on the monotonic clock."""
    command_lives: bool
    """Whether a command of the turn is under way and its process lives."""
    starting: bool = False
    """Whether its child is being started. That has a time limit of its own, so the time to a stall begins after it."""


@dataclass(frozen=True, slots=True)
class Heart:
    """The state between two looks; times on the monotonic clock."""

    looked_at: float
    beat_at: float
    """The last heartbeat, or the start of the attempt or of its child."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a look came to."""

    life: Life
    beats: bool
    """Whether it is a heartbeat."""
    stalled: bool
    """Whether the turn is to be interrupted."""
    quiet_s: float
    """Time since the last heartbeat."""


def look(heart: Heart, pulse: Pulse, now: float, stall_after_s: float) -> tuple[Heart, Finding]:
    """Judge one look at `now`; `stall_after_s` 0 means that nothing ever counts as stalled."""
    if not pulse.answers:
        life = Life.DEAD
    elif pulse.command_lives or pulse.last_event_at > heart.looked_at:
        life = Life.MOVES
    else:
        life = Life.STILL
    beats = life is Life.MOVES
    heart = replace(heart, looked_at=now, beat_at=now if beats or pulse.starting else heart.beat_at)
    quiet_s = now - heart.beat_at
    stalled = 0 < stall_after_s <= quiet_s
    return heart, Finding(life, beats, stalled, quiet_s)


def next_look_s(interval_s: float, heart: Heart, now: float, stall_after_s: float) -> float:
    """Return the time until the next look: after the interval, or when it would count as stalled, if that is sooner."""
    until = interval_s
    if stall_after_s > 0:
        until = min(until, heart.beat_at + stall_after_s - now)
    return max(0.01, until)
