"""A circuit breaker of three states, for an endpoint and for each of its keys. No clock: `now_s` (monotonic) is given.

    Closed --too many failures--> Open --its time is over--> HalfOpen --successes--> Closed
                                    ^----------- a failure ----------'

A request that is let in gets a `Permit`; its result counts only while the breaker is in the state that let it in. So a
request that was sent before the breaker opened, and fails late, cannot open a breaker that has just closed again.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import TypeAlias

from codex_gateway.config.model import BreakerConfig

BUCKETS = 10
"""Parts of the window; results leave it in steps of a tenth."""


@dataclass(frozen=True)
class Closed:
    """Requests pass."""


@dataclass(frozen=True)
class Open:
    """No request passes until `until_s`."""

    until_s: float
    why: str
    probe: bool = True
    """Whether a few requests must prove that it may be closed."""


@dataclass(frozen=True)
class HalfOpen:
    """A few requests pass, as probes."""

    why: str
    """Why it was opened."""


State: TypeAlias = Closed | Open | HalfOpen


@dataclass(frozen=True, slots=True)
class Permit:
    """Leave to send one request; hand it back with the result."""

    generation: int


class Breaker:
    """One breaker. Not for several threads."""

    def __init__(self, settings: BreakerConfig) -> None:
        self._settings = settings
        self._state: State = Closed()
        self._generation = 0
        self._results: deque[list[float]] = deque()
        """Buckets: begin in seconds, successes, failures."""
        self._in_a_row = 0
        self._openings = 0
        """Openings since it was last closed by success."""
        self._probing = 0
        self._probed = 0
        self._last_probe_s = 0.0

    def __repr__(self) -> str:
        return f"Breaker({self._state!r}, in_a_row={self._in_a_row}, probing={self._probing})"

    def configure(self, settings: BreakerConfig) -> None:
        """Use other settings from now on; the state stays."""
        self._settings = settings

    def state(self, now_s: float) -> State:
        """The state at `now_s`."""
        self._turn(now_s)
        return self._state

    def passes(self, now_s: float) -> bool:
        """Whether `admit` would let a request in."""
        self._turn(now_s)
        match self._state:
            case Closed():
                return True
            case Open():
                return False
            case HalfOpen():
                return self._probing < self._settings.probes

    def admit(self, now_s: float) -> Permit | None:
        """Let a request in, or not."""
        if not self.passes(now_s):
            return None
        if isinstance(self._state, HalfOpen):
            self._probing += 1
            self._last_probe_s = now_s
        return Permit(self._generation)

    def succeeded(self, permit: Permit, now_s: float) -> None:
        """The request got an answer, or an error that is its own fault."""
        if not self._counts(permit, now_s):
            return
        match self._state:
            case Closed():
                self._in_a_row = 0
                self._bucket(now_s)[1] += 1
            case HalfOpen():
                self._probing -= 1
                self._probed += 1
                if self._probed >= self._settings.probes:
                    self.reset()
            case Open():
                pass

    def failed(self, permit: Permit, now_s: float, why: str, at_least_s: float = 0.0) -> None:
        """The request failed through the fault of what the breaker guards. Where that opens it, it stays open for
        `at_least_s` (its `Retry-After`)."""
        if not self._counts(permit, now_s):
            return
        match self._state:
            case Closed():
                self._in_a_row += 1
                self._bucket(now_s)[2] += 1
                if self._too_many():
                    self.open(now_s, why, at_least_s)
            case HalfOpen():
                self.open(now_s, why, at_least_s)
            case Open():
                pass

    def abandoned(self, permit: Permit, now_s: float) -> None:
        """The request ended without saying anything about what the breaker guards: the client went away."""
        if self._counts(permit, now_s) and isinstance(self._state, HalfOpen):
            self._probing -= 1

    def open(self, now_s: float, why: str, at_least_s: float = 0.0) -> None:
        """Open it now, for longer each time that no success came between."""
        settings = self._settings
        # The exponent is bounded: 2.0 ** 2000 is an error.
        wait_s = min(settings.open_for * 2.0 ** min(self._openings, 60), settings.open_for_max)
        self.open_until(now_s + max(wait_s, at_least_s), why)

    def open_until(self, until_s: float, why: str, *, probe: bool = True) -> None:
        """Open it until a time that somebody else knows. Without `probe` it is closed then: nothing need be proved."""
        self._openings += 1
        self._enter(Open(until_s, why, probe))

    def reset(self) -> None:
        """Close it and forget."""
        self._openings = 0
        self._enter(Closed())

    def _enter(self, state: State) -> None:
        self._state = state
        self._generation += 1
        self._results.clear()
        self._in_a_row = self._probing = self._probed = 0

    def _turn(self, now_s: float) -> None:
        match self._state:
            case Open(until_s=until_s, why=why, probe=probe) if now_s >= until_s:
                self._enter(HalfOpen(why) if probe else Closed())
            case HalfOpen(why=why) if self._probing and now_s - self._last_probe_s > self._settings.open_for_max:
                # A probe that takes this long says nothing any more; others may try.
                self._enter(HalfOpen(why))
            case _:
                pass

    def _counts(self, permit: Permit, now_s: float) -> bool:
        self._turn(now_s)
        return permit.generation == self._generation

    def _bucket(self, now_s: float) -> list[float]:
        width_s = self._settings.window / BUCKETS
        while self._results and now_s - self._results[0][0] >= self._settings.window:
            self._results.popleft()
        if not self._results or now_s - self._results[-1][0] >= width_s:
            self._results.append([now_s, 0, 0])
        return self._results[-1]

    def _too_many(self) -> bool:
        settings = self._settings
        if self._in_a_row >= settings.consecutive:
            return True
        failures = sum(bucket[2] for bucket in self._results)
        total = failures + sum(bucket[1] for bucket in self._results)
        return total >= settings.minimum and failures * 100 >= settings.failure_rate * total
