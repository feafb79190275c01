"""A child of the real Codex, spawned and connected as the supervisor does it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
from codex_control.service.clock import SystemClock
from codex_supervisor.child import protocol
from codex_supervisor.child.appserver import AppServer
from codex_supervisor.child.environment import child_environment
from codex_supervisor.child.locate import CodexBinary, locate_codex
from codex_supervisor.child.spawn import ChildProcess, ChildSpec, spawn
from codex_supervisor.child.tree import StopReport, stop_tree

from tests.support.codex_home import CodexHome
from tests.support.waiting import wait_for

N = TypeVar("N", bound=protocol.KnownNotification)

READY_S = 20.0
TURN_S = 20.0


class Child:
    """One running child with everything that it told."""

    def __init__(self, process: ChildProcess, spec: ChildSpec) -> None:
        self.process = process
        self.spec = spec
        self.notifications: list[protocol.Notification] = []
        self.requests: list[protocol.ServerRequest] = []
        self.server: AppServer
        self.thread_ids: list[str] = []

    async def connect(self) -> AppServer:
        self.server = await AppServer.connect(
            self.spec.socket,
            exited=self.process.exited,
            deadline_s=READY_S,
            on_notification=self.notifications.append,
            on_request=self.requests.append,
        )
        return self.server

    def of(self, kind: type[N]) -> list[N]:
        return [notification for notification in self.notifications if isinstance(notification, kind)]

    async def start_thread(self, cwd: Path) -> str:
        started = await self.server.request(
            "thread/start", protocol.ThreadStartParams(cwd=str(cwd)), protocol.ThreadStartResponse, 20
        )
        self.thread_ids.append(started.thread.id)
        return started.thread.id

    async def start_turn(self, thread_id: str, text: str) -> str:
        params = protocol.TurnStartParams(
            thread_id=thread_id,
            input=[protocol.TextInput(text=text)] if text else [],
            client_user_message_id=f"id of {text}",
        )
        return (await self.server.request("turn/start", params, protocol.TurnStartResponse, 20)).turn.id

    async def wait_for_turn(self, turn_id: str) -> protocol.Turn:
        def ended() -> protocol.Turn | None:
            turns = [done.turn for done in self.of(protocol.TurnCompletedNotification)]
            return next((turn for turn in turns if turn.id == turn_id), None)

        turn = await wait_for(ended, TURN_S, f"turn/completed of {turn_id}")
        assert turn is not None
        return turn

    async def stop(self, term_timeout_s: float = 5.0) -> StopReport:
        return await stop_tree(
            self.process,
            thread_ids=self.thread_ids,
            term_timeout_s=term_timeout_s,
            kill_timeout_s=5.0,
            clock=SystemClock(),
        )


Start = Callable[..., contextlib.AbstractAsyncContextManager[Child]]


@pytest.fixture
async def codex(real_codex: Path) -> CodexBinary:
    return await locate_codex(str(real_codex), os.environ)


@pytest.fixture
def start(codex: CodexBinary, codex_home: CodexHome, short_runtime_dir: Path, tmp_path: Path) -> Start:
    """Start children: `async with start(overrides=…) as child`. Whatever is left of one at the end is killed."""

    @contextlib.asynccontextmanager
    async def started(*, overrides: tuple[str, ...] = (), connect: bool = True) -> AsyncIterator[Child]:
        token = secrets.token_hex(8)
        spec = ChildSpec(
            instance="tests",
            generation=1,
            token=token,
            binary=codex,
            socket=short_runtime_dir / f"{token}.sock",
            environment=child_environment(
                codex_home.environment(), allow=["*"], extra={}, token=token, codex_home=str(codex_home.codex_home)
            ),
            overrides=overrides,
            stderr_log=tmp_path / f"{token}.log",
            cwd=str(codex_home.workspace),
        )
        child = Child(await spawn(spec), spec)
        try:
            if connect:
                await child.connect()
            yield child
        finally:
            if hasattr(child, "server"):
                await child.server.close()
            report = await child.stop(term_timeout_s=0)
            assert report.empty, report
            await asyncio.wait_for(asyncio.shield(child.process.exited), 5)

    return started
