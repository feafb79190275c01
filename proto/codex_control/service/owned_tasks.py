"""Owned asyncio tasks: every task has an owner that ends it and hears of its error."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

_log = logging.getLogger(__name__)


class TaskSet:
    """The tasks of one owner.

    An error that a task lets out is a fault of ours: it is logged and handed to `on_failure`, so that nothing goes on
    half dead.
    """

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._tasks: set[asyncio.Task[Any]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        """Run `work` as a task called `name`."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def to_the_end(self, work: Coroutine[Any, Any, T], name: str) -> T:
        """Run `work` to its end, also where the caller is cancelled; return its result, or raise its error."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._seen)
        return await asyncio.shield(task)

    def _seen(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            # Taken by the caller or by nobody: asyncio must not report it a second time.
            task.exception()

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            _log.critical("task_failed", exc_info=error, extra={"task": task.get_name(), "error": repr(error)})
            self._on_failure(error)

    async def cancel(self) -> None:
        """Cancel every task but the calling one, and wait until they are done."""
        current = asyncio.current_task()
        tasks = [task for task in self._tasks if task is not current]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class News:
    """Wakes everybody who waits for a change; whoever comes later waits for the next one."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """Wake all who wait."""
        event, self._event = self._event, asyncio.Event()
        event.set()

    def next(self) -> asyncio.Event:
        """Return what to wait on. Take it before looking at the state, or a change in between is missed."""
        return self._event
