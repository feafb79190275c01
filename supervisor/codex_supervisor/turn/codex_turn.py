"""One turn as Codex has it: what it calls it, what it tells of it, whether it is over, and how it is made to end it.

It gets a new id with each child that goes on with it. What Codex tells of other turns is not passed on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from codex_control.errors import ChildFailed, TimedOut, WrongState
from codex_control.service.clock import Clock

from codex_supervisor.child import notifications as told
from codex_supervisor.child import requests
from codex_supervisor.child.awake import AwakeChild
from codex_supervisor.child.conversation import RequestId, Turn
from codex_supervisor.child.notifications import Notification
from codex_supervisor.child.requests import AppServerError
from codex_supervisor.turn.threads import REQUEST_TIMEOUT_S

_log = logging.getLogger(__name__)

# Codex ends an interrupted turn within milliseconds; one that does not is hung.
INTERRUPT_TIMEOUT_S = 5.0


class CodexTurn:
    """Our turn `turn` inside Codex. `take` gets what Codex tells of it, `resolved` each request that Codex settled.

    In a review the turn that is begun and the one that runs have two ids: `id` is of the first, which also ends, and an
    interrupt names the second, the reviewer's.
    """

    def __init__(
        self,
        turn: str,
        clock: Clock,
        *,
        review: bool,
        take: Callable[[Notification], None],
        resolved: Callable[[RequestId], None],
    ) -> None:
        self._turn = turn
        self._clock = clock
        self._review = review
        self._take = take
        self._resolved = resolved
        self.child: AwakeChild | None = None
        """The child that has it."""
        self.id = ""
        """What Codex calls it; empty until that is known."""
        self.expected = False
        """Whether it was sent, and its id is still to come."""
        self.over: asyncio.Future[Turn] = asyncio.get_running_loop().create_future()
        """Its end, as this child tells of it; `ChildFailed` where the child is gone first."""
        self._reviewer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._held: list[Notification] | None = None

    # --- which child has it -----------------------------------------------------------------------------------------

    def given_to(self, child: AwakeChild) -> None:
        """Wait for its end anew, in `child`."""
        self.child = child
        self.over = asyncio.get_running_loop().create_future()
        self._reviewer = asyncio.get_running_loop().create_future()

    def child_gone(self) -> None:
        """End the wait for its end: the child will not tell of it any more."""
        self.child = None
        if not self.over.done():
            self.over.set_exception(ChildFailed("the child is gone"))
            # Heard of here, also where nobody awaits it yet: asyncio need not report it.
            self.over.exception()

    def forget_end(self) -> None:
        """End the wait for its end: it has an outcome."""
        self.over.cancel()

    def is_sent(self) -> None:
        """Await its start: what Codex tells from now on is of it."""
        self.id, self.expected = "", True

    def is_known_as(self, codex_turn_id: str, reviewer: str = "") -> None:
        """Learn its id, and in a review the one of the reviewer's turn; empty where it is still to come."""
        self.id, self.expected = codex_turn_id, not codex_turn_id
        if reviewer and not self._reviewer.done():
            self._reviewer.set_result(reviewer)

    @property
    def runs(self) -> bool:
        """Whether Codex has it, or may, and has not ended it."""
        return bool(self.id or self.expected) and not self.over.done()

    # --- what Codex tells -------------------------------------------------------------------------------------------

    def hold(self) -> None:
        """Keep what Codex tells, while it is looked up what was told before."""
        self._held = []

    @property
    def held(self) -> Sequence[Notification]:
        """What was kept so far."""
        return self._held or ()

    def release(self) -> list[Notification]:
        """Return what was kept, and keep no more."""
        held, self._held = self._held, None
        return held or []

    def feed(self, notification: Notification) -> None:
        """Take one notification in, of whatever turn it is."""
        if self._held is not None:
            self._held.append(notification)
            return
        if self._review and self.expected:
            # It may come before our request has returned, or nobody wrote its id down.
            self.id = _turn_of_review(notification)
            self.expected = not self.id
        match notification:
            case told.TurnStartedNotification(turn=turn) if self._review:
                if turn.id and not self._reviewer.done():
                    self._reviewer.set_result(turn.id)
                return
            case told.TurnStartedNotification(turn=turn) if self.expected:
                # It may come before our request has returned.
                self.id, self.expected = turn.id, False
            case told.TurnCompletedNotification(turn=turn) if turn.id == self.id:
                if not self.over.done():
                    self.over.set_result(turn)
                return
            case told.ServerRequestResolvedNotification(request_id=request_id):
                self._resolved(request_id)
                return
            case _:
                pass
        if self.id and getattr(notification, "turn_id", self.id) == self.id:
            self._take(notification)

    # --- what Codex is told -----------------------------------------------------------------------------------------

    async def steer(self, thread_id: str, text: str) -> None:
        """Add text to it; raise `WrongState` where Codex does not have it yet, or does not take the text."""
        if self.child is None or not self.id:
            raise WrongState(what=f"turn {self._turn} is not running yet", next_step="steer it once it has started")
        params = requests.TurnSteerParams(
            thread_id=thread_id, expected_turn_id=self.id, input=[requests.TextInput(text=text)]
        )
        try:
            await self.child.server.request("turn/steer", params, requests.TurnSteerResponse, REQUEST_TIMEOUT_S)
        except AppServerError as error:
            raise WrongState(
                what="Codex did not take the text",
                why=error.message,
                next_step="ask it as a turn of its own: `codexctl ask`",
            ) from error

    async def interrupt(self, thread_id: str) -> None:
        """Have Codex end it, with the commands that it started; a child that does not in time is killed."""
        child, over = self.child, self.over
        if child is None or over.done():
            return
        give_up_at = self._clock.monotonic() + INTERRUPT_TIMEOUT_S
        active = self.id
        if self._review:
            known: set[asyncio.Future[Any]] = {over, self._reviewer}
            await asyncio.wait(known, timeout=INTERRUPT_TIMEOUT_S, return_when=asyncio.FIRST_COMPLETED)
            active = self._reviewer.result() if self._reviewer.done() else active
        interrupt = requests.TurnInterruptParams(thread_id=thread_id, turn_id=active)
        # Commands that the turn started run on after an interrupt unless they are cleaned away.
        clean = requests.ThreadBackgroundTerminalsCleanParams(thread_id=thread_id)
        try:
            await child.server.request("turn/interrupt", interrupt, requests.Empty, INTERRUPT_TIMEOUT_S)
            await child.server.request("thread/backgroundTerminals/clean", clean, requests.Empty, INTERRUPT_TIMEOUT_S)
        except AppServerError as error:
            _log.info("interrupt_refused", extra={"turn": self._turn, "error": error.message})
        except (ChildFailed, TimedOut):
            pass  # its end, or our kill below, decides
        await asyncio.wait({over}, timeout=max(0.1, give_up_at - self._clock.monotonic()))
        if not over.done():
            child.kill("it did not end an interrupted turn")


def _turn_of_review(notification: Notification) -> str:
    """Return the id of the turn that a notification is of, where it can be a review's; else nothing."""
    match notification:
        case told.ItemStartedNotification(turn_id=turn_id):
            # What an earlier turn left running may still complete, but nothing of it starts.
            return turn_id
        case told.TurnCompletedNotification(turn=turn):
            return turn.id
        case _:
            return ""
