"""Looks after all children at regular times: do they answer, how much memory do they hold, may idle ones go?"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Hashable
from pathlib import Path

from codex_control.errors import CodexError

from codex_supervisor.child.awake import AwakeChild
from codex_supervisor.instance.events import HibernateWanted, ProbeAnswered, ProbeMissed, RecycleWanted
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.instance.states import Busy, Ready
from codex_supervisor.metrics import ChildSample

_log = logging.getLogger(__name__)

# Longest time between two samples of the children's memory.
SAMPLE_INTERVAL_S = 5.0

Awake = list[tuple[InstanceShell, AwakeChild]]


class Monitor:
    """Two endless tasks over all instances, however many there are."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._house = fleet.house

    def start(self) -> None:
        """Begin."""
        self._house.tasks.start(self._probe_all(), "probe children")
        self._house.tasks.start(self._sample_all(), "sample children")

    def _awake(self) -> Awake:
        return [(shell, shell.child) for shell in self._fleet.shells.values() if shell.child is not None]

    async def _probe_all(self) -> None:
        while True:
            # Read anew each time: a reload may have changed it, 0 switches probing off.
            interval_s = self._house.config.instances.probe_interval
            await asyncio.sleep(interval_s or SAMPLE_INTERVAL_S)
            if interval_s:
                await asyncio.gather(*(self._probe(shell, child) for shell, child in self._awake()))

    async def _probe(self, shell: InstanceShell, child: AwakeChild) -> None:
        try:
            await child.server.ping(self._house.config.instances.probe_timeout)
        except CodexError as error:
            if shell.child is child:
                self._house.metrics.probe_misses.inc()
                _log.warning("probe_missed", extra={"instance": shell.record.id, "error": str(error)})
                shell.dispatch(ProbeMissed(child.generation))
        else:
            shell.dispatch(ProbeAnswered(child.generation))

    async def _sample_all(self) -> None:
        while True:
            self.sample()
            # Whoever wants to hear of dead children sooner wants to hear of large ones sooner too.
            await asyncio.sleep(
                min(SAMPLE_INTERVAL_S, self._house.config.instances.probe_interval or SAMPLE_INTERVAL_S)
            )

    def sample(self) -> None:
        """Read memory and CPU of every child, and act where a limit is passed."""
        limits = self._house.config.instances
        samples: dict[Hashable, ChildSample] = {}
        for shell, child in self._awake():
            found = child.measure()
            if found is None:
                continue
            samples[child.process.pid, child.process.start_time] = ChildSample(found.rss_bytes, found.cpu_s)
            child.process.rotate_log(self._house.config.log.file_limit, self._house.config.log.files_kept)
            if shell.record.task is not None:
                self._check_task(shell, child)
            elif 0 < limits.memory_limit < child.memory_bytes:
                self._exceeded(shell, child)
        self._house.metrics.children_sampled(samples)
        self._house.metrics.running_turns.set(self._fleet.running_turns())
        self._house.metrics.queued_turns.set(sum(len(shell.core.queue) for shell in self._fleet.shells.values()))
        self.make_room()

    def _check_task(self, shell: InstanceShell, child: AwakeChild) -> None:
        limit = self._house.config.tasks.memory_limit
        # A reload may have changed it. What follows is for where the kernel does not hold it.
        child.limit_memory(limit)
        if 0 < limit < child.memory_bytes:
            extra = {"instance": shell.record.id, "memory_bytes": child.memory_bytes, "limit_bytes": limit}
            _log.warning("memory_exceeded", extra=extra)
            # At once: its only turn may last for hours, and what it does next would be the same.
            child.kill(f"it used {child.memory_bytes >> 20} MiB, more than tasks.memory_limit allows")

    def _exceeded(self, shell: InstanceShell, child: AwakeChild) -> None:
        match shell.state:
            case Ready() | Busy(then=None):
                pass
            case _:
                return  # it is on its way already
        limit = self._house.config.instances.memory_limit
        extra = {"instance": shell.record.id, "memory_bytes": child.memory_bytes, "limit_bytes": limit}
        _log.warning("memory_exceeded", extra=extra)
        self._house.metrics.hibernations.labels(reason="memory").inc()
        shell.dispatch(RecycleWanted(child.generation))

    def make_room(self) -> None:
        """Hibernate idle children, the longest idle first, while there are too many or memory is short."""
        limits = self._house.config.instances
        # Those of tasks have a number of their own (tasks.concurrency), and are never idle for long.
        awake = [(shell, child) for shell, child in self._awake() if shell.record.task is None]
        pressed = memory_pressure() > limits.memory_pressure
        count, memory_bytes = len(awake), sum(child.memory_bytes for _, child in awake)
        idle = [(state.idle_since, shell, child) for shell, child in awake if isinstance(state := shell.state, Ready)]
        for _, shell, child in sorted(idle, key=lambda entry: entry[0]):
            if count > limits.max_awake:
                reason = "max_awake"
            elif pressed or 0 < limits.memory_budget < memory_bytes:
                # What one of them gives back shows in the pressure only at the next look.
                reason, pressed = "memory", False
            else:
                return
            _log.info("hibernated", extra={"instance": shell.record.id, "because": reason})
            self._house.metrics.hibernations.labels(reason=reason).inc()
            shell.dispatch(HibernateWanted())
            count, memory_bytes = count - 1, memory_bytes - child.memory_bytes


def memory_pressure() -> float:
    """Return the percentage of the last ten seconds in which something waited for memory; 0 where nobody counts it.

    Source: Linux's pressure stall information, `some avg10` (Documentation/accounting/psi.rst).
    """
    try:
        some = Path("/proc/pressure/memory").read_text().partition("\n")[0]
        return float(some.partition("avg10=")[2].partition(" ")[0])
    except (OSError, ValueError):
        return 0.0
