"""The asyncio shell of one instance: feeds events to the pure core and performs what it commands.

`dispatch` is synchronous, so that the loop itself keeps events in order; work that takes time runs in owned tasks and
comes back as events. A known instance without a child costs this object and nothing else.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import assert_never

import msgspec
from codex_control.errors import ChildFailed, CodexError, CodexUnusable, LimitExceeded, TimedOut, WrongState
from codex_control.service.owned_tasks import News

from codex_supervisor.child.awake import AwakeChild
from codex_supervisor.child.cgroups import limit_memory
from codex_supervisor.child.notifications import ConfigWarningNotification, Notification
from codex_supervisor.child.server_requests import ServerRequest
from codex_supervisor.child.spawn import ChildProcess
from codex_supervisor.config import InstancesConfig
from codex_supervisor.failpoints import reach
from codex_supervisor.house import House
from codex_supervisor.instance.budget import Policy, RestartBudget
from codex_supervisor.instance.children import bring_up, take_down
from codex_supervisor.instance.events import (
    CancelWanted,
    ChildDied,
    ChildReady,
    Command,
    EndTurn,
    Event,
    InterruptTurn,
    KillChild,
    RecycleWanted,
    RestartWanted,
    RunTurn,
    Spawn,
    StartRefused,
    StartWanted,
    StopChild,
    StopWanted,
    Tick,
    TreeGone,
    TurnAccepted,
    TurnOver,
)
from codex_supervisor.instance.notes import idled, restart_reason, state_note
from codex_supervisor.instance.states import (
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
from codex_supervisor.store.records import Cause, ChildRecord, InstanceRecord
from codex_supervisor.turn.approvals import quietly
from codex_supervisor.turn.run import TurnRun

_log = logging.getLogger(__name__)

# Lines of the child's error output that go with a failure.
STDERR_TAIL_LINES = 20

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
        self.child: AwakeChild | None = None
        self.runs: dict[str, TurnRun] = {}
        self.since_ns = house.clock.wall_ns()
        self.last_death = ""
        self.died_at = 0.0
        self.stderr_tail: list[str] = []
        self.pending_accepts = 0
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
        self._starting: asyncio.Task[None] | None = None
        self._spawned: tuple[ChildProcess, ChildRecord] | None = None
        self._refusal: CodexUnusable | None = None
        self._sweeping: asyncio.Task[None] | None = None

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
            self._on_change(self)
            self.news.tell()

    def _queue_moved(self, before: Core) -> None:
        if before.queue == self.core.queue:
            return
        reason = f"the instance is {state_name(self.core.state)}"
        for position, turn in enumerate(self.core.queue, 1):
            if position > len(before.queue) or before.queue[position - 1] != turn:
                run = self.runs.get(turn)
                if run is not None:
                    run.queued(position, reason)

    def _perform(self, command: Command) -> None:
        tasks = self.house.tasks
        name = self.record.id
        match command:
            case Spawn(generation=generation):
                self._starting = tasks.start(self._bring_up(generation), f"bring up {name}")
            case StopChild(generation=generation, cut=cut):
                tasks.start(self._take_down(generation, cut), f"take down {name}")
            case KillChild(generation=generation, reason=reason):
                if self.child is not None:
                    self.child.kill(reason)
                else:
                    tasks.start(self._abandon_start(generation, reason), f"abandon {name}")
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

    # --- the child --------------------------------------------------------------------------------------------------

    async def _bring_up(self, generation: int) -> None:
        started = self.house.clock.monotonic()
        try:
            child = await bring_up(
                self.house,
                instance=self.record.id,
                generation=generation,
                on_spawned=self._note_spawned,
                on_notification=self.on_notification,
                on_request=self.on_request,
            )
        except CodexUnusable as error:
            self._refusal = error
            self._start_failed()
            self.dispatch(StartRefused(generation, str(error)))
            return
        except CodexError as error:
            # The child's own failure, or a full disk that keeps its record from being written: tried again later.
            self._start_failed()
            self.dispatch(ChildDied(generation, str(error), self.house.random.random()))
            return
        if self._sweeping is not None:
            # What is left of the last child is swept while this one starts. It must be gone before a turn goes on:
            # one writer per thread, and no command of the old turn beside the new one's.
            try:
                await asyncio.shield(self._sweeping)
            except BaseException:
                # Whoever ends this start takes the process down.
                await child.close()
                raise
        self._spawned = self._refusal = None
        self.house.metrics.child_starts.labels(result="ready").inc()
        self.house.metrics.start_seconds.observe(self.house.clock.monotonic() - started)
        self.take_child(child)
        self.dispatch(ChildReady(generation))

    def _note_spawned(self, process: ChildProcess, record: ChildRecord) -> None:
        self._spawned = (process, record)

    def _start_failed(self) -> None:
        """Keep the words of a child that never became ready, and sweep what is left of it."""
        self.house.metrics.child_starts.labels(result="failed").inc()
        if self._spawned is not None:
            process, record = self._spawned
            self._spawned = None
            self.stderr_tail = process.stderr_tail(STDERR_TAIL_LINES)
            self._sweep(record, process)

    async def _abandon_start(self, generation: int, reason: str) -> None:
        await self._cancel_start()
        if self.child is not None:
            # It became ready in this very moment: its death is watched already.
            self.child.kill(reason)
            return
        self._start_failed()
        self.dispatch(ChildDied(generation, reason, self.house.random.random()))

    async def _cancel_start(self) -> None:
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            await asyncio.wait([starting])

    def take_child(self, child: AwakeChild) -> None:
        """Make `child`, started or adopted, the instance's own and watch over it."""
        self.child = child
        if self.record.task is not None and child.record.cgroup:
            limit_memory(Path(child.record.cgroup), self.house.config.tasks.memory_limit)
        self.house.tasks.start(self._watch(child), f"watch {self.record.id}")

    async def _watch(self, child: AwakeChild) -> None:
        reason = await child.gone()
        self.last_death, self.died_at = reason, self.house.clock.monotonic()
        if self.child is not child:
            return  # it is being taken down, and that reports by itself
        self.child = None
        self.stderr_tail = child.process.stderr_tail(STDERR_TAIL_LINES)
        self._sweep(child.record, child.process)
        await child.close()
        self.dispatch(ChildDied(child.generation, reason, self.house.random.random()))

    def _sweep(self, record: ChildRecord, process: ChildProcess | None) -> None:
        self._sweeping = self.house.tasks.start(self._swept(self._sweeping, record, process), f"sweep {self.record.id}")

    async def _swept(
        self, earlier: asyncio.Task[None] | None, record: ChildRecord, process: ChildProcess | None
    ) -> None:
        await take_down(self.house, record, process, self.thread_ids(), cut=True)
        if earlier is not None:
            await asyncio.shield(earlier)

    async def _take_down(self, generation: int, cut: bool) -> None:
        await self._cancel_start()
        child, self.child = self.child, None
        process, record = (child.process, child.record) if child is not None else self._spawned or (None, None)
        self._spawned = None
        if record is not None:
            await take_down(self.house, record, process, self.thread_ids(), cut=cut)
        if child is not None:
            await child.close()
        if self._sweeping is not None:
            await asyncio.shield(self._sweeping)
        self.dispatch(TreeGone(generation))

    def owns(self, pid: int) -> bool:
        """Whether `pid` is this instance's child, up or on its way."""
        return (self.child is not None and self.child.process.pid == pid) or (
            self._spawned is not None and self._spawned[0].pid == pid
        )

    def thread_ids(self) -> tuple[str, ...]:
        """The Codex threads whose processes are ours."""
        return (self.record.thread_id,) if self.record.thread_id else ()

    def on_notification(self, notification: Notification) -> None:
        """Take in what the child tells."""
        if isinstance(notification, ConfigWarningNotification):
            # It comes with every start and belongs to no turn.
            self._note_warning(notification.summary)
        run = self.runs.get(running_turn(self.core.state) or "")
        if run is not None:
            run.feed(notification)

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
        await self._cancel_start()
        child, self.child = self.child, None
        if child is not None:
            await child.close()
            child.process.close()

    async def end_child(self) -> None:
        """End the child with all that it started; a running turn is cut off, to be carried on later."""
        await self._cancel_start()
        child, self.child = self.child, None
        process, record = (child.process, child.record) if child is not None else self._spawned or (None, None)
        if record is not None:
            await take_down(self.house, record, process, self.thread_ids(), cut=running_turn(self.state) is not None)
        if child is not None:
            await child.close()
        if self._sweeping is not None:
            await asyncio.shield(self._sweeping)

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
        if self._sweeping is not None:
            await asyncio.shield(self._sweeping)

    def _want(self, wanted: str) -> None:
        if wanted != self._wanted:
            self._wanted = wanted
            self.news.tell()

    def _raise_failure(self) -> None:
        if isinstance(self.state, Failed):
            if self._refusal is not None and str(self._refusal) == self.state.reason:
                raise self._refusal
            raise ChildFailed(
                what=f"instance {self.record.id} could not be started",
                why="; ".join([self.state.reason, *self.stderr_tail[-3:]]),
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
                why="; ".join([self.state.reason, *self.stderr_tail[-3:]]),
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
