"""What can happen to an instance, and what it then wants done. Plain values without behaviour."""

from __future__ import annotations

import msgspec

from codex_supervisor.store.records import Cause, Outcome

# --- events ---------------------------------------------------------------------------------------------------------


class StartWanted(msgspec.Struct, frozen=True):
    """A person wants it up."""


class StopWanted(msgspec.Struct, frozen=True):
    """A person wants it down; `force` cuts a running turn off, which is else finished first."""

    force: bool


class RestartWanted(msgspec.Struct, frozen=True):
    """A person wants a new child; `force` cuts a running turn off, to be carried on by the new child."""

    force: bool


class HibernateWanted(msgspec.Struct, frozen=True):
    """Memory is short: an idle child shall go."""


class TurnAccepted(msgspec.Struct, frozen=True):
    """A turn is in the journal and wants to run."""

    turn: str


class TurnFound(msgspec.Struct, frozen=True):
    """After a restart of the supervisor the journal holds a turn that was sent and has no outcome."""

    turn: str


class TurnOver(msgspec.Struct, frozen=True):
    """The running turn's outcome is recorded."""

    turn: str


class CancelWanted(msgspec.Struct, frozen=True):
    """Somebody wants a turn to end, for `cause`."""

    turn: str
    cause: Cause


class ChildReady(msgspec.Struct, frozen=True):
    """The child is initialised."""

    generation: int


class ChildAdopted(msgspec.Struct, frozen=True):
    """The child of an earlier supervisor was verified and connected; `turn` is the turn that it may run."""

    generation: int
    turn: str | None


class ChildFound(msgspec.Struct, frozen=True):
    """The child of an earlier supervisor was verified and has not answered yet; `turn` is the turn that it may run.

    `ChildReady` follows, or `ChildDied`.
    """

    generation: int
    turn: str | None


class ChildDied(msgspec.Struct, frozen=True):
    """The child is gone, or never came up. `jitter` is a random number in [0, 1) for the back-off."""

    generation: int
    reason: str
    jitter: float


class StartRefused(msgspec.Struct, frozen=True):
    """Starting cannot work until somebody changes something: Codex is missing, or its configuration is broken."""

    generation: int
    reason: str


class StartDeferred(msgspec.Struct, frozen=True):
    """No child was started, for what it needs is away and may come back: the gateway. `jitter` as in `ChildDied`."""

    generation: int
    reason: str
    jitter: float


class TreeGone(msgspec.Struct, frozen=True):
    """The child that was being stopped is gone with everything that it started."""

    generation: int


class ProbeAnswered(msgspec.Struct, frozen=True):
    """The child answered a probe."""

    generation: int


class ProbeMissed(msgspec.Struct, frozen=True):
    """The child did not answer a probe in time."""

    generation: int


class RecycleWanted(msgspec.Struct, frozen=True):
    """The child shall go between turns, and the next turn gets a new one: it holds too much memory, or has no login."""

    generation: int


class Tick(msgspec.Struct, frozen=True):
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


class Spawn(msgspec.Struct, frozen=True):
    """Bring child `generation` up, once every earlier one is proven gone."""

    generation: int


class StopChild(msgspec.Struct, frozen=True):
    """End child `generation` completely and answer with `TreeGone`. `cut` where a turn runs: no polite wait."""

    generation: int
    cut: bool


class KillChild(msgspec.Struct, frozen=True):
    """Kill child `generation`, which does not answer; its death then arrives as `ChildDied`."""

    generation: int
    reason: str


class RunTurn(msgspec.Struct, frozen=True):
    """Give a turn to child `generation`; its run knows from the journal whether an earlier child had it."""

    generation: int
    turn: str


class InterruptTurn(msgspec.Struct, frozen=True):
    """Ask the child to end the running turn, which then ends for `cause`."""

    generation: int
    turn: str
    cause: Cause


class EndTurn(msgspec.Struct, frozen=True):
    """Record the outcome of a turn that no child has."""

    turn: str
    outcome: Outcome
    cause: Cause
    error: str


Command = Spawn | StopChild | KillChild | RunTurn | InterruptTurn | EndTurn
