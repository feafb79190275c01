"""Ends the children that no supervisor will adopt any more: after an orderly stop, and when the service has failed."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from pathlib import Path

from codex_control.errors import CodexError
from codex_control.paths import Paths
from codex_control.service.clock import Clock

from codex_supervisor.child.cgroups import remove_group
from codex_supervisor.child.identity import verify
from codex_supervisor.child.spawn import remove_socket
from codex_supervisor.child.tree import sweep
from codex_supervisor.store.records import ChildRecord
from codex_supervisor.store.store import Store

_log = logging.getLogger(__name__)

# Each sweep reads the process table some times; more at once would only be slower.
AT_ONCE = 4


@dataclass(frozen=True)
class SweepReport:
    """What a sweep came to, in numbers of recorded children."""

    gone: int
    """Proven gone, or ended now."""
    left: tuple[str, ...]
    """Instances whose children could not be ended completely; their records stay."""


async def end_recorded_children(paths: Paths, clock: Clock) -> SweepReport:
    """End every child that the store knows, with everything that it started, and forget those that are gone.

    Nobody else may use the store: hold the `SupervisorLock`. Raises what `Store.open` raises.
    """
    if not paths.database.exists():
        return SweepReport(0, ())
    store = await Store.open(paths.database, archive_dir=paths.archive_dir, clock=clock)
    try:
        children = await store.load_children()
        threads = {instance.id: instance.thread_id for instance in await store.load_instances()}
        turn = asyncio.Semaphore(AT_ONCE)

        async def end(child: ChildRecord) -> bool:
            async with turn:
                return await _end(store, child, threads.get(child.instance, ""), clock)

        ended = await asyncio.gather(*(end(child) for child in children))
    finally:
        await store.close()
    left = tuple(child.instance for child, is_gone in zip(children, ended, strict=True) if not is_gone)
    return SweepReport(len(children) - len(left), left)


async def _end(store: Store, child: ChildRecord, thread_id: str, clock: Clock) -> bool:
    # The session of a child is known to be its own only while the child lives.
    record = child if verify(child) == "same" else None
    cgroup = Path(child.cgroup) if child.cgroup else None
    try:
        report = await sweep(child.token, [thread_id], clock=clock, record=record, cgroup=cgroup)
    except CodexError as error:
        _log.error("sweep_failed", extra={"instance": child.instance, "error": str(error)})
        return False
    if not report.empty:
        _log.error("sweep_left_processes", extra={"instance": child.instance, "pids": report.survivors})
        return False
    if child.socket:
        remove_socket(Path(child.socket))
    if cgroup is not None:
        remove_group(cgroup)
    await store.delete_child(child.token)
    return True
