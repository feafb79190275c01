"""A real supervisor in a process of its own, as the service unit starts it, and a client of its API."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
import yaml
from codex_control.v1 import (
    admin_pb2,
    admin_pb2_grpc,
    claude_pb2_grpc,
    history_pb2_grpc,
    instances_pb2,
    instances_pb2_grpc,
    tasks_pb2_grpc,
    turns_pb2,
    turns_pb2_grpc,
)

from tests.support.app_server import accepts
from tests.support.codex_home import CodexHome
from tests.support.waiting import wait_for

START_TIMEOUT_S = 20.0

# What `codex-supervisor serve` does, without its command line.
_SCRIPT = (
    "import sys; from codex_control.paths import Paths; from codex_supervisor.daemon import serve; "
    "sys.exit(serve(Paths.from_environment()))"
)
SERVE = (sys.executable, "-c", _SCRIPT)
"""The command of a supervisor."""


@dataclass
class Client:
    """The services of one supervisor, and the few calls that every test makes."""

    channel: grpc.aio.Channel
    cwd: str
    instances: instances_pb2_grpc.InstancesStub = field(init=False)
    turns: turns_pb2_grpc.TurnsStub = field(init=False)
    tasks: tasks_pb2_grpc.TasksStub = field(init=False)
    history: history_pb2_grpc.HistoryStub = field(init=False)
    claude: claude_pb2_grpc.ClaudeStub = field(init=False)
    admin: admin_pb2_grpc.AdminStub = field(init=False)

    def __post_init__(self) -> None:
        self.instances = instances_pb2_grpc.InstancesStub(self.channel)
        self.turns = turns_pb2_grpc.TurnsStub(self.channel)
        self.tasks = tasks_pb2_grpc.TasksStub(self.channel)
        self.history = history_pb2_grpc.HistoryStub(self.channel)
        self.claude = claude_pb2_grpc.ClaudeStub(self.channel)
        self.admin = admin_pb2_grpc.AdminStub(self.channel)

    def request(self, prompt: str, instance: str = "main", **more: object) -> turns_pb2.AskRequest:
        """An ask with what every ask needs."""
        given: dict[str, object] = {"request_id": str(uuid.uuid4()), "cwd": self.cwd, **more}
        return turns_pb2.AskRequest(prompt=prompt, instance=ref(instance), **given)  # type: ignore[arg-type]

    async def events(self, prompt: str, instance: str = "main", **more: object) -> list[turns_pb2.TurnEvent]:
        """Ask, and return all events up to the last."""
        return [answer.event async for answer in self.turns.Ask(self.request(prompt, instance, **more))]

    async def ask(self, prompt: str, instance: str = "main", **more: object) -> turns_pb2.Turn:
        """Ask, and return the record."""
        events = await self.events(prompt, instance, **more)
        return events[-1].ended.turn

    async def instance(self, name: str = "main") -> instances_pb2.Instance:
        """How an instance is now."""
        request = instances_pb2.GetInstanceRequest(instance=ref(name))
        reply: instances_pb2.GetInstanceResponse = await self.instances.Get(request)
        return reply.instance

    async def wait_for_state(
        self, state: instances_pb2.InstanceState, name: str = "main", timeout_s: float = 20
    ) -> None:
        """Wait until the instance is in `state`, as its own Watch tells."""
        request = instances_pb2.WatchInstancesRequest(instance=ref(name))
        async with asyncio.timeout(timeout_s):
            async for change in self.instances.Watch(request):
                if change.instance.state == state:
                    return


def ref(name: str) -> instances_pb2.InstanceRef:
    """Name an instance by its id."""
    return instances_pb2.InstanceRef(id=name)


@dataclass
class RunningSupervisor:
    """A supervisor that can be killed and started again on the same state."""

    home: CodexHome
    environment: dict[str, str]
    runtime_dir: Path
    program: Sequence[str] = SERVE
    process: asyncio.subprocess.Process | None = None
    client: Client = field(init=False)

    @property
    def socket(self) -> Path:
        """The control socket."""
        return self.runtime_dir / "codex-supervisor" / "control.sock"

    @property
    def state_dir(self) -> Path:
        """Where the store and the logs are."""
        return self.home.home / ".local/state/codex-supervisor"

    @property
    def config_file(self) -> Path:
        """Its config.yaml."""
        return self.home.home / ".config/codex-supervisor/config.yaml"

    @property
    def pid(self) -> int:
        """Its process id."""
        assert self.process is not None, "it was not started"
        return self.process.pid

    def configure(self, settings: Mapping[str, object]) -> None:
        """Write config.yaml. The metrics port is free for every test unless it is given."""
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        self.config_file.write_text(yaml.safe_dump({"metrics": {"port": 0}, **settings}))
        self.config_file.chmod(0o600)

    async def start(self) -> None:
        """Start it and wait until it answers a health check."""
        assert self.process is None, "it runs already"
        log = self.home.root / "serve.log"
        descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            self.process = await asyncio.create_subprocess_exec(
                *self.program, env=self.environment, stdout=descriptor, stderr=descriptor
            )
        finally:
            os.close(descriptor)

        async def answers() -> bool:
            if self.process is not None and self.process.returncode is not None:
                # No AssertionError: that would mean "not yet".
                raise RuntimeError(f"the supervisor ended: {log.read_text()}")
            # A killed one leaves its socket, and gRPC waits a second after a refusal.
            return accepts(self.socket)

        await wait_for(answers, START_TIMEOUT_S, "the control socket")
        channel = grpc.aio.insecure_channel(f"unix:{self.socket}", options=[("grpc.max_receive_message_length", -1)])
        self.client = Client(channel, str(self.home.workspace))
        await self.client.admin.Version(admin_pb2.VersionRequest(), timeout=START_TIMEOUT_S, wait_for_ready=True)

    async def kill(self) -> None:
        """SIGKILL it; its children run on."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """End it as the service manager does, and return its exit code; nothing is left of its children."""
        return await self._end(signal.SIGTERM)

    async def _end(self, number: signal.Signals) -> int:
        assert self.process is not None, "it was not started"
        if self.process.returncode is None:
            self.process.send_signal(number)
        code = await asyncio.wait_for(self.process.wait(), 30)
        self.process = None
        await self.client.channel.close()
        return code

    async def restart(self) -> None:
        """SIGKILL it and start it again."""
        await self.kill()
        await self.start()

    def log(self) -> str:
        """All that it logged."""
        return (self.home.root / "serve.log").read_text()


@asynccontextmanager
async def supervisor_of(
    home: CodexHome,
    runtime_dir: Path,
    settings: Mapping[str, object] | None = None,
    *,
    program: Sequence[str] = SERVE,
    **environment: str,
) -> AsyncIterator[RunningSupervisor]:
    """A started supervisor, stopped afterwards with all its children."""
    made = RunningSupervisor(home, home.environment(runtime_dir, **environment), runtime_dir, program)
    made.configure(settings or {})
    await made.start()
    try:
        yield made
    finally:
        if made.process is None:
            # A test that killed it last leaves children to be adopted: adopt and end them.
            await made.start()
        await made.stop()
