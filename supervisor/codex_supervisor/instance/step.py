"""The decision: `step(core, event, now, policy) -> (core, commands)`. Pure; no clock, no I/O, no logging.

```
Stopped -> Starting -> Ready <-> Busy            Ready -idle-> Hibernated -ask-> Starting
   any -child died-> Backoff -> Starting         budget spent -> Failed (until a person or the cool-down)
   any -stop-> Stopping -> Stopped               Stopping ends only when the child's tree is gone
```

Events of an earlier child (a smaller generation) are late and change nothing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from msgspec.structs import replace

from codex_supervisor.instance.budget import Policy, RestartBudget, backoff_s
from codex_supervisor.instance.events import (
    CancelWanted,
    ChildAdopted,
    ChildDied,
    ChildFound,
    ChildReady,
    Command,
    EndTurn,
    Event,
    HibernateWanted,
    InterruptTurn,
    KillChild,
    ProbeAnswered,
    ProbeMissed,
    RecycleWanted,
    RestartWanted,
    RunTurn,
    Spawn,
    StartDeferred,
    StartRefused,
    StartWanted,
    StopChild,
    StopWanted,
    Tick,
    TreeGone,
    TurnAccepted,
    TurnFound,
    TurnOver,
)
from codex_supervisor.instance.states import (
    Backoff,
    Busy,
    Core,
    Failed,
    Hibernated,
    Ready,
    Starting,
    State,
    Stopped,
    Stopping,
    Then,
    child_generation,
    running_turn,
)
from codex_supervisor.store.records import Cause, Outcome

Decision = tuple[Core, tuple[Command, ...]]


def step(core: Core, event: Event, now: float, policy: Policy) -> Decision:
    """Return what the instance is after `event` at monotonic time `now`, and what is to be done, in order."""
    return _Step(core, now, policy).decide(event)


@dataclass(frozen=True, slots=True)
class _Step:
    core: Core
    now: float
    policy: Policy

    def decide(self, event: Event) -> Decision:
        match event:
            case StartWanted():
                return self._start_wanted()
            case StopWanted(force=force):
                return self._stop_wanted(force)
            case RestartWanted(force=force):
                return self._restart_wanted(force)
            case HibernateWanted():
                return self._hibernate_wanted()
            case TurnAccepted(turn=turn):
                return self._turn_accepted(turn)
            case TurnFound(turn=turn):
                return self._turn_found(turn)
            case TurnOver(turn=turn):
                return self._turn_over(turn)
            case CancelWanted(turn=turn, cause=cause):
                return self._cancel_wanted(turn, cause)
            case ChildReady(generation=generation):
                return self._child_ready(generation)
            case ChildAdopted(generation=generation, turn=turn):
                return self._child_adopted(generation, turn)
            case ChildFound(generation=generation, turn=turn):
                return self._child_found(generation, turn)
            case ChildDied(generation=generation, reason=reason, jitter=jitter):
                return self._child_died(generation, reason, jitter)
            case StartRefused(generation=generation, reason=reason):
                return self._start_refused(generation, reason)
            case StartDeferred(generation=generation, reason=reason, jitter=jitter):
                return self._start_deferred(generation, reason, jitter)
            case TreeGone(generation=generation):
                return self._tree_gone(generation)
            case ProbeAnswered(generation=generation):
                return self._probed(generation, lambda _: 0)
            case ProbeMissed(generation=generation):
                return self._probed(generation, lambda misses: misses + 1)
            case RecycleWanted(generation=generation):
                return self._recycle_wanted(generation)
            case Tick():
                return self._tick()
            case _:
                assert_never(event)

    # --- what people want -------------------------------------------------------------------------------------------

    def _start_wanted(self) -> Decision:
        match self.core.state:
            case Stopped() | Hibernated():
                return self._spawn(self.core, None)
            case Failed():
                # A person has looked at it: the budget is theirs again.
                return self._spawn(replace(self.core, budget=RestartBudget.full(self.policy, self.now)), None)
            case Stopping() as state:
                return replace(self.core, state=replace(state, then=Then.RESTART)), ()
            case Busy(then=Then.STOP | Then.HIBERNATE) as state:
                return replace(self.core, state=replace(state, then=None)), ()
            case (Starting(last=True) | Backoff(last=True)) as state:
                return replace(self.core, state=replace(state, last=False)), ()
            case Starting() | Ready() | Busy() | Backoff():
                return self.core, ()
            case _:
                assert_never(self.core.state)

    def _stop_wanted(self, force: bool) -> Decision:
        cancelled = self._ends(self.core.queue, Outcome.CANCELLED, Cause.USER, "the instance was stopped")
        core = replace(self.core, queue=())
        state = core.state
        match state:
            case Stopped() | Hibernated() | Failed():
                return replace(core, state=Stopped()), cancelled
            case (Starting(carry_on=str()) | Backoff(carry_on=str())) as state if not force:
                return replace(core, state=replace(state, last=True)), cancelled
            case Stopping() as state if not force:
                return replace(core, state=replace(state, then=Then.STOP)), cancelled
            case Backoff(carry_on=turn):
                return replace(core, state=Stopped()), self._cut(turn) + cancelled
            case Stopping(generation=generation, carry_on=turn):
                return replace(core, state=Stopping(generation, Then.STOP)), self._cut(turn) + cancelled
            case Starting(generation=generation, carry_on=turn):
                stop = (StopChild(generation, cut=True),)
                return replace(core, state=Stopping(generation, Then.STOP)), self._cut(turn) + cancelled + stop
            case Ready(generation=generation):
                return replace(core, state=Stopping(generation, Then.STOP)), (
                    *cancelled,
                    StopChild(generation, cut=False),
                )
            case Busy(generation=generation, turn=turn):
                if not force:
                    return replace(core, state=replace(state, then=Then.STOP)), cancelled
                stop = (StopChild(generation, cut=True),)
                return replace(core, state=Stopping(generation, Then.STOP)), self._cut(turn) + cancelled + stop
            case _:
                assert_never(state)

    def _restart_wanted(self, force: bool) -> Decision:
        state = self.core.state
        match state:
            case Ready(generation=generation):
                return self._stop_then(generation, Then.RESTART, None)
            case Busy(generation=generation, turn=turn):
                if not force:
                    return replace(self.core, state=replace(state, then=Then.RESTART)), ()
                return self._stop_then(generation, Then.RESTART, turn)
            case Backoff(carry_on=turn):
                return self._spawn(self.core, turn)
            case Starting(generation=generation, carry_on=turn):
                return self._stop_then(generation, Then.RESTART, turn)
            case Stopped() | Hibernated() | Failed() | Stopping():
                return self._start_wanted()
            case _:
                assert_never(state)

    def _hibernate_wanted(self) -> Decision:
        match self.core.state:
            case Ready(generation=generation):
                return self._stop_then(generation, Then.HIBERNATE, None)
            case _:
                return self.core, ()

    def _cancel_wanted(self, turn: str, cause: Cause) -> Decision:
        if turn in self.core.queue:
            core = replace(self.core, queue=tuple(t for t in self.core.queue if t != turn))
            sentence = _sentence_of(cause, "before it ran", self.core.state)
            return core, self._ends((turn,), _outcome_of(cause), cause, sentence)
        match self.core.state:
            case Busy(generation=generation, turn=running) if running == turn:
                return self.core, (InterruptTurn(generation, turn, cause),)
            case (Starting(carry_on=held) | Backoff(carry_on=held) | Stopping(carry_on=held)) as state if held == turn:
                core, commands = self._carry_on_nothing(state)
                sentence = _sentence_of(cause, "while its child was away", state)
                return core, self._ends((turn,), _outcome_of(cause), cause, sentence) + commands
            case _:
                return self.core, ()

    # --- turns ------------------------------------------------------------------------------------------------------

    def _turn_accepted(self, turn: str) -> Decision:
        core = replace(self.core, queue=(*self.core.queue, turn))
        match core.state:
            case Stopped() | Hibernated():
                return self._spawn(core, None)
            case Ready(generation=generation):
                return self._next_turn(core, generation)
            case Stopping(then=Then.STOP | Then.HIBERNATE) as state:
                # An ask after the stop is the later wish.
                return replace(core, state=replace(state, then=Then.RESTART)), ()
            case Failed(reason=reason):
                # The shell refuses asks in this state; one that was under way when it failed ends here.
                return self.core, self._ends((turn,), Outcome.FAILED, Cause.CHILD_DIED, reason)
            case Busy(then=Then.STOP) as state:
                return replace(core, state=replace(state, then=None)), ()
            case (Starting(last=True) | Backoff(last=True)) as state:
                return replace(core, state=replace(state, last=False)), ()
            case Starting() | Busy() | Backoff() | Stopping():
                return core, ()
            case _:
                assert_never(core.state)

    def _turn_found(self, turn: str) -> Decision:
        match self.core.state:
            case Stopped():
                return self._spawn(self.core, turn)
            case _:
                # It is the first thing that an instance hears of. Where it is not, the turn waits like any other, and
                # its run finds out by itself that it was sent before.
                return self._turn_accepted(turn)

    def _turn_over(self, turn: str) -> Decision:
        match self.core.state:
            case Busy(generation=generation, turn=running, then=then) if running == turn:
                if then is not None:
                    return self._stop_then(generation, then, None)
                return self._next_turn(self.core, generation)
            case (Starting(carry_on=held) | Backoff(carry_on=held) | Stopping(carry_on=held)) as state if held == turn:
                # It ended at the moment its child went: there is nothing left to carry on.
                return self._carry_on_nothing(state)
            case _:
                return self.core, ()

    def _carry_on_nothing(self, state: Starting | Backoff | Stopping) -> Decision:
        match state:
            case Starting(generation=generation, last=True):
                stopping = Stopping(generation, Then.STOP)
                return replace(self.core, state=stopping), (StopChild(generation, cut=True),)
            case Backoff(last=True):
                return replace(self.core, state=Stopped()), ()
            case _:
                return replace(self.core, state=replace(state, carry_on=None)), ()

    def _next_turn(self, core: Core, generation: int) -> Decision:
        if not core.queue:
            return replace(core, state=Ready(generation, self.now)), ()
        turn, *rest = core.queue
        return replace(core, state=Busy(generation, turn), queue=tuple(rest)), (RunTurn(generation, turn),)

    # --- the child --------------------------------------------------------------------------------------------------

    def _child_ready(self, generation: int) -> Decision:
        match self.core.state:
            case Starting(generation=current, carry_on=turn, last=last) if current == generation:
                core = replace(self.core, deferrals=0)
                if turn is not None:
                    busy = Busy(generation, turn, then=Then.STOP if last else None)
                    return replace(core, state=busy), (RunTurn(generation, turn),)
                return self._next_turn(core, generation)
            case _:
                return self.core, ()

    def _child_adopted(self, generation: int, turn: str | None) -> Decision:
        core = replace(self.core, generation=generation)
        if turn is not None:
            return replace(core, state=Busy(generation, turn)), (RunTurn(generation, turn),)
        return self._next_turn(core, generation)

    def _child_found(self, generation: int, turn: str | None) -> Decision:
        state = Starting(generation, self.now + self.policy.start_timeout_s, turn)
        return replace(self.core, state=state, generation=generation), ()

    def _child_died(self, generation: int, reason: str, jitter: float) -> Decision:
        state = self.core.state
        # Stopping waits for TreeGone: the leader's death is not the end of its tree.
        if child_generation(state) != generation or isinstance(state, Stopping):
            return self.core, ()
        turn, last = running_turn(state), _is_last(state)
        budget = self.core.budget.spend(self.policy, self.now)
        if budget is None:
            return self._fail(turn, reason, Cause.CHILD_DIED)
        wait = backoff_s(self.policy, budget.recent_restarts(self.policy), jitter)
        core = replace(self.core, budget=budget, restarts=self.core.restarts + 1)
        if wait <= 0.0:
            return self._spawn(core, turn, last)
        return replace(core, state=Backoff(self.now + wait, reason, turn, last)), ()

    def _start_refused(self, generation: int, reason: str) -> Decision:
        match self.core.state:
            case Starting(generation=current, carry_on=turn) if current == generation:
                return self._fail(turn, reason, Cause.CODEX)
            case _:
                return self.core, ()

    def _start_deferred(self, generation: int, reason: str, jitter: float) -> Decision:
        match self.core.state:
            case Starting(generation=current, carry_on=turn, last=last) if current == generation:
                # No child is to blame, so no budget is spent: what waits, waits until its own time is up.
                deferrals = self.core.deferrals + 1
                wait = backoff_s(self.policy, deferrals + 1, jitter)
                state = Backoff(self.now + wait, reason, turn, last)
                return replace(self.core, state=state, deferrals=deferrals), ()
            case _:
                return self.core, ()

    def _fail(self, turn: str | None, reason: str, cause: Cause) -> Decision:
        waiting = (*((turn,) if turn else ()), *self.core.queue)
        ends = self._ends(waiting, Outcome.FAILED, cause, reason)
        generation = child_generation(self.core.state)
        if _is_last(self.core.state) and generation is not None:
            # It is wanted down, so nothing of it is tried again.
            core = replace(self.core, state=Stopping(generation, Then.STOP), queue=())
            return core, (*ends, StopChild(generation, cut=True))
        cool_down_s = self.policy.cool_down_s or math.inf
        return replace(self.core, state=Failed(reason, self.now + cool_down_s), queue=()), ends

    def _tree_gone(self, generation: int) -> Decision:
        match self.core.state:
            case Stopping(generation=current, then=then, carry_on=turn) if current == generation:
                if then is Then.RESTART or turn is not None or self.core.queue:
                    return self._spawn(self.core, turn, last=then is Then.STOP and turn is not None)
                return replace(self.core, state=Stopped() if then is Then.STOP else Hibernated()), ()
            case _:
                return self.core, ()

    def _probed(self, generation: int, count: Callable[[int], int]) -> Decision:
        match self.core.state:
            case (Ready(generation=current) | Busy(generation=current)) as state if current == generation:
                misses = count(state.misses)
                core = replace(self.core, state=replace(state, misses=misses))
                if misses == self.policy.probe_misses:
                    return core, (KillChild(generation, f"{misses} probes in a row went unanswered"),)
                return core, ()
            case _:
                return self.core, ()

    def _recycle_wanted(self, generation: int) -> Decision:
        match self.core.state:
            case Ready(generation=current) if current == generation:
                return self._stop_then(generation, Then.HIBERNATE, None)
            case Busy(generation=current, then=None) as state if current == generation:
                return replace(self.core, state=replace(state, then=Then.HIBERNATE)), ()
            case _:
                return self.core, ()

    def _tick(self) -> Decision:
        match self.core.state:
            case Starting(generation=generation, deadline=deadline, overdue=False) as state if self.now >= deadline:
                reason = f"it was not ready within {self.policy.start_timeout_s:g} s"
                return replace(self.core, state=replace(state, overdue=True)), (KillChild(generation, reason),)
            case Backoff(until=until, carry_on=turn, last=last) if self.now >= until:
                return self._spawn(self.core, turn, last)
            case Failed(retry_at=retry_at) if self.now >= retry_at:
                # One try on an empty budget: a full one would let the crash loop run again.
                return self._spawn(replace(self.core, budget=RestartBudget(0.0, self.now)), None)
            case Ready(generation=generation, idle_since=idle_since) if (
                # As `next_wake` says it: a difference of the times rounds otherwise than their sum.
                self.policy.idle_after_s > 0 and self.now >= idle_since + self.policy.idle_after_s
            ):
                return self._stop_then(generation, Then.HIBERNATE, None)
            case _:
                return self.core, ()

    # --- shared pieces ----------------------------------------------------------------------------------------------

    def _spawn(self, core: Core, carry_on: str | None, last: bool = False) -> Decision:
        generation = core.generation + 1
        state = Starting(generation, self.now + self.policy.start_timeout_s, carry_on, last=last)
        return replace(core, state=state, generation=generation), (Spawn(generation),)

    def _stop_then(self, generation: int, then: Then, carry_on: str | None) -> Decision:
        state = Stopping(generation, then, carry_on)
        return replace(self.core, state=state), (StopChild(generation, cut=carry_on is not None),)

    def _cut(self, turn: str | None) -> tuple[Command, ...]:
        return self._ends((turn,) if turn else (), Outcome.CANCELLED, Cause.USER, "the instance was stopped")

    def _ends(self, turns: tuple[str, ...], outcome: Outcome, cause: Cause, error: str) -> tuple[Command, ...]:
        return tuple(EndTurn(turn, outcome, cause, error) for turn in turns)


def _is_last(state: State) -> bool:
    """Whether the instance is wanted down once its turn has ended."""
    match state:
        case Busy(then=Then.STOP) | Starting(last=True) | Backoff(last=True):
            return True
        case _:
            return False


def _outcome_of(cause: Cause) -> Outcome:
    return Outcome.CANCELLED if cause is Cause.USER else Outcome.FAILED


def _sentence_of(cause: Cause, when: str, state: State) -> str:
    if cause is Cause.USER:
        return f"cancelled {when}"
    why = f"; {state.reason}" if isinstance(state, Backoff) else ""
    return f"ended {when}: {cause.value}{why}"
