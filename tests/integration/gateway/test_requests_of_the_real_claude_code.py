"""What the real Claude Code asks for fits every other dialect."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from codex_gateway.dialect.convert import Dialect, Facts, convert_request
from codex_gateway.dialect.prepare import BILLING_HEADER
from codex_gateway.dialect.tokens import count_tokens

from tests.support.claude_code import PATIENCE_S
from tests.support.codex_home import codex_home_below
from tests.support.sdk_params import assert_valid
from tests.support.stub_claude_model import Say, StubClaudeModel, Use

pytestmark = pytest.mark.real_claude


@pytest.fixture
async def requests_of_claude(real_claude: Path) -> AsyncIterator[list[dict[str, Any]]]:
    """The requests of a turn with a call of the Bash tool."""
    async with StubClaudeModel() as stub:
        stub.script(Use("Bash", {"command": "echo from the shell", "description": "says something"}), when="make it")
        stub.script(Say("done"))
        with codex_home_below() as home:
            process = await asyncio.create_subprocess_exec(
                *(str(real_claude), "-p", "make it", "--allowedTools", "Bash(echo:*)"),
                cwd=home.workspace,
                env=home.environment() | stub.environment,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            out, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
            assert process.returncode == 0, (out, errors)
            yield [request.body for request in stub.requests]


async def test_they_fit_the_other_dialects(requests_of_claude: list[dict[str, Any]]) -> None:
    assert len(requests_of_claude) >= 2
    for upstream in (Dialect.CHAT, Dialect.RESPONSES):
        for native in (True, False):
            facts = Facts(dialect=upstream, model="m", native=native)
            bodies = [convert_request(body, Dialect.MESSAGES, facts).body for body in requests_of_claude]
            for body in bodies:
                assert_valid(body, upstream)
                assert BILLING_HEADER not in str(body)
                assert "cache_control" not in str(body)
                assert body["tools"]
            assert "from the shell" in str(bodies[-1])
            key = "messages" if upstream is Dialect.CHAT else "input"
            for earlier, later in pairwise(bodies):
                # So that an endpoint's prompt cache serves.
                assert later[key][: len(earlier[key])] == earlier[key]
                assert later["tools"] == earlier["tools"]
                assert later.get("prompt_cache_key") == earlier.get("prompt_cache_key")
            assert ("prompt_cache_key" in bodies[0]) is native


async def test_anthropic_gets_them_as_they_are(requests_of_claude: list[dict[str, Any]]) -> None:
    for body in requests_of_claude:
        facts = Facts(dialect=Dialect.MESSAGES, model=body["model"], native=True)
        assert convert_request(body, Dialect.MESSAGES, facts).untouched
        assert count_tokens(body) > 5000
