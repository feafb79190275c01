"""What a running attempt tells its engine: lease, heartbeats, progress, items, each no more often than anybody reads.

One coroutine writes, so that everything arrives in its order. While the engine is away the attempt runs on; what is to
be told waits, within bounds.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import deque
from collections.abc import Callable

import msgspec
from codex_control.errors import CodexError
from codex_control.v1 import turns_pb2

from codex_supervisor.child.commands import command_lives
from codex_supervisor.house import House
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.instance.states import Busy, Starting
from codex_supervisor.store.records import TurnRecord
from codex_supervisor.task.attempt_end import Reason, stall_sentence
from codex_supervisor.task.contract import Engine, LeaseLost
from codex_supervisor.task.heartbeat import Heart, Pulse, look, next_look_s
from codex_supervisor.task.mirror import Mirror
from codex_supervisor.task.progress import Coalescer, Work
from codex_supervisor.task.records import Claim, EventKind, NewEvent, Note, TaskOutcome, TaskRecord
from codex_supervisor.task.rules import NS
from codex_supervisor.turn.run import TurnRun

_log = logging.getLogger(__name__)

# What comes this soon after a write waits for company; what comes after a pause is written at once.
_GATHER_S = 0.1

# Between two tries to write while the engine is away or full.
_RETRY_S = 1.0

# Items that wait for an engine that is away; the oldest go first.
_MAX_WAITING = 1000


class Reporter:
    """See the module. The attempt feeds it and sets what it knows."""

    def __init__(
        self,
        claim: Claim,
        engine: Engine,
        house: House,
        mirror: Mirror,
        *,
        lease_s: float,
        on_cancel: Callable[[str], None],
        on_stall: Callable[[Reason, str], None],
    ) -> None:
        self.claim = claim
        self.work = Work(claim.record.request.cwd)
        self.before = claim.record.status.result
        """What the attempts before this one left."""
        self.run: TurnRun | None = None
        self.turn: TurnRecord | None = None
        """The attempt's turn as it was when the attempt, or this supervisor, came to it."""
        self.ending = False
        """The attempt is ending: the lease is kept, but nothing is judged any more."""
        self._engine = engine
        self._house = house
        self._mirror = mirror
        self._lease_s = lease_s
        self._on_cancel = on_cancel
        self._on_stall = on_stall
        self._shell: InstanceShell | None = None
        self._items: deque[NewEvent] = deque(maxlen=_MAX_WAITING)
        self._progress = Coalescer()
        self._deaths = self._told_deaths = claim.record.status.deaths
        self._deaths_before = self._deaths
        self._told_thread = claim.record.status.thread_id
        self._told_files: tuple[str, ...] = ()
        self._told_error = mirror.error_of(claim.id)
        self._renewed = True
        self._flush_at: float | None = None
        self._flushed_at = -math.inf
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()

    def begin(self, shell: InstanceShell, work: Work, deaths_before: int) -> None:
        """Take in what the attempt runs on, before its first event."""
        self._shell = shell
        self.work = work
        self._deaths_before = deaths_before

    def feed(self, event: turns_pb2.TurnEvent, item: bytes | None) -> None:
        """Take in one event of the turn; `item` is what is recorded of it."""
        self.work.feed(event)
        self._progress.offer(self.work.progress)
        if event.WhichOneof("event") == "recovery":
            self._deaths = max(self._deaths, self._deaths_before + event.recovery.recovery - self._stops())
        if item is not None:
            self.add(NewEvent(EventKind.ITEM, item=item, turn_seq=event.seq))
        elif self._note_due():
            self._wake()

    def _stops(self) -> int:
        turn = self.turn if self.run is None else self.run.record
        return 0 if turn is None else turn.request.stops

    def add(self, event: NewEvent) -> None:
        """Have an event recorded soon."""
        self._items.append(event)
        self._wake()

    def _wake(self) -> None:
        if self._flush_at is None:
            self._flush_at = max(self._house.clock.monotonic(), self._flushed_at + _GATHER_S)
            self._news.set()

    # --- at its times -----------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Keep the lease, look whether the task moves, and tell, until cancelled. Raises `LeaseLost`."""
        clock = self._house.clock
        heart = Heart(clock.monotonic(), clock.monotonic())
        look_at = clock.monotonic() + self._next_look_s(heart)
        while True:
            await self._sleep_until(look_at)
            if self._flush_at is not None and clock.monotonic() >= self._flush_at:
                await self._flush(last=False)
            if clock.monotonic() >= look_at:
                heart = await self._look(heart)
                # A lease that was not renewed is renewed soon: the time until it runs out goes on.
                look_at = clock.monotonic() + (self._next_look_s(heart) if self._renewed else _RETRY_S)

    def _next_look_s(self, heart: Heart) -> float:
        tasks = self._house.config.tasks
        stall_after_s = 0.0 if self.ending else tasks.stall_after
        # However long the heartbeat may be, the lease is kept.
        interval_s = min(tasks.heartbeat_interval, self._lease_s / 3)
        return next_look_s(interval_s, heart, self._house.clock.monotonic(), stall_after_s)

    async def _sleep_until(self, look_at: float) -> None:
        wake_at = look_at if self._flush_at is None else min(look_at, self._flush_at)
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, wake_at - self._house.clock.monotonic())):
                await self._news.wait()

    async def _look(self, heart: Heart) -> Heart:
        metrics = self._house.metrics
        pulse = await self._pulse()
        now = self._house.clock.monotonic()
        heart, finding = look(heart, pulse, now, self._house.config.tasks.stall_after)
        beats = finding.beats and not self.ending
        if beats:
            metrics.task_heartbeats.inc()
        elif not self.ending:
            metrics.task_heartbeat_misses.labels(life=finding.life.value).inc()
        if finding.stalled and not self.ending:
            shell = self._shell
            reason, sentence = stall_sentence(finding.life, finding.quiet_s, shell.last_death if shell else "")
            metrics.task_stalls.labels(life=finding.life.value).inc()
            _log.warning("task_stalled", extra={"task": self.claim.id, "life": finding.life.value, "why": sentence})
            self.ending = True
            self._on_stall(reason, sentence)
        try:
            renewal = await self._engine.renew(self.claim, lease_s=self._lease_s, heartbeat=beats)
        except LeaseLost:
            raise
        except CodexError as error:
            # The task runs on. Where its lease ends meanwhile, the next write says so.
            self._renewed = False
            _log.warning("task_lease_not_renewed", extra={"task": self.claim.id, "why": str(error)})
        else:
            self._renewed = True
            if renewal.cancel_reason is not None:
                self._on_cancel(renewal.cancel_reason)
        if self._mirror.error_of(self.claim.id) != self._told_error:
            self._wake()
        return heart

    async def _pulse(self) -> Pulse:
        run, shell = self.run, self._shell
        if run is None or shell is None or self.ending:
            # Its directory is being made, its turn accepted, its end written: each has a time limit of its own.
            return Pulse(answers=True, last_event_at=0.0, command_lives=True)
        child, state = shell.child, shell.state
        answers = (
            child is not None and not child.process.exited.done() and not (isinstance(state, Busy) and state.misses)
        )
        lives = False
        if answers and child is not None and self.work.running:
            lives = await command_lives(child.process, self.work.thread_id or shell.record.thread_id)
        return Pulse(answers, run.last_event_at, lives, starting=isinstance(state, Starting))

    # --- writing ----------------------------------------------------------------------------------------------------

    def _note_due(self) -> bool:
        return (
            self._progress.due_at() is not None
            or self._told_deaths != self._deaths
            or bool(self.work.thread_id and self.work.thread_id != self._told_thread)
        )

    async def flush_all(self) -> None:
        """Write all that is left; the last progress is never lost. What the engine does not take goes with the end."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RETRY_S):
                while self._items or self._note_due():
                    if not await self._flush(last=True):
                        return

    async def _flush(self, *, last: bool) -> bool:
        """Write what is due; return whether the engine took it."""
        async with self._writing:
            now = self._flushed_at = self._house.clock.monotonic()
            self._flush_at = None
            progress = self._progress.take(now, last=last)
            thread_id = self.work.thread_id
            files, error, deaths = self.work.files_changed, self._mirror.error_of(self.claim.id), self._deaths
            items, self._items = list(self._items), deque(maxlen=_MAX_WAITING)
            note = Note(
                progress=progress,
                thread_id=thread_id if thread_id and thread_id != self._told_thread else None,
                deaths=deaths if deaths != self._told_deaths else 0,
                state_file_error=error if error != self._told_error else None,
                result=msgspec.structs.replace(self.before, files_changed=files) if files != self._told_files else None,
            )
            if note != Note() or items:
                try:
                    await self._engine.note(self.claim, note, items)
                except LeaseLost:
                    raise
                except CodexError as failure:
                    _log.warning("task_note_waits", extra={"task": self.claim.id, "why": str(failure)})
                    if progress is not None:
                        self._progress.put_back()
                    self._items = deque((*items, *self._items), maxlen=_MAX_WAITING)
                    self._flush_at = now + _RETRY_S
                    return False
                self._told_thread = thread_id or self._told_thread
                self._told_files, self._told_error, self._told_deaths = files, error, deaths
            due = self._progress.due_at()
            if self._items:
                self._flush_at = now + _GATHER_S
            elif due is not None:
                self._flush_at = max(due, now + _GATHER_S)
            return True

    def count_end(self, outcome: TaskOutcome, record: TaskRecord) -> None:
        """Count the attempt's end; `record` says what the engine made of it."""
        metrics, status = self._house.metrics, record.status
        extra = {"task": record.id, "outcome": outcome.value, "state": status.state.value, "attempt": status.attempt}
        if record.ended:
            metrics.task_ends.labels(outcome=(status.outcome or outcome).value).inc()
            if status.started_ns is not None and status.ended_ns is not None:
                metrics.task_run_seconds.observe(max(0, status.ended_ns - status.started_ns) / NS)
            _log.info("task_ended", extra=extra)
        else:
            metrics.task_retries.labels(outcome=outcome.value).inc()
            _log.info("task_tried_again", extra={**extra, "why": status.error})
