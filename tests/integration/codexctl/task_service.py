"""The Tasks service with the embedded engine on a real Unix socket; the worker is whoever writes the test."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

from codex_control.errors import NotFound
from codex_control.service.clock import SystemClock
from codex_control.v1 import claude_pb2, claude_pb2_grpc, instances_pb2, instances_pb2_grpc, tasks_pb2_grpc, turns_pb2
from codex_supervisor.config.model import Config
from codex_supervisor.house import House
from codex_supervisor.rpc.interceptor import CallInterceptor
from codex_supervisor.rpc.server import ControlServer
from codex_supervisor.rpc.tasks import TasksServicer
from codex_supervisor.task.records import (
    AttemptEnd,
    Claim,
    EventKind,
    NewEvent,
    Note,
    Policy,
    TaskOutcome,
    TaskResult,
    Worker,
)
from codex_supervisor.task.sqlite_engine import SqliteEngine

PATIENCE_S = 20.0
WORKER = Worker("here", "run-1")

T = TypeVar("T")


class TaskService:
    """Runs on an event loop of its own thread. What it was told stays over `stop` and `start`."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._clock = SystemClock()
        self.calls: list[str] = []
        self.instances: dict[str, instances_pb2.Instance] = {}
        self.engine: SqliteEngine = self.do(
            SqliteEngine.open(home / "state" / "tasks.db", clock=self._clock, policy=Policy(retries=1))
        )
        self._server: ControlServer | None = None

    def do(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on the service's loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(PATIENCE_S)

    def start(self) -> None:
        """Listen."""
        self.do(self._start())

    async def _start(self) -> None:
        (self._home / "run").mkdir(mode=0o700, exist_ok=True)
        count = CallInterceptor(self._clock, lambda method, code, _s: self.calls.append(f"{method} {code}"))
        server = ControlServer(self._home / "run" / "control.sock", [count])
        # All that the service takes from its house.
        house = cast("House", SimpleNamespace(config=Config(), clock=self._clock))
        tasks_pb2_grpc.add_TasksServicer_to_server(TasksServicer(self.engine, None, house), server.grpc)
        claude_pb2_grpc.add_ClaudeServicer_to_server(_OneSession(self.instances), server.grpc)
        instances_pb2_grpc.add_InstancesServicer_to_server(_OneInstance(self.instances), server.grpc)
        await server.start()
        self._server = server

    def stop(self) -> None:
        """Cut every connection and go."""
        if self._server is not None:
            self.do(self._server.stop(0))
            self._server = None

    def close(self) -> None:
        """End it all."""
        self.stop()
        self.do(self.engine.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(PATIENCE_S)
        self._loop.close()

    # --- the worker -------------------------------------------------------------------------------------------------

    def claim(self) -> Claim:
        """Take the next task."""
        claim = self.do(self.engine.claim(WORKER, lease_s=60))
        assert claim is not None, "there is no task to claim"
        return claim

    def note(self, claim: Claim, progress: str = "", *items: turns_pb2.TurnEvent) -> None:
        """Tell what it does and did."""
        events = [NewEvent(EventKind.ITEM, item=item.SerializeToString()) for item in items]
        self.do(self.engine.note(claim, Note(progress=progress or None), events))

    def finish(
        self,
        claim: Claim,
        answer: str = "",
        outcome: TaskOutcome = TaskOutcome.COMPLETED,
        error: str = "",
        files: Sequence[str] = (),
    ) -> None:
        """End the attempt."""
        result = TaskResult(answer=answer, files_changed=tuple(files))
        self.do(self.engine.finish(claim, AttemptEnd(outcome, error, Note(result=result))))


class _OneSession(claude_pb2_grpc.ClaudeServicer):
    """Each session has the instance of its name."""

    def __init__(self, instances: dict[str, instances_pb2.Instance]) -> None:
        self._instances = instances

    async def Bind(self, request: claude_pb2.BindRequest, context: Any) -> claude_pb2.BindResponse:  # noqa: N802
        name = f"claude-{request.session_id}"
        instance = self._instances.setdefault(name, instances_pb2.Instance(id=name, workspace=request.cwd))
        instance.settings.profile = instance.settings.profile or "default"
        return claude_pb2.BindResponse(instance=instance, process=request.process)


class _OneInstance(instances_pb2_grpc.InstancesServicer):
    def __init__(self, instances: dict[str, instances_pb2.Instance]) -> None:
        self._instances = instances

    async def Get(  # noqa: N802
        self, request: instances_pb2.GetInstanceRequest, context: Any
    ) -> instances_pb2.GetInstanceResponse:
        if request.instance.id not in self._instances:
            raise NotFound(what="there is no such instance")
        return instances_pb2.GetInstanceResponse(instance=self._instances[request.instance.id])
