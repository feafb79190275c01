"""A child that is up: its process, its connection, and what is loaded in it."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, assert_never

from codex_supervisor.child.cgroups import killed_for_memory, limit_memory, memory_of
from codex_supervisor.child.exitwatch import ExitStatus
from codex_supervisor.child.processes import ResourceSample
from codex_supervisor.child.spawn import ChildProcess
from codex_supervisor.store.records import ChildRecord

if TYPE_CHECKING:
    from codex_supervisor.child.appserver import AppServer


@dataclass(slots=True)
class LoadedThread:
    """The thread that the child has loaded for its instance, and the settings that stick to it."""

    id: str
    sandbox: str
    instructions: str
    sticking: dict[str, str] = field(default_factory=dict)
    """Overrides of turn/start that are known to stick, by the name of the parameter."""
    sent: dict[str, str] = field(default_factory=dict)
    """Those that went with the last turn/start; they count as sticking once Codex has taken it."""


@dataclass(slots=True, eq=False)
class AwakeChild:
    """One child and what is known of it. Two are never equal: they are told apart by identity."""

    process: ChildProcess
    server: AppServer
    record: ChildRecord
    adopted: bool = False
    thread: LoadedThread | None = None
    death: str = ""
    """Why we killed it, where we did."""
    memory_bytes: int = 0
    """What it holds, with all that it started where it has a control group."""
    cpu_s: float = 0.0
    _limit_bytes: int | None = None
    """The memory limit that the kernel was given, as far as we know."""

    @property
    def generation(self) -> int:
        """Which child of its instance it is."""
        return self.record.generation

    async def gone(self) -> str:
        """Wait until the process has ended, and return why, as a piece of a sentence.

        A lost connection with a living process is the end too: the process is killed, as nobody could reach it.
        """
        either: set[asyncio.Future[Any]] = {self.process.exited, self.server.closed}
        await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self.process.exited.done():
            # Its end closes the connection a moment before the kernel tells of it.
            await asyncio.wait({self.process.exited}, timeout=1.0)
        if not self.process.exited.done():
            self.kill("its connection was lost")
        status = await asyncio.shield(self.process.exited)
        return self.death or self._killed_for_memory(status) or f"Codex ended: {status}"

    def _killed_for_memory(self, status: ExitStatus) -> str:
        # How an adopted one ended is the kernel's secret.
        may_be = status.code is None and status.signal in (signal.SIGKILL, None)
        if self.process.cgroup is None or not may_be:
            return ""
        match killed_for_memory(self.process.cgroup):
            case "":
                return ""
            case "limit":
                limit = f"the {self._limit_bytes >> 20} MiB of tasks.memory_limit" if self._limit_bytes else "its limit"
                return f"the kernel ended it: it used, with all that it started, more memory than {limit}"
            case "system":
                return "the kernel ended it: the system ran out of memory"
            case found:
                assert_never(found)

    def limit_memory(self, limit_bytes: int) -> None:
        """Have the kernel hold it, with all that it started, below a limit, where the kernel can; 0 is none.

        Called again and again: it does nothing while the limit stays.
        """
        if self.process.cgroup is not None and limit_bytes != self._limit_bytes:
            limit_memory(self.process.cgroup, limit_bytes)
            self._limit_bytes = limit_bytes

    def measure(self) -> ResourceSample | None:
        """Take in what it uses now, and return what the process itself does; None where it is gone."""
        found = self.process.sample()
        if found is not None:
            of_group = memory_of(self.process.cgroup) if self.process.cgroup is not None else 0
            self.memory_bytes, self.cpu_s = max(found.rss_bytes, of_group), found.cpu_s
        return found

    def kill(self, reason: str) -> None:
        """End the process at once, for `reason`."""
        self.death = self.death or reason
        self.process.signal(signal.SIGKILL)

    async def close(self) -> None:
        """Close the connection."""
        await self.server.close()
