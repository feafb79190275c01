"""Where everything runs: one Codex configuration, one stub model in a process of its own, and the rivals beside it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from codex_cli_bin import bundled_codex_path
from codex_supervisor.child.protocol import UNUSED_NOTIFICATIONS

from tests.support.app_server import AppServerClient
from tests.support.codex_home import CodexHome, codex_home_below, short_private_dir
from tests.support.stub_model import RemoteStub
from tests.support.supervisor import RunningSupervisor

PROGRAMS = Path(sys.executable).parent
"""Where `codexctl` and `codex-supervisor` are, as pip installed them."""

POLL_S = 0.0005
READY_TIMEOUT_S = 20.0


@dataclass(frozen=True)
class Place:
    """Both rivals see the same `home`, environment and stub model."""

    codex: Path
    home: CodexHome
    runtime_dir: Path
    stub: RemoteStub
    environment: dict[str, str]

    @asynccontextmanager
    async def supervisor(self) -> AsyncIterator[RunningSupervisor]:
        """A supervisor as the service unit starts it, without a configuration file."""
        program = (str(PROGRAMS / "codex-supervisor"), "serve")
        running = RunningSupervisor(self.home, self.environment, self.runtime_dir, program)
        await running.start()
        try:
            yield running
        finally:
            await running.stop()

    @asynccontextmanager
    async def app_server(self) -> AsyncIterator[BareCodex]:
        """A bare `codex app-server` with one connection."""
        bare = BareCodex(self)
        async with AsyncExitStack() as stack:
            stack.callback(bare.kill)
            await bare.start(stack)
            yield bare

    def run(self, *words: str) -> tuple[float, str]:
        """Run a program to its end; return the milliseconds that it took and what it wrote to standard output."""
        began = time.perf_counter()
        done = subprocess.run(
            words,
            env=self.environment,
            cwd=self.home.workspace,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=60,
        )
        took_ms = since_ms(began)
        if done.returncode != 0:
            raise AssertionError(f"{words[0]} ended with {done.returncode}: {done.stderr}")
        return took_ms, done.stdout


class BareCodex:
    """One app-server process and the thinnest client of it: the limit of what a supervisor could reach."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._process: asyncio.subprocess.Process | None = None
        self.client: AppServerClient

    async def start(self, stack: AsyncExitStack) -> None:
        """Spawn, connect as soon as it listens, and initialise."""
        socket = self._place.runtime_dir / f"{uuid.uuid4().hex[:8]}.sock"
        self._process = await asyncio.create_subprocess_exec(
            str(self._place.codex),
            "app-server",
            "--listen",
            f"unix://{socket}",
            env=self._place.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + READY_TIMEOUT_S
        while True:
            try:
                self.client = await stack.enter_async_context(AppServerClient.connect(socket))
                break
            except OSError:
                assert time.monotonic() < deadline, "the app-server does not listen"
                await asyncio.sleep(POLL_S)
        # What the supervisor opts out of costs time: the limit does without it too.
        capabilities = {"experimentalApi": True, "optOutNotificationMethods": list(UNUSED_NOTIFICATIONS)}
        info = {"name": "bench", "title": None, "version": "0"}
        await self.client.request("initialize", {"clientInfo": info, "capabilities": capabilities})
        await self.client.send({"method": "initialized"})

    def kill(self) -> None:
        """SIGKILL it, where it runs."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signal.SIGKILL)

    async def killed(self) -> None:
        """SIGKILL it and wait until it is gone."""
        self.kill()
        assert self._process is not None, "it was not started"
        await self._process.wait()

    async def thread(self) -> str:
        """Start a thread, with what the supervisor starts one with."""
        cwd = str(self._place.home.workspace)
        params = {"cwd": cwd, "approvalPolicy": "on-request", "sandbox": "workspace-write"}
        reply = await self.client.request("thread/start", params)
        thread_id: str = reply["thread"]["id"]
        return thread_id

    async def turn_ms(self, thread_id: str, prompt: str) -> float:
        """Run one turn; return the milliseconds from its sending to its end."""
        # The client keeps and looks through all that it got: a long list would slow the limit down.
        self.client.messages.clear()
        began = time.perf_counter()
        ended = await self.client.ask(thread_id, prompt)
        took_ms = since_ms(began)
        assert ended["turn"]["status"] == "completed", ended
        return took_ms


def since_ms(began: float) -> float:
    """Milliseconds since `time.perf_counter()` was `began`."""
    return (time.perf_counter() - began) * 1000


@asynccontextmanager
async def open_place() -> AsyncIterator[Place]:
    """Make the place, with the stub model started, and clear it away afterwards."""
    async with AsyncExitStack() as stack:
        runtime_dir = stack.enter_context(short_private_dir())
        home = stack.enter_context(codex_home_below())
        stub = await stack.enter_async_context(_stub_model())
        home.configure(f"http://127.0.0.1:{stub.port}/v1")
        codex = bundled_codex_path()
        programs = home.root / "bin"
        programs.mkdir()
        (programs / "codex").symlink_to(codex)
        environment = home.environment(runtime_dir)
        environment["PATH"] = f"{programs}:{environment['PATH']}"
        yield Place(codex, home, runtime_dir, stub, environment)


@asynccontextmanager
async def _stub_model() -> AsyncIterator[RemoteStub]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.support.stub_model",
        env={"PATH": os.environ.get("PATH", os.defpath)},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield RemoteStub(int(await asyncio.wait_for(process.stdout.readline(), READY_TIMEOUT_S)))
    finally:
        # It ends with its standard input.
        process.stdin.close()
        await process.wait()
