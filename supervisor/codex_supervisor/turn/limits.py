"""The limits of one turn in time: how long it may take, and how long Codex may tell nothing of it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Protocol

from codex_supervisor.config.turns import OnStall
from codex_supervisor.house import House
from codex_supervisor.store.records import Cause, TurnRecord
from codex_supervisor.turn.draft import warning
from codex_supervisor.turn.log import TurnLog

_log = logging.getLogger(__name__)


class CancelsTurns(Protocol):
    """Who ends a turn that is over a limit."""

    house: House

    def cancel_turn(self, turn: str, cause: Cause) -> None:
        """Ask for the end of a turn."""


class Limits:
    """The two timers of a turn. That of its time limit runs at once: it counts in the queue too.

    `accepted_at` is on the monotonic clock. `is_held` says whether a person is asked, and Codex waits for the answer.
    """

    def __init__(
        self,
        record: TurnRecord,
        log: TurnLog,
        owner: CancelsTurns,
        *,
        accepted_at: float,
        is_held: Callable[[], bool],
    ) -> None:
        self._turn = record.id
        self._instance = record.instance
        self._log = log
        self._owner = owner
        self._clock = owner.house.clock
        self._is_held = is_held
        self.last_event_at = self._clock.monotonic()
        """When Codex told anything of the turn last; its start, where it has told nothing."""
        self._stall_watch: asyncio.TimerHandle | None = None
        self._time_limit: asyncio.TimerHandle | None = None
        limit_s = record.request.timeout_s
        if limit_s:
            left_s = max(0.0, accepted_at + limit_s - self._clock.monotonic())
            loop = asyncio.get_running_loop()
            self._time_limit = loop.call_later(left_s, owner.cancel_turn, record.id, Cause.TIMED_OUT)

    def heard(self) -> None:
        """Note that Codex told something of the turn."""
        self.last_event_at = self._clock.monotonic()

    def watch(self) -> None:
        """Watch over the turn from now on: a child has it."""
        self.heard()
        self._arm()

    def rest(self) -> None:
        """Watch no more, until the next child has it."""
        if self._stall_watch is not None:
            self._stall_watch.cancel()
            self._stall_watch = None

    def disarm(self) -> None:
        """End both timers: the turn has ended."""
        self.rest()
        if self._time_limit is not None:
            self._time_limit.cancel()

    def _arm(self) -> None:
        self.rest()
        stall_s = self._owner.house.config.turns.stall_after
        if stall_s > 0:
            quiet_s = self._clock.monotonic() - self.last_event_at
            self._stall_watch = asyncio.get_running_loop().call_later(max(0.01, stall_s - quiet_s), self._check_stall)

    def _check_stall(self) -> None:
        config = self._owner.house.config.turns
        quiet_s = self._clock.monotonic() - self.last_event_at
        if quiet_s >= config.stall_after and not self._is_held():
            self.heard()
            self._owner.house.metrics.stalls.labels(action=config.on_stall.value).inc()
            _log.warning(
                "turn_stalled",
                extra={
                    "instance": self._instance,
                    "turn": self._turn,
                    "quiet_s": round(quiet_s),
                    "action": config.on_stall.value,
                },
            )
            for event in warning(f"nothing has come from Codex for {quiet_s:.0f} s"):
                self._log.append(event)
            if config.on_stall is OnStall.INTERRUPT:
                self._owner.cancel_turn(self._turn, Cause.STALLED)
        self._arm()
