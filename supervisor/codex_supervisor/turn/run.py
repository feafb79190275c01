"""Drives one turn: sends it to a child, follows it, has it carried on after a death, and records exactly one outcome.

A run lives from the turn's acceptance until its outcome is recorded, over as many children as that takes. While a
child has the turn, the wait for its end is raced against the child's death; the death itself is decided on by the
instance's core, which then gives the run its next child.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
from codex_control.errors import (
    ChildFailed,
    CodexError,
    LimitExceeded,
    NotFound,
    StoreUnavailable,
    TimedOut,
    WrongState,
)
from codex_control.v1 import turns_pb2

from codex_supervisor.child.awake import AwakeChild, LoadedThread
from codex_supervisor.child.conversation import Turn
from codex_supervisor.child.locate import codex_word
from codex_supervisor.child.notifications import Notification, TokenUsageBreakdown
from codex_supervisor.child.requests import AppServerError
from codex_supervisor.child.server_requests import ServerRequest
from codex_supervisor.config.choosing import profile
from codex_supervisor.config.profiles import Profile
from codex_supervisor.config.turns import ApprovalPolicy
from codex_supervisor.failpoints import reach
from codex_supervisor.house import House
from codex_supervisor.store.records import Cause, InstanceRecord, Outcome, TurnRecord
from codex_supervisor.turn.account import Account
from codex_supervisor.turn.approvals import Approvals
from codex_supervisor.turn.carrying_on import CarryingOn
from codex_supervisor.turn.codex_turn import INTERRUPT_TIMEOUT_S, CodexTurn
from codex_supervisor.turn.draft import Draft, conversation_usage, warning
from codex_supervisor.turn.limits import Limits
from codex_supervisor.turn.log import TurnLog
from codex_supervisor.turn.messages import usage_message
from codex_supervisor.turn.outcome import outcome_for, outcome_of
from codex_supervisor.turn.threads import (
    NotLoggedIn,
    note_sent,
    open_thread,
    refusal,
    send_turn,
    set_history_aside,
    turn_params,
)

_log = logging.getLogger(__name__)

# Wait between two tries to record an outcome while the disk is full or the store is not there.
_RECORD_RETRY_S = 1.0


class TurnOwner(Protocol):
    """What a run needs of its instance."""

    house: House
    record: InstanceRecord
    thread_tokens: TokenUsageBreakdown | None
    """What the thread has used by now, where that is known."""

    @property
    def last_death(self) -> str:
        """Why the last child ended, as a piece of a sentence."""

    @property
    def died_at(self) -> float:
        """When, on the monotonic clock."""

    def save(self, record: InstanceRecord) -> None:
        """Remember a changed record."""

    def cancel_turn(self, turn: str, cause: Cause) -> None:
        """Ask for the end of a turn."""

    def recycle(self, generation: int) -> None:
        """Ask for a new child in place of this one, once its turn is over."""

    def turn_over(self, turn: str) -> None:
        """Hear that a turn's outcome is recorded."""


class TurnRun:
    """One accepted turn without outcome."""

    def __init__(self, record: TurnRecord, log: TurnLog, shell: TurnOwner) -> None:
        house = shell.house
        self.record = record
        self.log = log
        self.shell = shell
        self.house = house
        self.ending: Cause | None = None
        """Why the turn is being ended, where it is."""
        self.was_stopped = False
        """An earlier supervisor ended its child with itself, on request."""
        self.journaled_on = ""
        """The thread on which the journal already has the turn as sent, before it is."""
        self.draft = Draft(
            house.config.turns.answer_limit,
            bool(record.request.show_reasoning),
            review=record.request.review is not None,
            keep_diff=shell.record.task is not None,
        )
        self._account = Account(record, house)
        self.approvals = Approvals(
            record.id,
            house.clock,
            tasks=house.tasks,
            emit=log.append,
            on_decision=self._account.count_decision,
            files_of=lambda item_id: [path for item, path in self.draft.files if item == item_id],
        )
        self.codex = CodexTurn(
            record.id,
            house.clock,
            review=record.request.review is not None,
            take=self._take,
            resolved=self.approvals.resolved_by_codex,
        )
        self._carrying_on = CarryingOn(self)
        self._driving = asyncio.Lock()
        self._opened = asyncio.Event()
        """Set once the child that has the turn has its thread, or cannot have it."""
        self._ended = False
        self._waits_for = ""
        self._limits = Limits(
            record, log, shell, accepted_at=self._account.accepted_at, is_held=lambda: bool(len(self.approvals))
        )

    def __repr__(self) -> str:
        return f"<turn {self.record.id} of {self.record.instance} codex={self.codex.id or '-'} ending={self.ending}>"

    @property
    def last_event_at(self) -> float:
        """When Codex told anything of the turn last, on the monotonic clock; its start, where it has told nothing."""
        return self._limits.last_event_at

    # --- what the instance tells ------------------------------------------------------------------------------------

    def queued(self, position: int, reason: str) -> None:
        """Tell the followers where the turn stands in the queue."""
        self.log.append(turns_pb2.TurnEvent(queued=turns_pb2.TurnQueued(position=position, reason=reason)))

    def waits_for(self, reason: str) -> None:
        """Tell the followers, once, why the turn cannot begin or go on yet."""
        if reason != self._waits_for:
            self._waits_for = reason
            self.log.append(turns_pb2.TurnEvent(warning=turns_pb2.Warning(message=f"the turn waits: {reason}")))

    async def run(self, child: AwakeChild) -> None:
        """Follow the turn in `child` to its end, or to the child's: sent, or carried on where an earlier one had it."""
        # What waited for the store while its child died may still be under way when the next child is there.
        async with self._driving:
            # An outcome that waits for the disk is an outcome; its record then tells the instance.
            if self._ended or child.process.exited.done():
                return
            # However the child goes, the wait for the turn's end goes with it.
            exited = partial(self._child_gone, child)
            child.process.exited.add_done_callback(exited)
            try:
                await self._drive(child)
            finally:
                child.process.exited.remove_done_callback(exited)
                self._limits.rest()

    def _child_gone(self, child: AwakeChild, _status: object) -> None:
        if self.codex.child is child:
            self.approvals.forget()
            self.codex.child_gone()

    async def interrupt(self, cause: Cause) -> None:
        """End the turn for `cause`; a child that does not end it in time is killed."""
        if self._ended or self.ending is not None:
            return
        self.ending = cause
        child = self.codex.child
        if child is not None and child.thread is None:
            await self._interrupt_opening(child)
        elif self.codex.id or (self.record.request.review is not None and self.codex.expected):
            await self.codex.interrupt(self.record.thread_id)

    async def _interrupt_opening(self, child: AwakeChild) -> None:
        try:
            async with asyncio.timeout(INTERRUPT_TIMEOUT_S):
                # What follows sees that the turn is to end.
                await self._opened.wait()
        except TimeoutError:
            # Codex waits for the user's MCP servers, most often, and cannot be told not to.
            self.shell.recycle(child.generation)
            await self.end(*outcome_for(self.ending or Cause.USER))

    async def steer(self, text: str) -> None:
        """Add text to the running turn; raise `WrongState` where Codex does not have it yet."""
        if self._ended:
            raise WrongState(what=f"turn {self.record.id} has ended", next_step="ask again")
        await self.codex.steer(self.record.thread_id, text)

    async def end(self, outcome: Outcome, cause: Cause | None, error: str) -> None:
        """Record the outcome; the first one counts. Tries until the store takes it."""
        if self._ended:
            return
        self._ended = True
        self._limits.disarm()
        self.approvals.forget()
        self.codex.forget_end()
        end = self._account.close(self.draft, outcome, cause, error)
        while True:
            try:
                written = await self.log.end(end)
                break
            except NotFound:
                # Its instance was deleted under it: there is no record to end.
                written = False
                break
            except CodexError as failure:
                # Full disk or a lost store: the turn has ended, so its record must come; nothing else would.
                _log.error("outcome_not_recorded", extra={"turn": self.record.id, "error": str(failure)})
                await asyncio.sleep(_RECORD_RETRY_S)
        # Whoever waits for the end hears of it first.
        await asyncio.sleep(0)
        if written:
            self._account.count(end)
        self.shell.turn_over(self.record.id)

    # --- driving ----------------------------------------------------------------------------------------------------

    async def _drive(self, child: AwakeChild) -> None:
        self.codex.given_to(child)
        self._opened = asyncio.Event()
        self._limits.watch()
        try:
            if self.record.sent_ns is None:
                await self.send(child)
            else:
                await self._carrying_on.carry_on(child)
            if self.ending is not None:
                await self.codex.interrupt(self.record.thread_id)
            await self.conclude(await self.codex.over)
        except ChildFailed as error:
            # Its death arrives at the core as an event, and with it the carrying on.
            if not child.process.exited.done():
                child.kill(f"it did not answer ({error.what})")
        except TimedOut as error:
            child.kill(error.what)
        except AppServerError as error:
            if self._mend_history(error):
                child.kill("Codex's history database was damaged")
                return
            if child.thread is None:
                # Codex reads its configuration when it starts, so the next turn gets a new child.
                self.shell.recycle(child.generation)
            cause, sentence = refusal(error)
            await self.end(*(outcome_for(self.ending) if self.ending else (Outcome.FAILED, cause, sentence)))
        except asyncio.CancelledError:
            # `end` came first and cancelled the wait; a real cancellation goes on.
            if not self._ended:
                raise
        except NotLoggedIn as error:
            # Codex looks for a login when it starts, so the next turn gets a new child.
            self.shell.recycle(child.generation)
            await self.end(Outcome.FAILED, Cause.AUTH, str(error))
        except CodexError as error:
            self._cut_off(child)
            await self.end(Outcome.FAILED, Cause.CODEX, str(error))
        except Exception as error:
            self._cut_off(child)
            # A fault of ours must not cost the turn its outcome, nor the other instances their supervisor.
            _log.exception("turn_failed_inside", extra={"instance": self.record.instance, "turn": self.record.id})
            sentence = f"the supervisor failed inside ({type(error).__name__}); report it with `codexctl logs`"
            await self.end(Outcome.FAILED, Cause.CODEX, sentence)

    def _cut_off(self, child: AwakeChild) -> None:
        # What Codex runs and nobody follows any more would swallow the next turn: a start on a busy thread is a steer.
        if self.codex.runs:
            child.kill("the turn that it ran was given up")

    def _profile(self) -> Profile:
        return profile(self.house.config, self.record.request.profile)

    def _mend_history(self, error: AppServerError) -> bool:
        """Set Codex's history database aside where `error` says that it is damaged; a new child makes it anew."""
        moved = set_history_aside(Path(self.house.codex_home), error, self.house.clock.wall_ns())
        if moved:
            sentence = f"Codex's history database was damaged and is made anew; the old one is {moved[0]}"
            self.log.append(turns_pb2.TurnEvent(warning=turns_pb2.Warning(message=sentence)))
        return bool(moved)

    async def open_thread(self, child: AwakeChild) -> LoadedThread:
        """Return the instance's thread, loaded in `child`; the followers are told where it is a new one."""
        before = self.shell.record.thread_id
        try:
            thread = await open_thread(self.shell, child, self.record, self._profile())
        finally:
            self._opened.set()
        if thread.id != before:
            self.shell.thread_tokens = TokenUsageBreakdown()
        if before and thread.id != before:
            for event in warning(f"Codex has no record of the conversation {before}: a new one begins"):
                self.log.append(event)
        return thread

    async def send(self, child: AwakeChild, *, go_on: bool = False, report: Callable[[], None] | None = None) -> None:
        """See `carrying_on.Carried`. Raises as requests to Codex do."""
        chosen = self._profile()
        thread = await self.open_thread(child)
        params = turn_params(self.shell, thread, self.record, chosen, go_on=go_on)
        if self.ending is not None:
            await self.end(*outcome_for(self.ending))
            return
        now_ns = self.house.clock.wall_ns()
        if self.journaled_on != thread.id:
            await self.house.store.mark_sent(self.record.id, thread_id=thread.id, sent_ns=now_ns)
        self.journaled_on = ""
        self.record = msgspec.structs.replace(self.record, thread_id=thread.id, sent_ns=self.record.sent_ns or now_ns)
        self._account.sent()
        self.codex.is_sent()
        codex_turn_id = await send_turn(child, params, self.record.request.review)
        reach("turn-sent")
        note_sent(self.shell, thread, chosen)
        self.is_known_as(codex_turn_id)
        if self.draft.used_before is None and self.shell.thread_tokens is not None:
            # Known by now also where the thread was just loaded: Codex tells it before it takes the next request.
            self.draft.used_before = conversation_usage(self.shell.thread_tokens)
        if report is not None:
            report()
        self.tell_started()
        try:
            await self.house.store.mark_started(self.record.id, codex_turn_id=codex_turn_id)
        except (LimitExceeded, StoreUnavailable) as error:
            # Codex has the turn by now, and the conversation knows it by our own id too.
            _log.warning("turn_start_not_recorded", extra={"turn": self.record.id, "error": str(error)})

    def is_known_as(self, codex_turn_id: str, reviewer: str = "") -> None:
        """Learn what Codex calls the turn, and in a review the reviewer's turn."""
        self.codex.is_known_as(codex_turn_id, reviewer)
        self.record = msgspec.structs.replace(self.record, codex_turn_id=codex_turn_id)

    def tell_started(self) -> None:
        """Tell the followers that Codex has begun the turn."""
        # After the report of a recovery, so that whoever finds this in the journal knows that the report is there too.
        before = self.draft.used_before
        started = turns_pb2.TurnStarted(
            thread_id=self.record.thread_id,
            codex_turn_id=self.codex.id,
            conversation_usage=None if before is None else usage_message(before),
        )
        self.log.append(turns_pb2.TurnEvent(started=started))
        self.draft.codex_turn_id = self.codex.id

    async def conclude(self, turn: Turn) -> None:
        """Record the outcome of a turn that Codex has ended."""
        if turn.status == "completed":
            for event in self.draft.void_left():
                self.log.append(event)
        codex = codex_word(self.house.config.codex.binary, self.house.environment)
        await self.end(*outcome_of(turn, self.draft, self.ending, codex))

    # --- what Codex tells -------------------------------------------------------------------------------------------

    def feed(self, notification: Notification) -> None:
        """Take one notification in. Never waits: Codex must always be read."""
        self.codex.feed(notification)

    def _take(self, notification: Notification) -> None:
        self._limits.heard()
        retries = self.draft.retries
        for event in self.draft.feed(notification):
            self._account.told()
            self.log.append(event)
        if self.draft.first_text:
            self._account.told_text()
        if self.draft.retries > retries:
            self.house.metrics.provider_retries.inc()
        if self.draft.over_limit() and self.ending is None:
            self.shell.cancel_turn(self.record.id, Cause.LIMIT)

    def asked(self, request: ServerRequest) -> None:
        """Take a request of Codex in and see that it is answered."""
        child = self.codex.child
        if child is None:
            return
        approvals = self.house.config.approvals
        wanted = self.shell.record.settings.approval_policy
        self._limits.heard()
        self.approvals.take(
            request,
            child.server,
            policy=ApprovalPolicy(wanted) if wanted else approvals.policy,
            person=self.log.interactive_followers > 0,
            timeout_s=approvals.timeout,
        )
