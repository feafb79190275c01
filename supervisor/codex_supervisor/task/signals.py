"""How an engine tells of changes: nobody who waits has to poll.

A signal says only that it is worth a look: the state is in the engine. So signals may come twice or without need; what
may not happen is that a change comes without one. After its connection was lost, an engine tells everybody
(`tell_all`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from codex_control.service.owned_tasks import News


@dataclass(eq=False)
class Told:
    """What a transaction changed; told once it is committed."""

    changed: set[str] = field(default_factory=set)
    cancels: set[str] = field(default_factory=set)
    work: bool = False


class Subscription:
    """Changes of some tasks. What comes between two looks is kept, once for each task."""

    def __init__(self, task_ids: Collection[str]) -> None:
        self.task_ids = frozenset(task_ids)
        self._changed: set[str] = set()
        self._event = asyncio.Event()

    def tell(self, task_id: str) -> None:
        """Keep that the task has changed."""
        self._changed.add(task_id)
        self._event.set()

    async def changed(self) -> frozenset[str]:
        """Wait until at least one task has changed, and return those that have since the last call."""
        await self._event.wait()
        self._event.clear()
        changed, self._changed = frozenset(self._changed), set()
        return changed


class Signals:
    """See the module. All methods are called on the event loop."""

    def __init__(self) -> None:
        self.work = News()
        """Told when a task may have become claimable, and when the next timer may be earlier than it was."""
        self._cancels: list[Callable[[str], None]] = []
        self._changes: list[Callable[[Collection[str] | None], None]] = []
        self._subscriptions: dict[str, set[Subscription]] = {}

    def __repr__(self) -> str:
        return f"<Signals watched={len(self._subscriptions)} cancels={len(self._cancels)}>"

    def on_cancel(self, tell: Callable[[str], None]) -> None:
        """Have `tell` called with the id of a running task that is asked to stop, whoever runs it."""
        self._cancels.append(tell)

    def on_change(self, tell: Callable[[Collection[str] | None], None]) -> None:
        """Have `tell` called with the ids of all tasks that have changed; with None where any may have."""
        self._changes.append(tell)

    @contextmanager
    def subscribed(self, task_ids: Collection[str]) -> Iterator[Subscription]:
        """Hear of changes of these tasks. Subscribe before looking at them, or a change in between is missed."""
        subscription = Subscription(task_ids)
        for task_id in subscription.task_ids:
            self._subscriptions.setdefault(task_id, set()).add(subscription)
        try:
            yield subscription
        finally:
            for task_id in subscription.task_ids:
                of_task = self._subscriptions[task_id]
                of_task.discard(subscription)
                if not of_task:
                    del self._subscriptions[task_id]

    def tell_changed(self, task_ids: Iterable[str]) -> None:
        """These tasks have new events or a new state."""
        changed = tuple(task_ids)
        for tell in self._changes:
            tell(changed)
        self._tell_subscribers(changed)

    def _tell_subscribers(self, task_ids: Iterable[str]) -> None:
        for task_id in task_ids:
            for subscription in self._subscriptions.get(task_id, ()):
                subscription.tell(task_id)

    def tell_cancel(self, task_id: str) -> None:
        """This running task is asked to stop."""
        for tell in self._cancels:
            tell(task_id)

    def tell_all(self) -> None:
        """News may have been lost: everybody looks."""
        self.work.tell()
        for tell in self._changes:
            tell(None)
        self._tell_subscribers(tuple(self._subscriptions))
