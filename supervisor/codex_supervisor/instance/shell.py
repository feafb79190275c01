"""The asyncio shell of one instance: feeds events to the pure core and performs what it commands.

`dispatch` is synchronous, so that the loop itself keeps events in order; work that takes time runs in owned tasks and
comes back as events. A known instance without a child costs this object and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import assert_never

import msgspec
from codex_control.errors import ChildFailed, CodexError, LimitExceeded, TimedOut, WrongState
from codex_control.service.owned_tasks import News

from codex_supervisor.child.awake import AwakeChild
from codex_supervisor.child.notifications import (
    ConfigWarningNotification,
    Notification,
    ThreadTokenUsageUpdatedNotification,
    TokenUsageBreakdown,
)
from codex_supervisor.child.server_requests import ServerRequest
from codex_supervisor.config.children import InstancesConfig
from codex_supervisor.failpoints import reach
from codex_supervisor.house import House
from codex_supervisor.instance.budget import Policy, RestartBudget
from codex_supervisor.instance.events import (
    CancelWanted,
    Command,
    EndTurn,
    Event,
    InterruptTurn,
    KillChild,
    RecycleWanted,
    RestartWanted,
    RunTurn,
    Spawn,
    StartWanted,
    StopChild,
    StopWanted,
    Tick,
    TurnAccepted,
    TurnOver,
)
from codex_supervisor.instance.keeper import ChildKeeper
from codex_supervisor.instance.notes import idled, restart_reason, state_note
from codex_supervisor.instance.states import (
    Backoff,
    Busy,
    Core,
    Failed,
    Ready,
    State,
    Stopped,
    next_wake,
    running_turn,
    state_name,
)
from codex_supervisor.instance.step import step
from codex_supervisor.store.records import Cause, InstanceRecord
from codex_supervisor.turn.approvals import quietly
from codex_supervisor.turn.run import TurnRun

_log = logging.getLogger(__name__)

# Different warnings of Codex about its configuration that are told, and kept for the doctor.
MAX_CODEX_WARNINGS = 50

# Wait between two tries to write a record while the disk is full or the store is not there.
_WRITE_RETRY_S = 1.0

# How long the end of a turn waits for the record of the wish for it: a slow disk must not keep a turn running.
_WISH_LIMIT_S = 1.0


def policy_of(limits: InstancesConfig) -> Policy:
    """Return the limits of an instance's life as the core takes them."""
    return Policy(
        restart_burst=limits.restart_burst,
        restart_refill_s=limits.restart_refill,
        backoff_initial_s=limits.backoff_initial,
        backoff_max_s=limits.backoff_max,
        cool_down_s=limits.cool_down,
        start_timeout_s=limits.start_timeout,
        idle_after_s=limits.idle_after,
        probe_misses=limits.probe_misses,
    )


class InstanceShell:
    """One instance. Its wishes (`start`, `stop`, …) return when they are fulfilled or raise why not."""

    def __init__(self, record: InstanceRecord, house: House, on_change: Callable[[InstanceShell], None]) -> None:
        self.record = record
        self.house = house
        self.core = Core(
            RestartBudget.full(policy_of(house.config.instances), house.clock.monotonic()), restarts=record.restarts
        )
        self.keeper = ChildKeeper(self)
        self.runs: dict[str, TurnRun] = {}
        self.thread_tokens: TokenUsageBreakdown | None = None
        """What the thread has used by now, where Codex has told: with each request, and as it loads a thread."""
        self.since_ns = house.clock.wall_ns()
        self.pending_accepts = 0
        self.recorded = False
        """Whether the store knows the instance."""
        self.leaving = False
        """Set while the instance is being deleted: it takes no new turns."""
        self._wanted = ""
        """The latest wish, `up` or `down`: an earlier one of the other kind will not be fulfilled any more."""
        self.frozen = False
        """Set when the supervisor goes: nothing is decided any more, turns stay in the journal for the next one."""
        self._on_change = on_change
        self._inbox: deque[Event] = deque()
        self._deciding = False
        self._wake: asyncio.TimerHandle | None = None
        self.news = News()

    def __repr__(self) -> str:
        return f"<instance {self.record.id} {self.core.state!r} queue={len(self.core.queue)}>"

    @property
    def _policy(self) -> Policy:
        return policy_of(self.house.config.instances)

    @property
    def state(self) -> State:
        """The present state."""
        return self.core.state

    # --- deciding and performing ------------------------------------------------------------------------------------

    def dispatch(self, event: Event) -> None:
        """Let the core decide on `event`, and perform what it commands."""
        if self.frozen:
            return
        self._inbox.append(event)
        if self._deciding:
            return
        self._deciding = True
        try:
            while self._inbox:
                event = self._inbox.popleft()
                before = self.core
                self.core, commands = step(before, event, self.house.clock.monotonic(), self._policy)
                self._note(before, event)
                for command in commands:
                    self._perform(command)
        finally:
            self._deciding = False
        self._set_timer()

    def _note(self, before: Core, event: Event) -> None:
        reason = restart_reason(before, event, self.core)
        if reason is not None:
            self.house.metrics.restarts.labels(reason=reason).inc()
        if idled(before, event, self.core):
            self.house.metrics.hibernations.labels(reason="idle").inc()
        if self.core.restarts != before.restarts:
            self.save(msgspec.structs.replace(self.record, restarts=self.core.restarts))
        if state_name(self.core.state) != state_name(before.state):
            self.since_ns = self.house.clock.wall_ns()
        note = state_note(before, event, self.core, self.house.clock.monotonic())
        if note is not None:
            _log.info("state_changed", extra={"instance": self.record.id, **note})
        if self.core != before:
            self._queue_moved(before)
            self._tell_what_is_away()
            self._on_change(self)
            self.news.tell()

    def _queue_moved(self, before: Core) -> None:
        if before.queue == self.core.queue:
            return
        name = state_name(self.core.state)
        reason = f"the instance is {'in back-off' if isinstance(self.core.state, Backoff) else name}"
        for position, turn in enumerate(self.core.queue, 1):
            if position > len(before.queue) or before.queue[position - 1] != turn:
                run = self.runs.get(turn)
                if run is not None:
                    run.queued(position, reason)

    def _tell_what_is_away(self) -> None:
        """Tell every turn that waits what no child can be started without; each once."""
        state = self.core.state
        if not isinstance(state, Backoff) or not self.core.deferrals:
            return
        for turn in (state.carry_on, *self.core.queue):
            if turn is not None and (run := self.runs.get(turn)) is not None:
                run.waits_for(state.reason)

    def _perform(self, command: Command) -> None:
        tasks = self.house.tasks
        match command:
            case Spawn(generation=generation):
                self.keeper.bring_up(generation)
            case StopChild(generation=generation, cut=cut):
                self.keeper.take_down(generation, cut=cut)
            case KillChild(generation=generation, reason=reason):
                self.keeper.kill(generation, reason)
            case RunTurn(turn=turn):
                run, child = self.runs[turn], self.child
                if child is not None:
                    tasks.start(run.run(child), f"turn {turn}")
            case InterruptTurn(turn=turn, cause=cause):
                tasks.start(self.runs[turn].interrupt(cause), f"interrupt {turn}")
            case EndTurn(turn=turn, outcome=outcome, cause=cause, error=error):
                tasks.start(self.runs[turn].end(outcome, cause, error), f"end {turn}")
            case _:
                assert_never(command)

    def _set_timer(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        due = next_wake(self.core, self.house.config.instances.idle_after)
        if due is not None:
            delay = max(0.0, due - self.house.clock.monotonic())
            self._wake = asyncio.get_running_loop().call_later(delay, self.dispatch, Tick())

    # --- what the child tells and asks ------------------------------------------------------------------------------

    @property
    def child(self) -> AwakeChild | None:
        """The child that is up."""
        return self.keeper.child

    def owns(self, pid: int) -> bool:
        """Whether `pid` is this instance's child, up or on its way."""
        return self.keeper.owns(pid)

    @property
    def last_death(self) -> str:
        """Why the last child ended, as a piece of a sentence."""
        return self.keeper.last_death

    @property
    def died_at(self) -> float:
        """When, on the monotonic clock."""
        return self.keeper.died_at

    def on_notification(self, notification: Notification) -> None:
        """Take in what the child tells."""
        if isinstance(notification, ConfigWarningNotification):
            # It comes with every start and belongs to no turn.
            self._note_warning(notification.summary)
        run = self.runs.get(running_turn(self.core.state) or "")
        if run is not None:
            run.feed(notification)
        if isinstance(notification, ThreadTokenUsageUpdatedNotification):
            self.thread_tokens = notification.token_usage.total

    def _note_warning(self, summary: str) -> None:
        known = self.house.codex_warnings
        if summary not in known and len(known) < MAX_CODEX_WARNINGS:
            known.append(summary)
            _log.warning("codex_warns", extra={"instance": self.record.id, "warning": summary})

    def on_request(self, request: ServerRequest) -> None:
        """Take in what the child asks, and see that it is answered."""
        run = self.runs.get(running_turn(self.core.state) or "")
        child = self.child
        if run is not None:
            run.asked(request)
        elif child is not None:
            # Nobody waits for it: a refusal lets Codex go on, silence would hang it.
            reply = child.server.reply_error(request.id, "no turn is running")
            self.house.tasks.start(quietly(reply), f"refuse {self.record.id}")

    # --- when the supervisor goes -----------------------------------------------------------------------------------

    def freeze(self) -> None:
        """Decide nothing more: the supervisor ends, and what is in the journal is for the next one."""
        self.frozen = True
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None

    async def leave_child(self) -> None:
        """Let the child run on, for the next supervisor to adopt."""
        await self.keeper.leave()

    async def end_child(self) -> None:
        """End the child with all that it started; a running turn is cut off, to be carried on later."""
        await self.keeper.end(cut=running_turn(self.state) is not None)

    # --- wishes -----------------------------------------------------------------------------------------------------

    async def start(self, timeout_s: float) -> None:
        """Bring the child up and return when it is ready; raise `ChildFailed` where it cannot, with its last words."""
        self._want("up")
        self.dispatch(StartWanted())
        await self._settled(lambda state: isinstance(state, Ready | Busy | Failed), timeout_s, "start", "up")
        self._raise_failure()

    async def restart(self, force: bool, timeout_s: float) -> None:
        """Replace the child and return when the new one is ready."""
        before = self.core.generation
        self._want("up")
        self.dispatch(RestartWanted(force))
        await self._settled(
            lambda state: (
                isinstance(state, Failed) or (isinstance(state, Ready | Busy) and self.core.generation > before)
            ),
            timeout_s,
            "restart",
            "up",
        )
        self._raise_failure()

    async def stop(self, force: bool, timeout_s: float) -> None:
        """End the child and return when everything that it started is gone."""
        self._want("down")
        self.dispatch(StopWanted(force))
        await self._settled(lambda state: isinstance(state, Stopped), timeout_s, "stop", "down")
        await self.keeper.swept()

    def _want(self, wanted: str) -> None:
        if wanted != self._wanted:
            self._wanted = wanted
            self.news.tell()

    def _raise_failure(self) -> None:
        if isinstance(self.state, Failed):
            if self.keeper.refusal is not None and str(self.keeper.refusal) == self.state.reason:
                raise self.keeper.refusal
            raise ChildFailed(
                what=f"instance {self.record.id} could not be started",
                why="; ".join([self.state.reason, *self.keeper.stderr_tail[-3:]]),
                next_step="run `codexctl doctor`, then `codexctl restart`",
            )

    async def _settled(self, reached: Callable[[State], bool], timeout_s: float, wish: str, wanted: str) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    news = self.news.next()
                    if reached(self.state):
                        return
                    if self._wanted != wanted:
                        raise WrongState(
                            what=f"the {wish} of instance {self.record.id} was overtaken",
                            why="somebody wanted the opposite, or asked something, before it was done",
                            next_step=f"look at it with `codexctl status {self.record.id}`",
                        )
                    await news.wait()
        except TimeoutError as error:
            raise TimedOut(
                what=f"instance {self.record.id} is {state_name(self.state)} after {timeout_s:g} s",
                why=f"the {wish} goes on",
                next_step=f"watch it with `codexctl status {self.record.id}`",
            ) from error

    # --- turns ------------------------------------------------------------------------------------------------------

    def check_accepts(self) -> None:
        """Raise where a new turn would not be accepted now: the queue is full, or the instance has failed."""
        if self.leaving:
            raise WrongState(what=f"instance {self.record.id} is being deleted", next_step="ask again when it is gone")
        if isinstance(self.state, Failed):
            raise WrongState(
                what=f"instance {self.record.id} has failed",
                why="; ".join([self.state.reason, *self.keeper.stderr_tail[-3:]]),
                next_step=f"mend the cause, then `codexctl restart {self.record.id}`",
            )
        limit = self.house.config.turns.queue_limit
        if len(self.core.queue) + self.pending_accepts >= limit + (running_turn(self.state) is None):
            self.house.metrics.queue_rejections.inc()
            _log.info("queue_full", extra={"instance": self.record.id, "limit": limit})
            raise LimitExceeded(
                what=f"the queue of instance {self.record.id} is full",
                why=f"{limit} turns wait already",
                next_step="wait, use another instance (-i), or raise turns.queue_limit",
            )

    def free_thread(self) -> str:
        """Return the loaded thread that the turn being accepted goes to at once; empty where it may have to wait."""
        child = self.child
        free = isinstance(self.state, Ready) and not self.runs and self.pending_accepts == 1
        loaded = child.thread if child is not None else None
        return loaded.id if free and loaded is not None and loaded.id == self.record.thread_id else ""

    def enqueue(self, run: TurnRun) -> None:
        """Take a turn that is in the journal."""
        self.runs[run.record.id] = run
        self._want("up")
        self.dispatch(TurnAccepted(run.record.id))

    def cancel_turn(self, turn: str, cause: Cause) -> None:
        """Ask for the end of a turn; its record tells when it has come."""
        if cause is Cause.USER and turn in self.runs:
            self.house.tasks.start(self._cancel(turn, cause), f"cancel {turn}")
        else:
            # What a clock or a bound wants, it wants of the next supervisor too.
            self.dispatch(CancelWanted(turn, cause))

    async def _cancel(self, turn: str, cause: Cause) -> None:
        # The wish first: who has it may be gone when the next supervisor takes the turn up.
        try:
            async with asyncio.timeout(_WISH_LIMIT_S):
                await self.house.store.want_end(turn, cause)
        except (CodexError, TimeoutError) as error:
            # It has ended, or the disk is full: what can be done now is done now.
            _log.info("cancel_not_recorded", extra={"turn": turn, "error": str(error)})
        reach("cancel-recorded")
        self.dispatch(CancelWanted(turn, cause))

    def recycle(self, generation: int) -> None:
        """Ask for a new child in place of this one, once its turn is over."""
        self.dispatch(RecycleWanted(generation))

    def turn_over(self, turn: str) -> None:
        """Hear from a run that its outcome is recorded."""
        self.runs.pop(turn, None)
        self.dispatch(TurnOver(turn))
        # Told even where the core does not change: a drain waits for the last outcome, not for the state.
        self._on_change(self)
        self.news.tell()

    def accept_over(self) -> None:
        """Hear that an ask that was being accepted is in the queue, or was refused."""
        self.pending_accepts -= 1
        self.news.tell()

    async def turns_ended(self, timeout_s: float) -> None:
        """Wait until every accepted turn has its outcome; raise `TimedOut`."""
        await self._until(lambda: not self.runs, timeout_s)

    async def accepts_over(self, timeout_s: float) -> None:
        """Wait until no ask is being accepted; raise `TimedOut`."""
        await self._until(lambda: not self.pending_accepts, timeout_s)

    async def _until(self, reached: Callable[[], bool], timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    news = self.news.next()
                    if reached():
                        return
                    await news.wait()
        except TimeoutError as error:
            raise TimedOut(
                what=f"instance {self.record.id} still has turns after {timeout_s:g} s",
                next_step=f"watch it with `codexctl status {self.record.id}`",
            ) from error

    def save(self, record: InstanceRecord) -> None:
        """Remember a changed record; it is written behind the scenes, in order, and again where the disk is full."""
        self.record = record
        self.house.tasks.start(self._write(record), f"save {record.id}")

    async def _write(self, record: InstanceRecord) -> None:
        # A newer record has a task of its own.
        while self.record is record:
            try:
                await self.house.store.save_instance(record)
            except CodexError as error:
                _log.error("instance_not_recorded", extra={"instance": record.id, "error": str(error)})
                await asyncio.sleep(_WRITE_RETRY_S)
            else:
                return
