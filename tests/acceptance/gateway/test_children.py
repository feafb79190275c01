"""`codex.provider: gateway` with nothing made up but the provider: `codexctl ask` → supervisor → the real Codex → the
real gateway → a provider that speaks Chat Completions alone, which Codex itself no longer does.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from codex_control.errors import Exit
from codex_control.gateway_paths import GatewayPaths, running_pid
from codex_control.v1 import admin_pb2

from tests.support.codex_home import CodexHome
from tests.support.stub_model import StubModel
from tests.support.stub_upstream import StubUpstream
from tests.support.supervisor import RunningSupervisor, supervisor_of
from tests.support.waiting import wait_for

TIME_LIMIT_S = 60.0


@dataclass
class GatewayProgram:
    """`codex-gateway serve` as a process of its own."""

    environment: dict[str, str]
    process: asyncio.subprocess.Process | None = None

    @property
    def paths(self) -> GatewayPaths:
        return GatewayPaths.from_environment(self.environment)

    def configure(self, stub: StubUpstream, port: int = 0) -> None:
        """One endpoint, in the Chat dialect alone."""
        settings: dict[str, Any] = {
            "listen": {"port": port},
            "endpoints": [{"name": "chat-only", "url": stub.base_url, "dialects": ["chat"]}],
        }
        self.paths.config_file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.paths.config_file.write_text(yaml.safe_dump(settings))
        self.paths.config_file.chmod(0o600)

    async def start(self) -> None:
        """Start it and wait until it listens."""
        self.process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "codex_gateway", "serve"), env=self.environment, stderr=asyncio.subprocess.DEVNULL
        )

        def listens() -> bool:
            return running_pid(self.paths) is not None and self.paths.address_file.exists()

        await wait_for(listens, TIME_LIMIT_S, "the gateway")

    async def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """End it."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            await asyncio.wait_for(process.wait(), TIME_LIMIT_S)


@pytest.fixture
async def stub() -> AsyncIterator[StubUpstream]:
    async with StubUpstream() as made:
        yield made


@pytest.fixture
async def gateway(codex_home: CodexHome, short_runtime_dir: Path, stub: StubUpstream) -> AsyncIterator[GatewayProgram]:
    made = GatewayProgram(codex_home.environment(short_runtime_dir))
    made.configure(stub)
    yield made
    await made.end()


@pytest.fixture
async def supervisor(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path, gateway: GatewayProgram
) -> AsyncIterator[RunningSupervisor]:
    # As at home: Codex's own settings know nothing of the gateway. What is left out looks for the outside network.
    codex_home.config_file.write_text(
        "check_for_update_on_startup = false\n[features]\nplugins = false\n[analytics]\nenabled = false\n"
    )
    settings = {
        "codex": {"binary": str(real_codex), "provider": "gateway"},
        "instances": {"backoff_initial": 0.2, "backoff_max": 0.3, "restart_burst": 100},
    }
    async with supervisor_of(codex_home, short_runtime_dir, settings) as made:
        yield made


async def ask(supervisor: RunningSupervisor, *arguments: str) -> tuple[int | None, str, str]:
    """Run `codexctl ask`; return its code and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "codexctl", "ask", *arguments),
        env={**supervisor.environment, "CODEXCTL_NO_START": "1"},
        cwd=supervisor.home.workspace,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), TIME_LIMIT_S)
    return process.returncode, out.decode(), err.decode()


@pytest.mark.real_codex
async def test_an_ask_reaches_a_provider_that_speaks_chat_alone(
    supervisor: RunningSupervisor, gateway: GatewayProgram, stub: StubUpstream
) -> None:
    await gateway.start()
    code, out, err = await ask(supervisor, "-i", "main", "what is the answer?")
    assert (code, out.strip()) == (Exit.OK, "x" * 20), err
    assert {request.path for request in stub.requests} == {"/v1/chat/completions"}
    assert "what is the answer?" in stub.requests[-1].body.decode()

    async def is_listed() -> bool:
        shown = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "codex_gateway", "requests", "--client", "codex"),
            env=gateway.environment,
            stdout=asyncio.subprocess.PIPE,
        )
        listed, _ = await asyncio.wait_for(shown.communicate(), TIME_LIMIT_S)
        return "chat-only" in listed.decode()

    # The gateway knew whom it served. It writes its records a moment later.
    await wait_for(is_listed, TIME_LIMIT_S, "the record")


@pytest.mark.real_codex
async def test_an_ask_outlasts_a_gateway_that_is_started_after_it(
    supervisor: RunningSupervisor, gateway: GatewayProgram
) -> None:
    asking = asyncio.create_task(ask(supervisor, "-i", "main", "are you there?"))
    await wait_for(lambda: "the gateway does not run" in supervisor.log(), TIME_LIMIT_S, "a first start in vain")
    await gateway.start()
    code, out, err = await asking
    assert (code, out.strip()) == (Exit.OK, "x" * 20), err


@pytest.mark.real_codex
async def test_after_the_deaths_of_supervisor_and_gateway_the_next_child_finds_it_anew(
    supervisor: RunningSupervisor, gateway: GatewayProgram
) -> None:
    await gateway.start()
    assert (await ask(supervisor, "-i", "main", "one"))[0] == Exit.OK
    before = (await supervisor.client.instance("main")).child.pid
    # A child that runs on is adopted, and its gateway is still the one that it knows.
    await supervisor.restart()
    assert (await supervisor.client.instance("main")).child.pid == before
    assert (await ask(supervisor, "-i", "main", "two"))[0] == Exit.OK
    # A killed gateway leaves its address behind; the next one listens elsewhere.
    await gateway.end(signal.SIGKILL)
    await gateway.start()
    os.kill(before, signal.SIGKILL)
    code, _, err = await ask(supervisor, "-i", "main", "three")
    assert code == Exit.OK, err
    assert (await supervisor.client.instance("main")).child.pid != before


@pytest.mark.real_codex
async def test_a_conversation_moves_to_the_gateway_with_its_next_child(
    codex_home: CodexHome,
    short_runtime_dir: Path,
    real_codex: Path,
    gateway: GatewayProgram,
    stub: StubUpstream,
    stub_model: StubModel,
) -> None:
    """It began with the provider of Codex's own config.toml, and goes on with all that was said."""
    settings: dict[str, Any] = {"codex": {"binary": str(real_codex)}}
    await gateway.start()
    async with supervisor_of(codex_home, short_runtime_dir, settings) as supervisor:
        code, out, err = await ask(supervisor, "-i", "main", "remember the tree")
        assert (code, out.strip()) == (Exit.OK, "stub: remember the tree"), err
        supervisor.configure({"codex": {**settings["codex"], "provider": "gateway"}})
        await supervisor.client.admin.Reload(admin_pb2.ReloadRequest())
        # The running child stays with its provider.
        assert (await ask(supervisor, "-i", "main", "still here?"))[1].strip() == "stub: still here?"
        child = (await supervisor.client.instance("main")).child.pid
        os.kill(child, signal.SIGKILL)
        code, out, err = await ask(supervisor, "-i", "main", "and now?")
        assert (code, out.strip()) == (Exit.OK, "x" * 20), err
    assert "remember the tree" in stub.requests[-1].body.decode()


@pytest.mark.real_codex
async def test_a_turn_outlives_the_death_of_the_gateway_under_it(
    supervisor: RunningSupervisor, gateway: GatewayProgram, stub: StubUpstream
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    gateway.configure(stub, port=port)
    await gateway.start()
    stub.plan(gap_s=0.2, events=50)
    asking = asyncio.create_task(ask(supervisor, "-i", "main", "go on"))
    await wait_for(lambda: any(request.sent_bytes for request in stub.requests), TIME_LIMIT_S, "the stream")
    await gateway.end(signal.SIGKILL)
    await gateway.start()
    code, out, err = await asking
    assert (code, out.strip()) == (Exit.OK, "x" * 20), err


@pytest.mark.real_codex
async def test_a_conversation_moves_back_to_codexs_own_provider(
    codex_home: CodexHome,
    short_runtime_dir: Path,
    real_codex: Path,
    gateway: GatewayProgram,
    stub_model: StubModel,
) -> None:
    settings: dict[str, Any] = {"codex": {"binary": str(real_codex)}}
    await gateway.start()
    behind = {"codex": {**settings["codex"], "provider": "gateway"}}
    async with supervisor_of(codex_home, short_runtime_dir, behind) as supervisor:
        code, out, err = await ask(supervisor, "-i", "main", "remember the tree")
        assert (code, out.strip()) == (Exit.OK, "x" * 20), err
        supervisor.configure(settings)
        await supervisor.client.admin.Reload(admin_pb2.ReloadRequest())
        os.kill((await supervisor.client.instance("main")).child.pid, signal.SIGKILL)
        code, out, err = await ask(supervisor, "-i", "main", "and now?")
        assert (code, out.strip()) == (Exit.OK, "stub: and now?"), err
    assert "remember the tree" in " ".join(stub_model.requests[-1].user_texts)
