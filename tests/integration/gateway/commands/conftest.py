"""The real `codex-gateway`: as a program that nothing is configured for, and as a running gateway."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.integration.gateway.conftest import BODIES
from tests.support.gateway_program import GatewayProgram, Ran
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for

KEY = "0f-of-no-known-form-0123456789"


CONFIG = """\
# My endpoints.
listen: {{port: 0}}
retries: {{backoff_initial: 10ms, backoff_max: 20ms}}
records: {{bodies: all}}
prices:
  - {{model: "stub*", input: 1000, output: 2000}}
endpoints:
  # The first one.
  - name: one
    url: {one}?key={key}   # its URL
    dialects: [chat]
    models: [stub]
    auth: {{api_key: {key}}}
    priority: 10
  # The second one.
  - name: two
    url: {two}
    dialects: [messages, responses]
    models: [stub]
    priority: 20
"""


@pytest.fixture
def program(tmp_path: Path, short_runtime_dir: Path) -> GatewayProgram:
    """The program in a home of its own; nothing runs, nothing is configured."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": str(short_runtime_dir),
        "TZ": "UTC",
    }
    return GatewayProgram(environment)


@pytest.fixture
async def gateway(program: GatewayProgram, stub: StubUpstream, other: StubUpstream) -> AsyncIterator[GatewayProgram]:
    """A running gateway with two endpoints."""
    program.write_config(CONFIG.format(one=stub.base_url, two=other.base_url, key=KEY))
    await program.start()
    yield program
    await program.end()


async def ask(
    gateway: GatewayProgram, path: str = "/v1/chat/completions", token: str = "", **more: Any
) -> tuple[int, Any]:
    """A client's request; its status and answer."""
    token = token or gateway.paths.token_file("other").read_text().strip()
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            gateway.url + path, json=BODIES[path](**more), headers={"Authorization": f"Bearer {token}"}
        ) as response,
    ):
        return response.status, await response.json(content_type=None)


async def recorded(gateway: GatewayProgram, count: int = 1) -> list[Any]:
    """The records of requests, once there are `count`: the newest first."""

    async def all_there() -> list[Any]:
        ran = await gateway.run("requests", "--json")
        return ran.lines if len(ran.lines) >= count else []

    found: list[Any] = await wait_for(all_there, what=f"{count} records")
    return found


def states(ran: Ran) -> dict[str, str]:
    return {one["name"]: one["state"] for one in ran.lines}
