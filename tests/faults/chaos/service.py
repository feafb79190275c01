"""The supervisor as a service manager runs it: whenever it ends it is started again at once, on the same state."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
from codex_control.v1 import admin_pb2, admin_pb2_grpc

# codexctl gives a lost service up after 60 s; a supervisor that needs as long is broken.
READY_LIMIT_S = 60.0
END_LIMIT_S = 60.0


class NotReady(Exception):
    """The supervisor does not come up."""


@dataclass
class Service:
    """`start`, then kill the process as you like; `stop` ends it for good."""

    environment: Mapping[str, str]
    socket: Path
    log: Path
    starts: int = 0
    ended: list[int] = field(default_factory=list)
    """Return codes, oldest first."""
    back_after_s: list[float] = field(default_factory=list)
    """From each death until the next supervisor answered."""
    _process: asyncio.subprocess.Process | None = None
    _keeper: asyncio.Task[None] | None = None
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _wanted: bool = True

    @property
    def pid(self) -> int | None:
        """Its process id now; None between two lives."""
        process = self._process
        return process.pid if process is not None and process.returncode is None else None

    async def start(self) -> None:
        """Start it and wait until it answers."""
        self._wanted = True
        self._keeper = asyncio.get_running_loop().create_task(self._keep())
        await self.ready()

    async def ready(self) -> None:
        """Wait until it answers; raise `NotReady` where it does not in time."""
        try:
            await asyncio.wait_for(self._ready.wait(), READY_LIMIT_S)
        except TimeoutError:
            raise NotReady(f"no answer in {READY_LIMIT_S:g} s; its log ends: {self.log.read_text()[-2000:]}") from None

    def signal(self, number: signal.Signals) -> bool:
        """Signal it; False between two lives."""
        pid = self.pid
        if pid is None:
            return False
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            return False  # it ended by an earlier signal, and asyncio has not said so yet
        self._ready.clear()
        return True

    async def stop(self) -> int:
        """SIGTERM, and wait for its end; returns the exit code."""
        self._wanted = False
        process = self._process
        assert process is not None, "it was never started"
        if process.returncode is None:
            process.terminate()
        assert self._keeper is not None
        await asyncio.wait_for(self._keeper, END_LIMIT_S)
        return self.ended[-1]

    async def abandon(self) -> None:
        """Kill it, after a failure of the harness."""
        self._wanted = False
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
        if self._keeper is not None:
            await asyncio.wait([self._keeper])

    async def _keep(self) -> None:
        died_at: float | None = None
        while self._wanted:
            output = os.open(self.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
            try:
                self._process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    "-m",
                    "codex_supervisor",
                    "serve",
                    env=dict(self.environment),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                )
            finally:
                os.close(output)
            self.starts += 1
            watch = asyncio.get_running_loop().create_task(self._watch_readiness(died_at))
            code = await self._process.wait()
            died_at = time.monotonic()
            self._ready.clear()
            watch.cancel()
            await asyncio.wait([watch])
            self.ended.append(code)

    async def _watch_readiness(self, died_at: float | None) -> None:
        while True:
            if self.socket.exists():
                async with grpc.aio.insecure_channel(
                    f"unix:{self.socket}", options=[("grpc.use_local_subchannel_pool", 1)]
                ) as channel:
                    try:
                        reply = await admin_pb2_grpc.AdminStub(channel).Version(admin_pb2.VersionRequest(), timeout=5)
                    except grpc.aio.AioRpcError:
                        pass
                    else:
                        if reply.pid == self.pid:
                            break
            await asyncio.sleep(0.01)
        if died_at is not None:
            self.back_after_s.append(time.monotonic() - died_at)
        self._ready.set()
