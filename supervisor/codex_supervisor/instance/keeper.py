"""Keeps the child of one instance: brings it up, watches over it, sweeps after it, takes it down.

What it was told to do comes back as an event: `ChildReady`, `StartRefused`, `StartDeferred`, `ChildDied`, `TreeGone`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from codex_control.errors import ChildFailed, CodexError, CodexUnusable

from codex_supervisor.child.awake import AwakeChild
from codex_supervisor.child.gateway import GatewayAway
from codex_supervisor.child.notifications import Notification
from codex_supervisor.child.server_requests import ServerRequest
from codex_supervisor.child.spawn import ChildProcess
from codex_supervisor.house import House
from codex_supervisor.instance.children import bring_up, take_down
from codex_supervisor.instance.events import ChildDied, ChildReady, Event, StartDeferred, StartRefused, TreeGone
from codex_supervisor.store.records import ChildRecord, InstanceRecord

# Lines of the child's error output that go with a failure.
STDERR_TAIL_LINES = 20


class OwnerOfChild(Protocol):
    """What is needed of the instance."""

    house: House
    record: InstanceRecord

    def dispatch(self, event: Event) -> None:
        """Hear what became of the child."""

    def on_notification(self, notification: Notification) -> None:
        """Take in what the child tells."""

    def on_request(self, request: ServerRequest) -> None:
        """Take in what the child asks."""


class ChildKeeper:
    """The child of one instance, while there is one, and the last words of the one before."""

    def __init__(self, owner: OwnerOfChild) -> None:
        self._owner = owner
        self._house = owner.house
        self.child: AwakeChild | None = None
        self.last_death = ""
        """Why the last child ended, as a piece of a sentence."""
        self.died_at = 0.0
        """When, on the monotonic clock."""
        self.stderr_tail: list[str] = []
        self.refusal: CodexUnusable | None = None
        """Why the last start could not work."""
        self._starting: asyncio.Task[None] | None = None
        self._spawned: tuple[ChildProcess | None, ChildRecord] | None = None
        """The child that is on its way; without its process where it is still to be adopted."""
        self._sweeping: asyncio.Task[None] | None = None

    @property
    def _name(self) -> str:
        return self._owner.record.id

    def owns(self, pid: int) -> bool:
        """Whether `pid` is this instance's child, up or on its way."""
        return (self.child is not None and self.child.process.pid == pid) or (
            self._spawned is not None and self._spawned[1].pid == pid
        )

    def thread_ids(self) -> tuple[str, ...]:
        """The Codex threads whose processes are ours."""
        thread_id = self._owner.record.thread_id
        return (thread_id,) if thread_id else ()

    # --- up ---------------------------------------------------------------------------------------------------------

    def bring_up(self, generation: int) -> None:
        """Start child `generation`; `ChildReady` follows, or `StartRefused`, `StartDeferred`, `ChildDied`."""
        self._starting = self._house.tasks.start(self._bring_up(generation), f"bring up {self._name}")

    async def _bring_up(self, generation: int) -> None:
        started = self._house.clock.monotonic()
        try:
            child = await bring_up(
                self._house,
                instance=self._name,
                generation=generation,
                on_spawned=self._note_spawned,
                on_notification=self._owner.on_notification,
                on_request=self._owner.on_request,
            )
        except CodexUnusable as error:
            self.refusal = error
            self._start_failed()
            self._owner.dispatch(StartRefused(generation, str(error)))
            return
        except GatewayAway as error:
            self._start_failed()
            self._owner.dispatch(StartDeferred(generation, str(error), self._house.random.random()))
            return
        except CodexError as error:
            # The child's own failure, or a full disk that keeps its record from being written: tried again later.
            self._start_failed()
            self._died(generation, str(error))
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
        self._spawned = self.refusal = None
        self._house.metrics.child_starts.labels(result="ready").inc()
        self._house.metrics.start_seconds.observe(self._house.clock.monotonic() - started)
        self.take(child)
        self._owner.dispatch(ChildReady(generation))

    def _note_spawned(self, process: ChildProcess, record: ChildRecord) -> None:
        self._spawned = (process, record)

    def _start_failed(self) -> None:
        """Keep the words of a child that never became ready, and sweep what is left of it."""
        self._house.metrics.child_starts.labels(result="failed").inc()
        if self._spawned is not None:
            process, record = self._spawned
            self._spawned = None
            self.stderr_tail = process.stderr_tail(STDERR_TAIL_LINES) if process is not None else []
            self._sweep(record, process)

    def _died(self, generation: int, reason: str) -> None:
        self._owner.dispatch(ChildDied(generation, reason, self._house.random.random()))

    def take(self, child: AwakeChild) -> None:
        """Make `child`, started or adopted, the instance's own and watch over it."""
        self.child = child
        if self._owner.record.task is not None:
            child.limit_memory(self._house.config.tasks.memory_limit)
        self._house.tasks.start(self._watch(child), f"watch {self._name}")

    async def _watch(self, child: AwakeChild) -> None:
        reason = await child.gone()
        self.last_death, self.died_at = reason, self._house.clock.monotonic()
        if self.child is not child:
            return  # it is being taken down, and that reports by itself
        self.child = None
        self.stderr_tail = child.process.stderr_tail(STDERR_TAIL_LINES)
        self._sweep(child.record, child.process)
        await child.close()
        self._died(child.generation, reason)

    def await_adoption(
        self, record: ChildRecord, adopting: asyncio.Task[AwakeChild], is_wanted: Callable[[AwakeChild], bool]
    ) -> None:
        """Take the child of `record` once it answers the `adopting` that is under way, where it `is_wanted` then.

        `ChildReady` follows, or `ChildDied` where the child did not answer: it is ended.
        """
        self._spawned = (None, record)
        waiting = self._await_adoption(record, adopting, is_wanted)
        self._starting = self._house.tasks.start(waiting, f"adopt {self._name}")

    async def _await_adoption(
        self, record: ChildRecord, adopting: asyncio.Task[AwakeChild], is_wanted: Callable[[AwakeChild], bool]
    ) -> None:
        try:
            child = await adopting
        except ChildFailed as error:
            reason = f"it did not answer the new supervisor ({error.why or error.what})"
        else:
            if is_wanted(child):
                self._spawned = None
                self.take(child)
                self._owner.dispatch(ChildReady(record.generation))
                return
            await child.close()
            reason = "the turn that it ran was given up"
        self.last_death, self.died_at = reason, self._house.clock.monotonic()
        self._house.metrics.adoptions.labels(result="ended").inc()
        self._start_failed()
        self._died(record.generation, reason)

    # --- down -------------------------------------------------------------------------------------------------------

    def kill(self, generation: int, reason: str) -> None:
        """Kill child `generation`, up or on its way; `ChildDied` follows."""
        if self.child is not None:
            self.child.kill(reason)
        else:
            self._house.tasks.start(self._abandon_start(generation, reason), f"abandon {self._name}")

    async def _abandon_start(self, generation: int, reason: str) -> None:
        await self._cancel_start()
        if self.child is not None:
            # It became ready in this very moment: its death is watched already.
            self.child.kill(reason)
            return
        self._start_failed()
        self._died(generation, reason)

    def take_down(self, generation: int, *, cut: bool) -> None:
        """End child `generation` with all that it started; `TreeGone` follows. See `children.take_down` for `cut`."""
        self._house.tasks.start(self._take_down(generation, cut), f"take down {self._name}")

    async def _take_down(self, generation: int, cut: bool) -> None:
        await self.end(cut=cut)
        self._owner.dispatch(TreeGone(generation))

    async def end(self, *, cut: bool) -> None:
        """End the child with all that it started, and return when nothing is left, of earlier ones neither."""
        await self._cancel_start()
        child, self.child = self.child, None
        process, record = (child.process, child.record) if child is not None else self._spawned or (None, None)
        self._spawned = None
        if record is not None:
            await take_down(self._house, record, process, self.thread_ids(), cut=cut)
        if child is not None:
            await child.close()
        await self.swept()

    async def leave(self) -> None:
        """Let the child run on, for the next supervisor to adopt."""
        await self._cancel_start()
        child, self.child = self.child, None
        if child is not None:
            await child.close()
            child.process.close()

    async def swept(self) -> None:
        """Wait until nothing is left of earlier children."""
        if self._sweeping is not None:
            await asyncio.shield(self._sweeping)

    async def _cancel_start(self) -> None:
        starting, self._starting = self._starting, None
        if starting is not None:
            starting.cancel()
            await asyncio.wait([starting])

    def _sweep(self, record: ChildRecord, process: ChildProcess | None) -> None:
        sweeping = self._swept_after(self._sweeping, record, process)
        self._sweeping = self._house.tasks.start(sweeping, f"sweep {self._name}")

    async def _swept_after(
        self, earlier: asyncio.Task[None] | None, record: ChildRecord, process: ChildProcess | None
    ) -> None:
        await take_down(self._house, record, process, self.thread_ids(), cut=True)
        if earlier is not None:
            await asyncio.shield(earlier)
