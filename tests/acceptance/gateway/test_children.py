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
from pathlib import Path
from typing import Any

import pytest
from codex_control.errors import Exit
from codex_control.v1 import admin_pb2

from tests.support.codex_home import CodexHome
from tests.support.gateway_program import GatewayProgram
from tests.support.stub_model import StubModel
from tests.support.stub_upstream import StubUpstream
from tests.support.supervisor import RunningSupervisor, supervisor_of
from tests.support.waiting import wait_for

TIME_LIMIT_S = 60.0


def chat_only(stub: StubUpstream, port: int = 0) -> dict[str, Any]:
    """A configuration with one endpoint, in the Chat dialect alone."""
    endpoint = {"name": "chat-only", "url": stub.base_url, "dialects": ["chat"]}
    return {"listen": {"port": port}, "endpoints": [endpoint]}


async def kill(gateway: GatewayProgram) -> None:
    """SIGKILL it: its address stays behind."""
    process, gateway.process = gateway.process, None
    assert process is not None
    process.kill()
    await process.wait()


@pytest.fixture
async def stub() -> AsyncIterator[StubUpstream]:
    async with StubUpstream() as made:
        yield made


@pytest.fixture
async def gateway(codex_home: CodexHome, short_runtime_dir: Path, stub: StubUpstream) -> AsyncIterator[GatewayProgram]:
    made = GatewayProgram(codex_home.environment(short_runtime_dir))
    made.configure(**chat_only(stub))
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
        return "chat-only" in (await gateway.done("requests", "--client", "codex")).out

    # The gateway knew whom it served. It writes its records a moment later.
    await wait_for(is_listed, TIME_LIMIT_S, "the record")


@pytest.mark.real_codex
async def test_an_ask_outlasts_a_gateway_that_is_started_after_it(
    supervisor: RunningSupervisor, gateway: GatewayProgram
) -> None:
    asking = asyncio.create_task(ask(supervisor, "-i", "main", "are you there?"))
    await wait_for(lambda: "no gateway runs" in supervisor.log(), TIME_LIMIT_S, "a first start in vain")
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
    await kill(gateway)
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
    gateway.configure(**chat_only(stub, port))
    await gateway.start()
    stub.plan(gap_s=0.2, events=50)
    asking = asyncio.create_task(ask(supervisor, "-i", "main", "go on"))
    await wait_for(lambda: any(request.sent_bytes for request in stub.requests), TIME_LIMIT_S, "the stream")
    await kill(gateway)
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
