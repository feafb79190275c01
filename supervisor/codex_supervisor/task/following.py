"""Events and ends of tasks as they come, from any engine."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence

import msgspec

from codex_supervisor.task.contract import Engine
from codex_supervisor.task.records import TaskEvent, TaskRecord


class Followed(msgspec.Struct, frozen=True):
    """One step of a followed task: an event, or a gap."""

    task_id: str
    event: TaskEvent | None
    """None for a gap."""
    dropped_to: int = 0
    """In a gap: events up to this sequence number are gone."""


async def follow(engine: Engine, after: Mapping[str, int]) -> AsyncIterator[Followed]:
    """Yield the events of tasks, recorded and live, each task's from past its sequence number in `after`.

    Ends when all of them have ended and all was told. A position is all that is held for a task, so a client that does
    not read costs no memory. Raises `NotFound` where a task is unknown, or is pruned meanwhile.
    """
    positions = dict(after)
    with engine.signals.subscribed(positions) as subscription:
        left = set(positions)
        look_at = sorted(left)
        while True:
            for task_id in look_at:
                ended = False
                more = True
                while more:
                    page = await engine.events(task_id, positions[task_id])
                    if page.dropped_seq > positions[task_id]:
                        positions[task_id] = page.dropped_seq
                        yield Followed(task_id, None, page.dropped_seq)
                    for event in page.events:
                        positions[task_id] = event.seq
                        yield Followed(task_id, event)
                    more = positions[task_id] < page.last_seq and bool(page.events)
                    ended = page.ended
                if ended:
                    left.discard(task_id)
            if not left:
                return
            look_at = sorted(left & await subscription.changed())


async def wait(
    engine: Engine, task_ids: Sequence[str], *, any_of_them: bool = False, timeout_s: float | None = None
) -> tuple[list[TaskRecord], bool]:
    """Wait until all tasks, or `any_of_them`, have ended; return them all, and whether the time was over first.

    Raises `NotFound` where one is unknown.
    """
    enough = any if any_of_them else all
    with engine.signals.subscribed(task_ids) as subscription:
        records = {record.id: record for record in await engine.get_many(task_ids)}
        try:
            async with asyncio.timeout(timeout_s):
                while not enough(record.ended for record in records.values()):
                    changed = await subscription.changed()
                    open_ids = [name for name in changed if not records[name].ended]
                    records |= {record.id: record for record in await engine.get_many(open_ids)}
        except TimeoutError:
            return await engine.get_many(task_ids), True
    return [records[task_id] for task_id in task_ids], False
