"""What can happen to an instance, and what it then wants done. Plain values without behaviour."""

from __future__ import annotations

from dataclasses import dataclass

from codex_supervisor.store.records import Cause, Outcome

# --- events ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class StartWanted:
    """A person wants it up."""


@dataclass(frozen=True, slots=True)
class StopWanted:
    """A person wants it down; `force` cuts a running turn off, which is else finished first."""

    force: bool


@dataclass(frozen=True, slots=True)
class RestartWanted:
    """A person wants a new child; `force` cuts a running turn off, to be carried on by the new child."""

    force: bool


@dataclass(frozen=True, slots=True)
class HibernateWanted:
    """Memory is short: an idle child shall go."""


@dataclass(frozen=True, slots=True)
class TurnAccepted:
    """A turn is in the journal and wants to run."""

    turn: str


@dataclass(frozen=True, slots=True)
class TurnFound:
    """After a restart of the supervisor the journal holds a turn that was sent and has no outcome."""

    turn: str


@dataclass(frozen=True, slots=True)
class TurnOver:
    """The running turn's outcome is recorded."""

    turn: str


@dataclass(frozen=True, slots=True)
class CancelWanted:
    """Somebody wants a turn to end, for `cause`."""

    turn: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class ChildReady:
    """The child is initialised."""

    generation: int


@dataclass(frozen=True, slots=True)
class ChildAdopted:
    """The child of an earlier supervisor was verified and connected; `turn` is the turn that it may run."""

    generation: int
    turn: str | None


@dataclass(frozen=True, slots=True)
class ChildFound:
    """The child of an earlier supervisor was verified and has not answered yet; `turn` is the turn that it may run.

    `ChildReady` follows, or `ChildDied`.
    """

    generation: int
    turn: str | None


@dataclass(frozen=True, slots=True)
class ChildDied:
    """The child is gone, or never came up. `jitter` is a random number in [0, 1) for the back-off."""

    generation: int
    reason: str
    jitter: float


@dataclass(frozen=True, slots=True)
class StartRefused:
    """Starting cannot work until somebody changes something: Codex is missing, or its configuration is broken."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class StartDeferred:
    """No child was started, for what it needs is away and may come back: the gateway. `jitter` as in `ChildDied`."""

    generation: int
    reason: str
    jitter: float


@dataclass(frozen=True, slots=True)
class TreeGone:
    """The child that was being stopped is gone with everything that it started."""

    generation: int


@dataclass(frozen=True, slots=True)
class ProbeAnswered:
    """The child answered a probe."""

    generation: int


@dataclass(frozen=True, slots=True)
class ProbeMissed:
    """The child did not answer a probe in time."""

    generation: int


@dataclass(frozen=True, slots=True)
class RecycleWanted:
    """The child shall go between turns, and the next turn gets a new one: it holds too much memory, or has no login."""

    generation: int


@dataclass(frozen=True, slots=True)
class Tick:
    """The time that `next_wake` named has come."""


Event = (
    StartWanted
    | StopWanted
    | RestartWanted
    | HibernateWanted
    | TurnAccepted
    | TurnFound
    | TurnOver
    | CancelWanted
    | ChildReady
    | ChildAdopted
    | ChildFound
    | ChildDied
    | StartRefused
    | StartDeferred
    | TreeGone
    | ProbeAnswered
    | ProbeMissed
    | RecycleWanted
    | Tick
)

# --- commands -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Spawn:
    """Bring child `generation` up, once every earlier one is proven gone."""

    generation: int


@dataclass(frozen=True, slots=True)
class StopChild:
    """End child `generation` completely and answer with `TreeGone`. `cut` where a turn runs: no polite wait."""

    generation: int
    cut: bool


@dataclass(frozen=True, slots=True)
class KillChild:
    """Kill child `generation`, which does not answer; its death then arrives as `ChildDied`."""

    generation: int
    reason: str


@dataclass(frozen=True, slots=True)
class RunTurn:
    """Give a turn to child `generation`; its run knows from the journal whether an earlier child had it."""

    generation: int
    turn: str


@dataclass(frozen=True, slots=True)
class InterruptTurn:
    """Ask the child to end the running turn, which then ends for `cause`."""

    generation: int
    turn: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class EndTurn:
    """Record the outcome of a turn that no child has."""

    turn: str
    outcome: Outcome
    cause: Cause
    error: str


Command = Spawn | StopChild | KillChild | RunTurn | InterruptTurn | EndTurn
