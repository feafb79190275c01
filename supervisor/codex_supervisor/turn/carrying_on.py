"""Carrying a turn on that an earlier child or supervisor had: what became of it is found out, then it goes on or ends.

What the thread kept is judged in `recovery`, and for reviews in `review`; here it is fetched, and acted on.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol, assert_never

import msgspec
from codex_control.v1 import turns_pb2

from codex_supervisor.child import requests
from codex_supervisor.child.awake import AwakeChild, LoadedThread
from codex_supervisor.child.conversation import Turn
from codex_supervisor.child.items import ThreadItem
from codex_supervisor.child.notifications import Notification, ThreadTokenUsageUpdatedNotification
from codex_supervisor.config.turns import OnInterrupted
from codex_supervisor.house import House
from codex_supervisor.store.records import Cause, InstanceRecord, Outcome, TurnRecord
from codex_supervisor.turn.codex_turn import CodexTurn
from codex_supervisor.turn.draft import Draft
from codex_supervisor.turn.log import TurnLog
from codex_supervisor.turn.messages import command_message, duration, file_message
from codex_supervisor.turn.outcome import outcome_for
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
from codex_supervisor.turn.threads import REQUEST_TIMEOUT_S, is_active

_log = logging.getLogger(__name__)

# Turns looked through for ours after a death, beside those that carrying on added.
_RECENT_TURNS = 10

# How long a living child's own word that a turn was cut off, or is unknown, is not believed: it may be about to begin
# it, or be about to write its end down.
_SETTLE_S = 1.0
_LOOK_AGAIN_S = 0.05

# An outcome waits so long for its count of tokens.
_USAGE_S = 0.5


class OwnerOfCutOff(Protocol):
    """What is needed of the instance."""

    record: InstanceRecord

    @property
    def last_death(self) -> str:
        """Why the last child ended, as a piece of a sentence."""

    @property
    def died_at(self) -> float:
        """When, on the monotonic clock."""


class Carried(Protocol):
    """What is needed of the turn's run."""

    house: House
    record: TurnRecord
    log: TurnLog
    draft: Draft
    codex: CodexTurn
    ending: Cause | None
    was_stopped: bool

    @property
    def shell(self) -> OwnerOfCutOff:
        """The instance."""

    async def open_thread(self, child: AwakeChild) -> LoadedThread:
        """Return the instance's thread, loaded in `child`."""

    async def send(self, child: AwakeChild, *, go_on: bool, report: Callable[[], None]) -> None:
        """Send the turn, without its input where it goes on; `report` is called before its start is told."""

    def is_known_as(self, codex_turn_id: str, reviewer: str = "") -> None:
        """Learn what Codex calls the turn."""

    def tell_started(self) -> None:
        """Tell the followers that Codex has begun the turn."""

    async def conclude(self, turn: Turn) -> None:
        """Record the outcome of a turn that Codex has ended."""

    async def end(self, outcome: Outcome, cause: Cause | None, error: str) -> None:
        """Record an outcome."""


class CarryingOn:
    """Carries one turn on, with each child that it is given to after the first."""

    def __init__(self, run: Carried) -> None:
        self._run = run
        self._review = run.record.request.review

    async def carry_on(self, child: AwakeChild) -> None:
        """Find out what became of the turn, and follow it, send it, or end it. Raises as requests to Codex do."""
        run = self._run
        run.codex.hold()
        try:
            finding = await self._find(child)
            if isinstance(finding, StillRuns):
                run.is_known_as(finding.codex_turn_id, finding.active_turn_id)
            elif isinstance(finding, Over) and not child.adopted:
                await self._hear_usage(child)
        finally:
            held = run.codex.release()
        found = {"instance": run.record.instance, "turn": run.record.id, "finding": type(finding).__name__}
        _log.info("turn_looked_up", extra=found)
        match finding:
            case Unsent():
                await self._send_again(child)
            case Over(turn=turn, kept=kept):
                run.is_known_as(turn.id)
                self._catch_up(kept)
                self._catch_up_usage(held)
                # At once: the child may be gone by now, and the turn is over all the same.
                await run.conclude(turn)
            case StillRuns(kept=kept):
                self._catch_up(kept)
                run.draft.mute_unfinished()
                for notification in held:
                    run.codex.feed(notification)
            case CutOff():
                self._catch_up_usage(held)
                await self._resume(child, finding)
            case _:
                assert_never(finding)

    # --- finding out ------------------------------------------------------------------------------------------------

    async def _find(self, child: AwakeChild) -> Finding:
        clock = self._run.house.clock
        believed_at = clock.monotonic() + _SETTLE_S
        while True:
            finding = await self._look(child)
            settled = not child.adopted or clock.monotonic() >= believed_at
            if settled or isinstance(finding, StillRuns | Over):
                return finding
            await asyncio.sleep(_LOOK_AGAIN_S)

    async def _look(self, child: AwakeChild) -> Finding:
        record = self._run.record
        thread = await self._run.open_thread(child)
        if thread.id != record.thread_id:
            return Unsent()
        # Before the list: a review that ends in between is in the list then.
        active = self._review is not None and await is_active(child, thread)
        limit = _RECENT_TURNS + record.recoveries
        params = requests.ThreadTurnsListParams(thread_id=thread.id, limit=limit, items_view="full")
        reply = await child.server.request(
            "thread/turns/list", params, requests.ThreadTurnsListResponse, REQUEST_TIMEOUT_S
        )
        if self._review is not None:
            return find_review(reply.data, record.codex_turn_id, active=active)
        return find_turn(reply.data, record.id, record.codex_turn_id)

    def _restore(self, kept: Sequence[ThreadItem]) -> None:
        for event in self._run.draft.restore(kept):
            self._run.log.append(event)

    def _catch_up(self, kept: Sequence[ThreadItem]) -> None:
        """Take in what happened while nobody listened."""
        run = self._run
        self._restore(kept)
        told = run.draft.codex_turn_id
        if not run.codex.id:
            return
        if told and told != run.codex.id:
            # A supervisor carried the turn on and died before it could say so.
            policy = self._policy()
            self._report(OnInterrupted.CONTINUE if policy is OnInterrupted.REPORT else policy)
        if told != run.codex.id:
            run.tell_started()

    async def _hear_usage(self, child: AwakeChild) -> None:
        """Wait a moment for the tokens that Codex tells of as it loads a thread: milliseconds after its reply.

        It tells nothing where the thread is loaded already, as in a child that was adopted (measured with 0.163.0).
        """
        run = self._run
        enough_at = run.house.clock.monotonic() + _USAGE_S
        while run.draft.used_before is not None and not child.process.exited.done():
            heard = any(
                isinstance(notification, ThreadTokenUsageUpdatedNotification) for notification in run.codex.held
            )
            if heard or run.house.clock.monotonic() >= enough_at:
                return
            await asyncio.sleep(_LOOK_AGAIN_S / 10)

    def _catch_up_usage(self, held: Sequence[Notification]) -> None:
        """Take in the tokens that Codex tells of as it loads the thread."""
        for notification in held:
            if isinstance(notification, ThreadTokenUsageUpdatedNotification):
                for event in self._run.draft.catch_up_usage(notification.token_usage):
                    self._run.log.append(event)

    # --- going on ---------------------------------------------------------------------------------------------------

    async def _send_again(self, child: AwakeChild) -> None:
        run = self._run
        if run.ending is not None:
            await run.end(*outcome_for(run.ending))
            return
        if await self._may_recover():
            sentence = "Codex had not taken the input yet: it is sent again"
            if self._review is not None:
                sentence = "Codex knows nothing of the review: it is begun"
            await run.send(child, go_on=False, report=partial(self._report, OnInterrupted.CONTINUE, sentence))

    async def _resume(self, child: AwakeChild, found: CutOff) -> None:
        run = self._run
        self._restore(found.kept)
        if run.ending is not None:
            await run.end(*outcome_for(run.ending))
            return
        policy = self._policy()
        if policy is OnInterrupted.REPORT:
            self._report(policy)
            await run.end(Outcome.INTERRUPTED, Cause.CHILD_DIED, self._what_happened())
            return
        if not await self._may_recover():
            return
        if self._review is not None:
            # The thread has nothing of it, so there is nothing to go on from, or to take back.
            await run.send(child, go_on=False, report=partial(self._report, OnInterrupted.REPLAY, REVIEW_AGAIN))
            return
        if policy is OnInterrupted.REPLAY:
            revert = requests.ThreadRevertParams(thread_id=run.record.thread_id, before_turn_id=found.first_turn_id)
            await child.server.request("thread/revert", revert, requests.ThreadRevertResponse, REQUEST_TIMEOUT_S)
        await run.send(child, go_on=policy is OnInterrupted.CONTINUE, report=partial(self._report, policy))

    def _policy(self) -> OnInterrupted:
        wanted = self._run.shell.record.settings.on_interrupted
        return OnInterrupted(wanted) if wanted else self._run.house.config.turns.on_interrupted

    async def _may_recover(self) -> bool:
        """Count one more recovery; end the turn where it has had its share: it may be what kills its children."""
        run = self._run
        own_limit = run.shell.record.settings.max_recoveries
        limit = run.house.config.turns.max_recoveries if own_limit is None else own_limit
        stopped = self._was_stopped()
        recoveries = await run.house.store.bump_recovery(run.record.id, stopped=stopped)
        request = msgspec.structs.replace(run.record.request, stops=run.record.request.stops + stopped)
        run.record = msgspec.structs.replace(run.record, recoveries=recoveries, request=request)
        if recoveries - request.stops <= limit:
            return True
        times = "once" if limit == 1 else f"{limit} times"
        sentence = f"{self._what_happened()}; it was carried on {times} already"
        if own_limit is None:
            sentence += " (turns.max_recoveries)"
        await run.end(Outcome.INTERRUPTED, Cause.CHILD_DIED, sentence)
        return False

    # --- telling ----------------------------------------------------------------------------------------------------

    def _was_stopped(self) -> bool:
        # A death since then is another reason.
        return self._run.was_stopped and not self._run.shell.last_death

    def _what_happened(self) -> str:
        if self._was_stopped():
            return "the service was stopped under the turn"
        reason = self._run.shell.last_death or "the supervisor was restarted and the child was gone"
        return f"the child died under the turn: {reason}"

    def _report(self, policy: OnInterrupted, what_next: str = "") -> None:
        run = self._run
        action, sentence = ACTIONS[policy]
        died_at = run.shell.died_at
        took_s = run.house.clock.monotonic() - died_at if died_at else None
        report = turns_pb2.RecoveryReport(
            what_happened=self._what_happened(),
            action=action,
            what_next=what_next or sentence,
            commands=[command_message(command) for command in run.draft.commands.values()],
            files=[file_message(file) for file in run.draft.files.values()],
            # Of a turn that ends here the piece of text is all that there is; one that goes on says it anew.
            superseded_item_ids=[] if policy is OnInterrupted.REPORT else run.draft.drop_unfinished(),
            recovery=run.record.recoveries,
            took=duration(took_s),
        )
        run.log.append(turns_pb2.TurnEvent(recovery=report))
        run.house.metrics.recoveries.labels(action=policy.value).inc()
        if took_s is not None and policy is not OnInterrupted.REPORT:
            run.house.metrics.recovery_seconds.observe(took_s)
        _log.warning(
            "turn_recovered",
            extra={
                "instance": run.record.instance,
                "turn": run.record.id,
                "action": policy.value,
                "why": report.what_happened,
                "commands": len(report.commands),
                "files": len(report.files),
                "took_s": None if took_s is None else round(took_s, 3),
            },
        )
