"""What an instance can be. Each state carries just what is true in it, so that illegal ones cannot be written."""

from __future__ import annotations

import enum
import math

import msgspec

from codex_supervisor.instance.budget import RestartBudget


class Then(enum.Enum):
    """What follows when a child is gone."""

    STOP = "stopped"
    """A person wants it down."""
    RESTART = "restart"
    """A new child comes up at once."""
    HIBERNATE = "hibernated"
    """It sleeps until the next ask."""


class Stopped(msgspec.Struct, frozen=True):
    """No child, and none wanted."""


class Hibernated(msgspec.Struct, frozen=True):
    """No child, because it was idle; the next ask wakes it."""


class Starting(msgspec.Struct, frozen=True):
    """Child `generation` is being spawned, connected and initialised; `carry_on` is the turn to resume then.

    `last` says that a person wants it down once that turn has ended.
    """

    generation: int
    deadline: float
    carry_on: str | None = None
    overdue: bool = False
    last: bool = False


class Ready(msgspec.Struct, frozen=True):
    """Child `generation` waits for a turn since `idle_since`."""

    generation: int
    idle_since: float
    misses: int = 0


class Busy(msgspec.Struct, frozen=True):
    """Child `generation` runs `turn`. `then` is what follows the turn where a person or a limit asked for it."""

    generation: int
    turn: str
    misses: int = 0
    then: Then | None = None


class Backoff(msgspec.Struct, frozen=True):
    """The child died for `reason`; the next start is at `until`. `carry_on` and `last` are as in `Starting`."""

    until: float
    reason: str
    carry_on: str | None = None
    last: bool = False


class Stopping(msgspec.Struct, frozen=True):
    """Child `generation` and everything that it started are being ended; then comes `then`.

    A turn in `carry_on` is resumed by another child before that.
    """

    generation: int
    then: Then
    carry_on: str | None = None


class Failed(msgspec.Struct, frozen=True):
    """The restart budget is spent, or a start cannot work; tried again at `retry_at` or when a person says so."""

    reason: str
    retry_at: float


State = Stopped | Hibernated | Starting | Ready | Busy | Backoff | Stopping | Failed


class Core(msgspec.Struct, frozen=True):
    """The whole of what an instance decides from.

    `queue` holds the ids of the turns that wait, in order; the running turn is in the state. `generation` counts the
    children; a late event of an earlier child is known by its number. `deferrals` counts the starts in a row that were
    put off.
    """

    budget: RestartBudget
    state: State = Stopped()
    queue: tuple[str, ...] = ()
    generation: int = 0
    restarts: int = 0
    deferrals: int = 0


def state_name(state: State) -> str:
    """Return the state's name as it stands in the API, the metrics and the logs: lower case."""
    return type(state).__name__.lower()


def child_generation(state: State) -> int | None:
    """Return the generation of the child that exists in this state, or None."""
    match state:
        case Starting(generation=number) | Ready(generation=number) | Busy(generation=number):
            return number
        case Stopping(generation=number):
            return number
        case _:
            return None


def running_turn(state: State) -> str | None:
    """Return the turn that runs or that will be carried on, or None."""
    match state:
        case Busy(turn=turn):
            return turn
        case Starting(carry_on=turn) | Backoff(carry_on=turn) | Stopping(carry_on=turn):
            return turn
        case _:
            return None


def next_wake(core: Core, idle_after_s: float) -> float | None:
    """Return the monotonic time at which `Tick` is due, or None."""
    match core.state:
        case Starting(deadline=deadline, overdue=False):
            return deadline
        case Backoff(until=until):
            return until
        case Failed(retry_at=retry_at) if math.isfinite(retry_at):
            return retry_at
        case Ready(idle_since=idle_since) if idle_after_s > 0:
            return idle_since + idle_after_s
        case _:
            return None
