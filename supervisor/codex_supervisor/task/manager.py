"""The tasks of this supervisor: claimed, run, looked after, and forgotten when their time has come.

What may run at once is bounded (`tasks.concurrency`); what waits is in the engine alone, so that ten thousand pending
tasks cost no memory. All waiting is for news of the engine; a slow look is the safety net.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection
from pathlib import Path

from codex_control.errors import CodexError, LimitExceeded, NotFound, StoreUnavailable
from codex_control.service.owned_tasks import News

from codex_supervisor.config.tasks import TaskEngine
from codex_supervisor.failpoints import reach
from codex_supervisor.instance.asks import Asks
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.task.attempt import STOPPED, Attempt, Bench, remove_instance
from codex_supervisor.task.contract import Engine, NameTaken
from codex_supervisor.task.mirror import Mirror
from codex_supervisor.task.opening import policy_of, seat_of
from codex_supervisor.task.records import Claim, TaskRecord, TaskRequest, TaskState, Worker
from codex_supervisor.task.rules import NS
from codex_supervisor.task.worktree import remove_worktree

_log = logging.getLogger(__name__)

# A lease lasts for so many heartbeats, and no shorter than this: a busy machine is no dead one.
_LEASE_BEATS = 3
_LEASE_MIN_S = 5.0

# Longest time without a look for work, where no news came.
_SAFETY_S = 30.0

# Our name in a queue of many machines is kept for so long: what a machine waits at most that died and comes back.
_NAME_S = 30.0
_NAME_RENEWED_S = _NAME_S / 3

# While the supervisor drains: its end is not told.
_DRAINING_S = 1.0

# Shortest time between two looks, however often it is told.
_BREATH_S = 0.02

# Between two tries while the engine is away.
_RETRY_S = 2.0

_SAMPLE_S = 5.0
_HOUSEKEEPING_S = 3600.0
_FIRST_HOUSEKEEPING_S = 30.0
_PRUNED_AT_ONCE = 500

# What a service manager waits for the end is longer.
_GIVE_BACK_TIMEOUT_S = 15.0
_REMOVED_TIMEOUT_S = 10.0
_LEAVE_TIMEOUT_S = 2.0
_CLAIM_TIMEOUT_S = 2.0


class TaskManager:
    """See the module. Made once there are a fleet and an engine; `start` begins."""

    def __init__(
        self,
        engine: Engine,
        worker: Worker,
        fleet: Fleet,
        asks: Asks,
        *,
        on_trouble: Callable[[str], None] = lambda _why: None,
    ) -> None:
        """`on_trouble` hears why the engine cannot be used, and an empty text when it can again."""
        self.engine = engine
        self.worker = worker
        self._fleet = fleet
        self._asks = asks
        self._house = fleet.house
        state_dir = self._house.paths.state_dir
        self._mirror = Mirror(
            engine,
            state_dir / "task-files",
            clock=self._house.clock,
            run=worker.run,
            enabled=lambda: self._house.config.tasks.state_files,
            on_error=self._house.metrics.task_state_file_errors.inc,
        )
        self._worktrees = state_dir / "worktrees"
        self._attempts: dict[str, Attempt] = {}
        self._slots = News()
        self._on_trouble = on_trouble
        self._trouble = ""
        self._stopping = False
        self._seat = seat_of(self._house.paths)
        self._enrolled_at: float | None = None
        self._taken_over = False
        self._claims_known = True
        """No claim may have been made whose answer was lost."""
        self._loops: list[asyncio.Task[None]] = []
        self._kept_trees: frozenset[str] = frozenset()
        self._tidy = asyncio.Event()
        # Before the first call is taken: who comes back to a wait is told of an end that the file may not have yet.
        self._mirror.restore()
        engine.signals.on_cancel(self._cancel)
        engine.signals.on_change(self._changed)

    def __repr__(self) -> str:
        return f"<TaskManager {self.worker.name} running={len(self._attempts)} trouble={self._trouble!r}>"

    @property
    def running(self) -> int:
        """How many tasks this supervisor runs."""
        return len(self._attempts)

    # --- for whoever hands work over --------------------------------------------------------------------------------

    async def submit(self, task_id: str, request: TaskRequest) -> tuple[TaskRecord, bool]:
        """See `Engine.submit`. The task's state file is there when it returns, unless it cannot be written."""
        self._mirror.open(task_id)
        try:
            record, existed = await self.engine.submit(task_id, request)
        except BaseException:
            # Where it was accepted all the same, or before, what is open is found out from the engine.
            await self._drop_unknown(task_id)
            raise
        await self._mirror.begin(record)
        return record, existed

    async def retry(self, task_id: str) -> TaskRecord:
        """See `Engine.retry`."""
        record = await self.engine.retry(task_id)
        self._mirror.open(task_id)
        await self._mirror.begin(record)
        return record

    async def mirrored(self, task_ids: Collection[str]) -> None:
        """Return when the state files of these tasks say what the tasks are; after a second where they cannot.

        Whoever is told of an end may look into its file next.
        """
        await self._mirror.up_to_date(*task_ids)

    async def _drop_unknown(self, task_id: str) -> None:
        with contextlib.suppress(CodexError):
            try:
                await self.engine.get(task_id)
            except NotFound:
                self._mirror.forget(task_id)
            else:
                # Another request has the id, or this one was accepted; where that has ended, it is closed again.
                await self._mirror.up_to_date(task_id)

    # --- the life of the manager ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin: take over what earlier runs left, then claim."""
        tasks = self._house.tasks
        self._loops = [
            tasks.start(self._claim_for_ever(), "claim tasks"),
            tasks.start(self._mirror.keep(), "mirror tasks"),
            tasks.start(self._sample_for_ever(), "count tasks"),
            tasks.start(self._tidy_for_ever(), "forget tasks"),
        ]

    async def stop(self, *, replaced: bool) -> None:
        """Claim nothing more, before the supervisor ends.

        Running tasks are left to the next supervisor here, which takes them over at the turn where they are. With a
        queue of many machines, and no next supervisor in sight, they are given back.
        """
        self._stopping = True
        if not self._trouble:
            # What is claimed in this moment is given back too.
            await self._wait_until(lambda: self._claims_known, _CLAIM_TIMEOUT_S)
        if self._loops:
            self._loops[0].cancel()
        # A child that is being ended is ended: whoever freezes its instance now would leave it half way.
        await self._wait_until(lambda: not any(attempt.over for attempt in self._attempts.values()), _REMOVED_TIMEOUT_S)
        # An engine that is away takes nothing back: the next supervisor here does, or another one when the leases end.
        if self.engine.name == "sqlite" or replaced or self._trouble:
            if self._attempts:
                _log.info("tasks_left_running", extra={"tasks": sorted(self._attempts)})
            return
        for attempt in list(self._attempts.values()):
            attempt.give_back(STOPPED)
        await self._wait_until(self._none_to_give_back, _GIVE_BACK_TIMEOUT_S)
        if self._attempts:
            _log.warning("tasks_not_given_back", extra={"tasks": sorted(self._attempts)})
            return
        with contextlib.suppress(CodexError, TimeoutError):
            async with asyncio.timeout(_LEAVE_TIMEOUT_S):
                await self.engine.leave(self.worker)

    def _none_to_give_back(self) -> bool:
        return all(attempt.waits_for_engine for attempt in self._attempts.values())

    async def _wait_until(self, reached: Callable[[], bool], timeout_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    news = self._slots.next()
                    if reached():
                        break
                    await news.wait()

    def _lease_s(self) -> float:
        return max(_LEASE_MIN_S, _LEASE_BEATS * self._house.config.tasks.heartbeat_interval)

    # --- running ----------------------------------------------------------------------------------------------------

    async def _claim_for_ever(self) -> None:
        while True:
            try:
                await self._enrol()
                if not (self._taken_over and self._claims_known):
                    await self._take_over()
                await self._claim_until_full_and_wait()
            except (NameTaken, StoreUnavailable, LimitExceeded) as error:
                self._tell_trouble(str(error))
                await asyncio.sleep(_RETRY_S)

    def _tell_trouble(self, why: str) -> None:
        if why != self._trouble:
            self._trouble = why
            self._on_trouble(why)

    async def _enrol(self) -> None:
        now = self._house.clock.monotonic()
        if self._enrolled_at is None or now >= self._enrolled_at + _NAME_RENEWED_S:
            self._enrolled_at = None
            await self.engine.enrol(self.worker, self._seat, for_s=_NAME_S)
            self._enrolled_at = now

    async def _take_over(self) -> None:
        claims = await self.engine.take_over(self.worker, lease_s=self._lease_s(), known=self._attempts)
        self._claims_known = True
        for claim in claims:
            _log.info("task_taken_over", extra={"task": claim.id, "instance": claim.record.status.instance})
            self._begin(claim)
        if not self._taken_over:
            self._taken_over = True
            self._house.tasks.start(self._sweep(), "sweep instances of tasks")

    async def _sweep(self) -> None:
        """Remove instances of attempts that are over, or are somebody else's by now."""
        wanted = {attempt.instance for attempt in self._attempts.values()}
        for shell in self._fleet.of_tasks():
            if shell.record.id not in wanted and not self._is_of_attempt(shell.record.id):
                _log.info("task_instance_swept", extra={"instance": shell.record.id})
                await remove_instance(self._fleet, shell)

    def _is_of_attempt(self, instance: str) -> bool:
        return any(attempt.instance == instance for attempt in self._attempts.values())

    async def _claim_until_full_and_wait(self) -> None:
        work, slots = self.engine.signals.work.next(), self._slots.next()
        tasks = self._house.config.tasks
        # Before the claim: what falls due in between would not be counted any more.
        due_s = await self.engine.next_due_s()
        if tasks.engine is not TaskEngine.SQLITE:
            # The embedded engine has one worker, and that takes its own over.
            await self.engine.reclaim()
        while self._has_room():
            self._claims_known = False
            claim = await self.engine.claim(
                self.worker, lease_s=self._lease_s(), queues=tasks.queues, labels=tasks.labels
            )
            if claim is not None:
                reach("task-claimed")
                self._count_start(claim)
                self._begin(claim)
            self._claims_known = True
            if self._stopping:
                self._slots.tell()
            if claim is None:
                break
        self._tell_trouble("")
        timeout_s = _DRAINING_S if self._asks.draining else _SAFETY_S
        if tasks.engine is not TaskEngine.SQLITE:
            timeout_s = min(timeout_s, _NAME_RENEWED_S)
        if due_s is not None and self._has_room():
            timeout_s = min(timeout_s, due_s)
        await _first_of(work, slots, timeout_s=max(_BREATH_S, timeout_s))

    def _has_room(self) -> bool:
        tasks = self._house.config.tasks
        return (
            tasks.enabled and not self._stopping and not self._asks.draining and len(self._attempts) < tasks.concurrency
        )

    def _begin(self, claim: Claim) -> None:
        bench = Bench(
            engine=self.engine,
            worker=self.worker,
            policy=policy_of(self._house.config.tasks),
            fleet=self._fleet,
            asks=self._asks,
            mirror=self._mirror,
            worktrees=self._worktrees,
            lease_s=self._lease_s(),
            on_wait=self._slots.tell,
        )
        attempt = self._attempts[claim.id] = Attempt(claim, bench)
        self._mirror.open(claim.id)
        self._house.tasks.start(self._run(attempt), f"task {claim.id}")

    async def _run(self, attempt: Attempt) -> None:
        try:
            await attempt.run()
        finally:
            if self._attempts.get(attempt.claim.id) is attempt:
                del self._attempts[attempt.claim.id]
            self._slots.tell()

    def _count_start(self, claim: Claim) -> None:
        status = claim.record.status
        if status.attempt == 1 and status.started_ns is not None:
            self._house.metrics.task_start_seconds.observe(max(0, status.started_ns - status.submitted_ns) / NS)

    def _cancel(self, task_id: str) -> None:
        attempt = self._attempts.get(task_id)
        if attempt is not None:
            self._house.tasks.start(self._cancel_attempt(attempt), f"cancel task {task_id}")

    async def _cancel_attempt(self, attempt: Attempt) -> None:
        why = "cancelled"
        with contextlib.suppress(CodexError):
            why = (await self.engine.get(attempt.claim.id)).status.cancel_reason or why
        attempt.cancel(why)

    # --- housekeeping -----------------------------------------------------------------------------------------------

    async def _sample_for_ever(self) -> None:
        while True:
            with contextlib.suppress(CodexError):
                counts = dict.fromkeys(TaskState, 0)
                for (state, _queue), count in (await self.engine.counts()).items():
                    counts[state] += count
                for state, count in counts.items():
                    self._house.metrics.tasks.labels(state=state.value).set(count)
            await asyncio.sleep(_SAMPLE_S)

    async def _tidy_for_ever(self) -> None:
        wait_s = _FIRST_HOUSEKEEPING_S
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._tidy.wait()
            by_news = self._tidy.is_set()
            self._tidy.clear()
            wait_s = _HOUSEKEEPING_S
            try:
                if not by_news:
                    await self._forget_old()
                await self._remove_worktrees()
            except CodexError as error:
                _log.warning("tasks_not_tidied", extra={"why": str(error)})

    async def _forget_old(self) -> None:
        tasks = self._house.config.tasks
        pruned = 0
        if tasks.retention:
            pruned += await self._prune(ended_before_s=tasks.retention, keep=0)
        pruned += await self._prune(ended_before_s=0.0, keep=tasks.kept)
        if pruned:
            _log.info("tasks_forgotten", extra={"tasks": pruned})

    async def _prune(self, *, ended_before_s: float, keep: int) -> int:
        pruned = 0
        while True:
            done = await self.engine.prune(ended_before_s=ended_before_s, keep=keep, limit=_PRUNED_AT_ONCE)
            pruned += done
            if done < _PRUNED_AT_ONCE:
                return pruned

    def _changed(self, task_ids: Collection[str] | None) -> None:
        if task_ids is not None and not self._kept_trees.isdisjoint(task_ids):
            self._tidy.set()

    async def _remove_worktrees(self) -> None:
        """Remove the worktrees of tasks that are forgotten, where they hold nothing new."""
        for task_id in await asyncio.to_thread(_names, self._worktrees):
            if task_id in self._attempts:
                continue
            try:
                await self.engine.get(task_id)
            except NotFound:
                if await remove_worktree(self._worktrees / task_id, self._house.environment):
                    _log.info("worktree_removed", extra={"task": task_id})
        self._kept_trees = frozenset(await asyncio.to_thread(_names, self._worktrees))


def _names(folder: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in folder.iterdir())
    except FileNotFoundError:
        return []


async def _first_of(*events: asyncio.Event, timeout_s: float) -> None:
    """Return when one of the events is set, or the time is over."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(timeout_s), asyncio.TaskGroup() as group:
            waits = [group.create_task(event.wait()) for event in events]
            await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for wait in waits:
                wait.cancel()
