"""Drives one turn: sends it to a child, follows it, carries it on after a death, and records exactly one outcome.

A run lives from the turn's acceptance until its outcome is recorded, over as many children as that takes. While a
child has the turn, the wait for its end is raced against the child's death; the death itself is decided on by the
instance's core, which then calls `carry_on` with the next child.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Protocol

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
from codex_control.service.clock import Clock
from codex_control.v1 import turns_pb2

from codex_supervisor.child import notifications as told
from codex_supervisor.child import requests
from codex_supervisor.child.appserver import AppServerError
from codex_supervisor.child.awake import AwakeChild, LoadedThread
from codex_supervisor.child.conversation import Turn
from codex_supervisor.child.items import ThreadItem
from codex_supervisor.child.notifications import Notification
from codex_supervisor.child.processes import boot_id
from codex_supervisor.child.server_requests import ServerRequest
from codex_supervisor.config import ApprovalPolicy, OnInterrupted, OnStall
from codex_supervisor.failpoints import reach
from codex_supervisor.house import House
from codex_supervisor.profiles import Profile, profile
from codex_supervisor.store.records import Cause, InstanceRecord, Outcome, TurnEnd, TurnRecord
from codex_supervisor.turn.approvals import Approvals
from codex_supervisor.turn.draft import Draft, warning
from codex_supervisor.turn.log import TurnLog
from codex_supervisor.turn.messages import command_message, duration, file_message
from codex_supervisor.turn.outcome import cause_of
from codex_supervisor.turn.recovery import (
    ACTIONS,
    REVIEW_AGAIN,
    CutOff,
    Finding,
    Over,
    StillRuns,
    Unsent,
    find_turn,
)
from codex_supervisor.turn.review import find_review
from codex_supervisor.turn.threads import (
    REQUEST_TIMEOUT_S,
    NotLoggedIn,
    is_active,
    note_sent,
    open_thread,
    refusal,
    send_turn,
    set_history_aside,
    turn_params,
)

_log = logging.getLogger(__name__)

# Codex ends an interrupted turn within milliseconds; one that does not is hung.
INTERRUPT_TIMEOUT_S = 5.0

# Wait between two tries to record an outcome while the disk is full or the store is not there.
_RECORD_RETRY_S = 1.0

# Turns looked through for ours after a death, beside those that carrying on added.
_RECENT_TURNS = 10

# How long a living child's own word that a turn was cut off, or is unknown, is not believed: it may be about to begin
# it, or be about to write its end down.
_SETTLE_S = 1.0
_LOOK_AGAIN_S = 0.05


class TurnOwner(Protocol):
    """What a run needs of its instance."""

    house: House
    record: InstanceRecord
    last_death: str
    """Why the last child ended, as a piece of a sentence."""
    died_at: float
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
        self._review = record.request.review
        self.draft = Draft(
            house.config.turns.answer_limit,
            bool(record.request.show_reasoning),
            review=self._review is not None,
            keep_diff=shell.record.task is not None,
        )
        self.approvals = Approvals(
            record.id,
            house.clock,
            tasks=house.tasks,
            emit=log.append,
            on_decision=self._count_decision,
            files_of=lambda item_id: [path for item, path in self.draft.files if item == item_id],
        )
        self._accepted_at = _accepted_at(record, house.clock)
        self.journaled_on = ""
        """The thread on which the journal already has the turn as sent, before it is."""
        self._sent_at = (
            None if record.sent_ns is None else self._accepted_at + (record.sent_ns - record.accepted_ns) / 1e9
        )
        self._first_event_at: float | None = None
        self._first_text_at: float | None = None
        self._last_event_at = house.clock.monotonic()
        self._driving = asyncio.Lock()
        self._child: AwakeChild | None = None
        self._over: asyncio.Future[Turn] | None = None
        self._codex_turn = ""
        self._expects_start = False
        self._reviewer: asyncio.Future[str] | None = None
        """In a review, Codex's id of the reviewer's turn: the one that an interrupt names."""
        self._held: list[Notification] | None = None
        self._ending: Cause | None = None
        self._ended = False
        self._time_limit: asyncio.TimerHandle | None = None
        self._stall_watch: asyncio.TimerHandle | None = None
        self._arm_time_limit()

    def __repr__(self) -> str:
        return (
            f"<turn {self.record.id} of {self.record.instance} codex={self._codex_turn or '-'} ending={self._ending}>"
        )

    @property
    def last_event_at(self) -> float:
        """When Codex told anything of the turn last, on the monotonic clock; its start, where it has told nothing."""
        return self._last_event_at

    # --- what the instance tells ------------------------------------------------------------------------------------

    def queued(self, position: int, reason: str) -> None:
        """Tell the followers where the turn stands in the queue."""
        self.log.append(turns_pb2.TurnEvent(queued=turns_pb2.TurnQueued(position=position, reason=reason)))

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

    def _child_gone(self, child: AwakeChild, _status: object) -> None:
        if self._child is child:
            self._child = None
            self.approvals.forget()
            if self._over is not None and not self._over.done():
                self._over.set_exception(ChildFailed("the child is gone"))
                # Heard of here, also where nobody awaits it yet: asyncio need not report it.
                self._over.exception()

    async def interrupt(self, cause: Cause) -> None:
        """End the turn for `cause`; a child that does not end it in time is killed."""
        if self._ended or self._ending is not None:
            return
        self._ending = cause
        if self._codex_turn or (self._review is not None and self._expects_start):
            await self._interrupt_codex()

    async def end(self, outcome: Outcome, cause: Cause | None, error: str) -> None:
        """Record the outcome; the first one counts. Tries until the store takes it."""
        if self._ended:
            return
        self._ended = True
        self._disarm()
        self.approvals.forget()
        if self._over is not None and not self._over.done():
            self._over.cancel()
        end = self._make_end(outcome, cause, error)
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
            self._count_end(end)
        self.shell.turn_over(self.record.id)

    # --- driving ----------------------------------------------------------------------------------------------------

    async def _drive(self, child: AwakeChild) -> None:
        self._child = child
        self._over = asyncio.get_running_loop().create_future()
        self._reviewer = asyncio.get_running_loop().create_future()
        self._last_event_at = self.house.clock.monotonic()
        self._arm_stall_watch()
        try:
            if self.record.sent_ns is None:
                await self._send(child)
            else:
                await self._reconcile(child)
            if self._ending is not None and not self._over.done():
                await self._interrupt_codex()
            await self._conclude(await self._over)
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
            await self.end(Outcome.FAILED, cause, sentence)
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
        if (self._codex_turn or self._expects_start) and self._over is not None and not self._over.done():
            child.kill("the turn that it ran was given up")

    def _profile(self) -> Profile:
        return profile(self.house.config, self.record.request.profile)

    async def _open_thread(self, child: AwakeChild, chosen: Profile) -> LoadedThread:
        before = self.shell.record.thread_id
        thread = await open_thread(self.shell, child, self.record, chosen)
        if before and thread.id != before:
            for event in warning(f"Codex has no record of the conversation {before}: a new one begins"):
                self.log.append(event)
        return thread

    def _mend_history(self, error: AppServerError) -> bool:
        """Set Codex's history database aside where `error` says that it is damaged; a new child makes it anew."""
        moved = set_history_aside(Path(self.house.codex_home), error, self.house.clock.wall_ns())
        if moved:
            sentence = f"Codex's history database was damaged and is made anew; the old one is {moved[0]}"
            self.log.append(turns_pb2.TurnEvent(warning=turns_pb2.Warning(message=sentence)))
        return bool(moved)

    async def _send(
        self, child: AwakeChild, *, go_on: bool = False, recovery: tuple[OnInterrupted, str] | None = None
    ) -> None:
        chosen = self._profile()
        thread = await self._open_thread(child, chosen)
        params = turn_params(self.shell, thread, self.record, chosen, go_on=go_on)
        if self._ending is not None:
            await self.end(*_ending_of(self._ending))
            return
        now_ns = self.house.clock.wall_ns()
        if self.journaled_on != thread.id:
            await self.house.store.mark_sent(self.record.id, thread_id=thread.id, sent_ns=now_ns)
        self.journaled_on = ""
        self.record = msgspec.structs.replace(self.record, thread_id=thread.id, sent_ns=self.record.sent_ns or now_ns)
        self._sent_at = self._sent_at or self.house.clock.monotonic()
        self._codex_turn, self._expects_start = "", True
        codex_turn_id = await send_turn(child, params, self._review)
        reach("turn-sent")
        note_sent(self.shell, thread, chosen)
        self._note_codex_turn(codex_turn_id)
        if recovery is not None:
            self._report(*recovery)
        self._tell_started()
        try:
            await self.house.store.mark_started(self.record.id, codex_turn_id=codex_turn_id)
        except (LimitExceeded, StoreUnavailable) as error:
            # Codex has the turn by now, and the conversation knows it by our own id too.
            _log.warning("turn_start_not_recorded", extra={"turn": self.record.id, "error": str(error)})

    def _note_codex_turn(self, codex_turn_id: str) -> None:
        self._codex_turn, self._expects_start = codex_turn_id, False
        self.record = msgspec.structs.replace(self.record, codex_turn_id=codex_turn_id)

    def _tell_started(self) -> None:
        # After the report of a recovery, so that whoever finds this in the journal knows that the report is there too.
        started = turns_pb2.TurnStarted(thread_id=self.record.thread_id, codex_turn_id=self._codex_turn)
        self.log.append(turns_pb2.TurnEvent(started=started))
        self.draft.codex_turn_id = self._codex_turn

    # --- what Codex tells -------------------------------------------------------------------------------------------

    def feed(self, notification: Notification) -> None:
        """Take one notification in. Never waits: Codex must always be read."""
        if self._held is not None:
            self._held.append(notification)
            return
        if self._review is not None and self._expects_start:
            # It may come before our request has returned, or nobody wrote its id down.
            self._codex_turn = _turn_of_review(notification)
            self._expects_start = not self._codex_turn
        match notification:
            case told.TurnStartedNotification(turn=turn) if self._review is not None:
                self._note_reviewer(turn.id)
                return
            case told.TurnStartedNotification(turn=turn) if self._expects_start:
                # It may come before our request has returned.
                self._codex_turn, self._expects_start = turn.id, False
            case told.TurnCompletedNotification(turn=turn) if turn.id == self._codex_turn:
                if self._over is not None and not self._over.done():
                    self._over.set_result(turn)
                return
            case told.ServerRequestResolvedNotification(request_id=request_id):
                self.approvals.resolved_by_codex(request_id)
                return
            case _:
                pass
        turn_id = getattr(notification, "turn_id", self._codex_turn)
        if turn_id != self._codex_turn or not self._codex_turn:
            return
        now = self.house.clock.monotonic()
        self._last_event_at = now
        retries = self.draft.retries
        for event in self.draft.feed(notification):
            self._first_event_at = self._first_event_at or now
            self.log.append(event)
        if self.draft.first_text:
            self._first_text_at = self._first_text_at or now
        if self.draft.retries > retries:
            self.house.metrics.provider_retries.inc()
        if self.draft.over_limit() and self._ending is None:
            self.shell.cancel_turn(self.record.id, Cause.LIMIT)

    def _note_reviewer(self, turn_id: str) -> None:
        if turn_id and self._reviewer is not None and not self._reviewer.done():
            self._reviewer.set_result(turn_id)

    def asked(self, request: ServerRequest) -> None:
        """Take a request of Codex in and see that it is answered."""
        if self._child is None:
            return
        approvals = self.house.config.approvals
        wanted = self.shell.record.settings.approval_policy
        self._last_event_at = self.house.clock.monotonic()
        self.approvals.take(
            request,
            self._child.server,
            policy=ApprovalPolicy(wanted) if wanted else approvals.policy,
            person=self.log.interactive_followers > 0,
            timeout_s=approvals.timeout,
        )

    async def steer(self, text: str) -> None:
        """Add text to the running turn; raise `WrongState` where Codex does not have it yet."""
        child = self._child
        if child is None or not self._codex_turn or self._ended:
            raise WrongState(
                what=f"turn {self.record.id} is not running yet",
                next_step="steer it once it has started",
            )
        params = requests.TurnSteerParams(
            thread_id=self.record.thread_id,
            expected_turn_id=self._codex_turn,
            input=[requests.TextInput(text=text)],
        )
        try:
            await child.server.request("turn/steer", params, requests.TurnSteerResponse, REQUEST_TIMEOUT_S)
        except AppServerError as error:
            raise WrongState(what="Codex did not take the text", why=error.message) from error

    async def _interrupt_codex(self) -> None:
        child, over = self._child, self._over
        if child is None or over is None or over.done():
            return
        give_up_at = self.house.clock.monotonic() + INTERRUPT_TIMEOUT_S
        thread_id = self.record.thread_id
        active = self._codex_turn
        if self._review is not None and self._reviewer is not None:
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
            _log.info("interrupt_refused", extra={"turn": self.record.id, "error": error.message})
        except (ChildFailed, TimedOut):
            pass  # its end, or our kill below, decides
        await asyncio.wait({over}, timeout=max(0.1, give_up_at - self.house.clock.monotonic()))
        if not over.done():
            child.kill("it did not end an interrupted turn")

    async def _conclude(self, turn: Turn) -> None:
        match turn.status:
            case "completed" if self._review is not None and not self.draft.answer():
                await self.end(Outcome.FAILED, Cause.CODEX, "the reviewer said nothing; ask again")
            case "completed":
                await self.end(Outcome.COMPLETED, None, "")
            case "failed":
                error = turn.error or self.draft.last_error
                if error is None:
                    await self.end(Outcome.FAILED, Cause.CODEX, "Codex gave no reason; run `codexctl doctor`")
                    return
                cause, next_step = cause_of(error)
                await self.end(Outcome.FAILED, cause, f"{error.message.rstrip('.')}; {next_step}")
            case _ if self._ending is not None:
                await self.end(*_ending_of(self._ending))
            case _:
                await self.end(Outcome.CANCELLED, Cause.USER, "the turn was interrupted inside Codex")

    # --- after a death ----------------------------------------------------------------------------------------------

    async def _reconcile(self, child: AwakeChild) -> None:
        self._held = []
        try:
            finding = await self._find(child)
            if isinstance(finding, StillRuns):
                self._note_codex_turn(finding.codex_turn_id)
                self._note_reviewer(finding.active_turn_id)
                self._expects_start = not finding.codex_turn_id
        finally:
            held, self._held = self._held, None
        found = {"instance": self.record.instance, "turn": self.record.id, "finding": type(finding).__name__}
        _log.info("turn_looked_up", extra=found)
        match finding:
            case Unsent():
                await self._resend(child)
            case Over(turn=turn, kept=kept):
                self._note_codex_turn(turn.id)
                self._catch_up(kept)
                # At once: the child may be gone by now, and the turn is over all the same.
                await self._conclude(turn)
            case StillRuns(kept=kept):
                self._catch_up(kept)
                self.draft.mute_unfinished()
                for notification in held:
                    self.feed(notification)
            case CutOff():
                await self._resume(child, finding)

    async def _find(self, child: AwakeChild) -> Finding:
        believed_at = self.house.clock.monotonic() + _SETTLE_S
        while True:
            finding = await self._look(child)
            settled = not child.adopted or self.house.clock.monotonic() >= believed_at
            if settled or isinstance(finding, StillRuns | Over):
                return finding
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _look(self, child: AwakeChild) -> Finding:
        thread = await self._open_thread(child, self._profile())
        if thread.id != self.record.thread_id:
            return Unsent()
        # Before the list: a review that ends in between is in the list then.
        active = self._review is not None and await is_active(child, thread)
        limit = _RECENT_TURNS + self.record.recoveries
        params = requests.ThreadTurnsListParams(thread_id=thread.id, limit=limit, items_view="full")
        reply = await child.server.request(
            "thread/turns/list", params, requests.ThreadTurnsListResponse, REQUEST_TIMEOUT_S
        )
        if self._review is not None:
            return find_review(reply.data, self.record.codex_turn_id, active=active)
        return find_turn(reply.data, self.record.id, self.record.codex_turn_id)

    def _restore(self, kept: Sequence[ThreadItem]) -> None:
        for event in self.draft.restore(kept):
            self.log.append(event)

    def _catch_up(self, kept: Sequence[ThreadItem]) -> None:
        """Take in what happened while nobody listened."""
        self._restore(kept)
        told = self.draft.codex_turn_id
        if not self._codex_turn:
            return
        if told and told != self._codex_turn:
            # A supervisor carried the turn on and died before it could say so.
            policy = self._policy()
            self._report(OnInterrupted.CONTINUE if policy is OnInterrupted.REPORT else policy)
        if told != self._codex_turn:
            self._tell_started()

    async def _resend(self, child: AwakeChild) -> None:
        if self._ending is not None:
            await self.end(*_ending_of(self._ending))
            return
        if await self._may_recover():
            sentence = "Codex had not taken the input yet: it is sent again"
            if self._review is not None:
                sentence = "Codex knows nothing of the review: it is begun"
            await self._send(child, recovery=(OnInterrupted.CONTINUE, sentence))

    async def _resume(self, child: AwakeChild, found: CutOff) -> None:
        self._restore(found.kept)
        if self._ending is not None:
            await self.end(*_ending_of(self._ending))
            return
        policy = self._policy()
        if policy is OnInterrupted.REPORT:
            self._report(policy)
            await self.end(Outcome.INTERRUPTED, Cause.CHILD_DIED, self._what_happened())
            return
        if not await self._may_recover():
            return
        if self._review is not None:
            # The thread has nothing of it, so there is nothing to go on from, or to take back.
            await self._send(child, recovery=(OnInterrupted.REPLAY, REVIEW_AGAIN))
            return
        if policy is OnInterrupted.REPLAY:
            revert = requests.ThreadRevertParams(thread_id=self.record.thread_id, before_turn_id=found.first_turn_id)
            await child.server.request("thread/revert", revert, requests.ThreadRevertResponse, REQUEST_TIMEOUT_S)
        await self._send(child, go_on=policy is OnInterrupted.CONTINUE, recovery=(policy, ""))

    def _policy(self) -> OnInterrupted:
        wanted = self.shell.record.settings.on_interrupted
        return OnInterrupted(wanted) if wanted else self.house.config.turns.on_interrupted

    async def _may_recover(self) -> bool:
        """Count one more recovery; end the turn where it has had its share: it may be what kills its children."""
        own_limit = self.shell.record.settings.max_recoveries
        limit = self.house.config.turns.max_recoveries if own_limit is None else own_limit
        recoveries = await self.house.store.bump_recovery(self.record.id)
        self.record = msgspec.structs.replace(self.record, recoveries=recoveries)
        if recoveries <= limit:
            return True
        times = "once" if limit == 1 else f"{limit} times"
        sentence = f"{self._what_happened()}; it was carried on {times} already"
        if own_limit is None:
            sentence += " (turns.max_recoveries)"
        await self.end(Outcome.INTERRUPTED, Cause.CHILD_DIED, sentence)
        return False

    def _what_happened(self) -> str:
        reason = self.shell.last_death or "the supervisor was restarted and the child was gone"
        return f"the child died under the turn: {reason}"

    def _report(self, policy: OnInterrupted, what_next: str = "") -> None:
        action, sentence = ACTIONS[policy]
        took_s = self.house.clock.monotonic() - self.shell.died_at if self.shell.died_at else None
        report = turns_pb2.RecoveryReport(
            what_happened=self._what_happened(),
            action=action,
            what_next=what_next or sentence,
            commands=[command_message(command) for command in self.draft.commands.values()],
            files=[file_message(file) for file in self.draft.files.values()],
            # Of a turn that ends here the piece of text is all that there is; one that goes on says it anew.
            superseded_item_ids=[] if policy is OnInterrupted.REPORT else self.draft.drop_unfinished(),
            recovery=self.record.recoveries,
            took=duration(took_s),
        )
        self.log.append(turns_pb2.TurnEvent(recovery=report))
        self.house.metrics.recoveries.labels(action=policy.value).inc()
        if took_s is not None and policy is not OnInterrupted.REPORT:
            self.house.metrics.recovery_seconds.observe(took_s)
        _log.warning(
            "turn_recovered",
            extra={
                "instance": self.record.instance,
                "turn": self.record.id,
                "action": policy.value,
                "why": report.what_happened,
                "commands": len(report.commands),
                "files": len(report.files),
                "took_s": None if took_s is None else round(took_s, 3),
            },
        )

    # --- limits -----------------------------------------------------------------------------------------------------

    def _arm_time_limit(self) -> None:
        limit_s = self.record.request.timeout_s
        if limit_s:
            left_s = max(0.0, self._accepted_at + limit_s - self.house.clock.monotonic())
            loop = asyncio.get_running_loop()
            self._time_limit = loop.call_later(left_s, self.shell.cancel_turn, self.record.id, Cause.TIMED_OUT)

    def _arm_stall_watch(self) -> None:
        stall_s = self.house.config.turns.stall_after
        if stall_s <= 0:
            return
        if self._stall_watch is not None:
            self._stall_watch.cancel()
        quiet_s = self.house.clock.monotonic() - self._last_event_at
        self._stall_watch = asyncio.get_running_loop().call_later(max(0.01, stall_s - quiet_s), self._check_stall)

    def _check_stall(self) -> None:
        if self._ended or self._child is None:
            return
        config = self.house.config.turns
        quiet_s = self.house.clock.monotonic() - self._last_event_at
        if quiet_s >= config.stall_after and not len(self.approvals):
            self._last_event_at = self.house.clock.monotonic()
            self.house.metrics.stalls.labels(action=config.on_stall.value).inc()
            _log.warning(
                "turn_stalled",
                extra={
                    "instance": self.record.instance,
                    "turn": self.record.id,
                    "quiet_s": round(quiet_s),
                    "action": config.on_stall.value,
                },
            )
            for event in warning(f"nothing has come from Codex for {quiet_s:.0f} s"):
                self.log.append(event)
            if config.on_stall is OnStall.INTERRUPT:
                self.shell.cancel_turn(self.record.id, Cause.STALLED)
        self._arm_stall_watch()

    def _disarm(self) -> None:
        for timer in (self._time_limit, self._stall_watch):
            if timer is not None:
                timer.cancel()

    # --- the end ----------------------------------------------------------------------------------------------------

    def _make_end(self, outcome: Outcome, cause: Cause | None, error: str) -> TurnEnd:
        clock, draft = self.house.clock, self.draft
        answer = draft.answer()
        limit = self.house.config.turns.answer_limit
        encoded = answer.encode(errors="replace")
        if len(encoded) > limit:
            answer = encoded[:limit].decode(errors="ignore")
            outcome, cause = Outcome.FAILED, Cause.LIMIT
            error = f"the answer has {len(encoded):,} bytes; the first {limit:,} are kept (turns.answer_limit)"
        return TurnEnd(
            outcome=outcome,
            cause=cause,
            error=error,
            answer=answer,
            reasoning=draft.reasoning(),
            usage=draft.usage,
            commands=tuple(draft.commands.values()),
            files=tuple(draft.files.values()),
            ended_ns=clock.wall_ns(),
            queued_s=self._since_accepted(self._sent_at),
            first_event_s=self._since_accepted(self._first_event_at),
            first_text_s=self._since_accepted(self._first_text_at),
            total_s=clock.monotonic() - self._accepted_at,
        )

    def _since_accepted(self, moment: float | None) -> float | None:
        return None if moment is None else moment - self._accepted_at

    def _since_sent(self, moment: float | None) -> float | None:
        return None if moment is None or self._sent_at is None else moment - self._sent_at

    def _count_end(self, end: TurnEnd) -> None:
        if self.house.tracing is not None:
            self.house.tracing.turn_ended(self.record.id)
        self.house.metrics.turn_ended(
            end.outcome,
            end.cause,
            end.usage,
            total_s=end.total_s,
            queued_s=end.queued_s,
            first_event_s=self._since_sent(self._first_event_at),
            first_text_s=self._since_sent(self._first_text_at),
        )
        _log.info(
            "turn_ended",
            extra={
                "instance": self.record.instance,
                "turn": self.record.id,
                "outcome": end.outcome.value,
                "cause": end.cause.value if end.cause else "",
                "total_s": round(end.total_s, 3),
            },
        )

    def _count_decision(self, decision: str, by: str) -> None:
        label = {"acceptForSession": "accept_for_session"}.get(decision, decision)
        by_label = by.replace(" ", "_")
        self.house.metrics.approvals.labels(decision=label, by=by_label).inc()
        _log.info(
            "approval_answered",
            # Not what it was about: commands are the person's own.
            extra={"instance": self.record.instance, "turn": self.record.id, "decision": label, "by": by_label},
        )


def _accepted_at(record: TurnRecord, clock: Clock) -> float:
    """Return when the turn was accepted, on the monotonic clock."""
    moment = record.request.accepted
    if moment is not None and moment.boot_id == boot_id():
        return moment.monotonic_s
    # The machine was started anew since: the wall clock is all that there is, and it may have jumped.
    return clock.monotonic() - max(0.0, (clock.wall_ns() - record.accepted_ns) / 1e9)


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


def _ending_of(cause: Cause) -> tuple[Outcome, Cause, str]:
    """Return the outcome, the cause and a sentence for a turn that was ended on purpose."""
    match cause:
        case Cause.USER:
            return Outcome.CANCELLED, cause, "it was interrupted on request"
        case Cause.TIMED_OUT:
            return Outcome.FAILED, cause, "its time limit passed; give more with --timeout or turns.timeout"
        case Cause.STALLED:
            return Outcome.FAILED, cause, "it gave no sign of life for turns.stall_after; ask again"
        case Cause.LIMIT:
            return Outcome.FAILED, cause, "the answer is longer than turns.answer_limit; raise it or ask for less"
        case _:
            return Outcome.FAILED, cause, f"it was ended: {cause.value}"
