"""A child that is up: its process, its connection, and what is loaded in it."""

from __future__ import annotations

import asyncio
import signal
from dataclasses import dataclass, field
from typing import Any

from codex_supervisor.child.appserver import AppServer
from codex_supervisor.child.spawn import ChildProcess
from codex_supervisor.store.records import ChildRecord


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
    cpu_s: float = 0.0

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
        return self.death or f"Codex ended: {status}"

    def kill(self, reason: str) -> None:
        """End the process at once, for `reason`."""
        self.death = self.death or reason
        self.process.signal(signal.SIGKILL)

    async def close(self) -> None:
        """Close the connection."""
        await self.server.close()
