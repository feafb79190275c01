"""A transcript of `step`: what the core hears, what it then wants done, and what it is by then."""

from __future__ import annotations

from dataclasses import dataclass, field

from codex_supervisor.instance.budget import Policy, RestartBudget
from codex_supervisor.instance.events import Command, EndTurn, Event
from codex_supervisor.instance.states import Core, State
from codex_supervisor.instance.step import step
from codex_supervisor.store.records import Cause, Outcome

POLICY = Policy()


@dataclass
class Story:
    """One instance from its first event on. The clock stands at 0 and moves only by `at`."""

    policy: Policy = POLICY
    now: float = 0.0
    core: Core = field(init=False)

    def __post_init__(self) -> None:
        self.core = Core(RestartBudget.full(self.policy, self.now))

    def at(self, now: float) -> Story:
        """Let the time be `now`."""
        assert now >= self.now, "time does not run backwards"
        self.now = now
        return self

    def hears(self, event: Event, *wanted: Command) -> Story:
        """Let `event` happen; exactly `wanted` is to be done, in that order."""
        self.core, commands = step(self.core, event, self.now, self.policy)
        assert commands == wanted
        return self

    def ignores(self, *events: Event) -> Story:
        """Let `events` happen; each changes nothing."""
        for event in events:
            assert step(self.core, event, self.now, self.policy) == (self.core, ()), event
        return self

    def is_now(self, state: State, *queue: str) -> Story:
        """The state, and the turns that wait, in order."""
        assert self.core.state == state
        assert self.core.queue == queue
        return self

    def restarts(self, number: int) -> Story:
        """How many deaths were answered by a restart so far."""
        assert self.core.restarts == number
        return self


def cancelled(turn: str) -> EndTurn:
    """The end of a turn whose instance was stopped."""
    return EndTurn(turn, Outcome.CANCELLED, Cause.USER, "the instance was stopped")


def failed(turn: str, reason: str, cause: Cause = Cause.CHILD_DIED) -> EndTurn:
    """The end of a turn whose instance has failed."""
    return EndTurn(turn, Outcome.FAILED, cause, reason)
