"""The real Claude Code takes what conversions make of Chat and Responses answers: reasoning, text, parallel calls."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from codex_gateway.dialect.convert import Dialect, Facts, convert_request

from tests.support.claude_code import PATIENCE_S
from tests.support.codex_home import CodexHome
from tests.support.dialect_streams import (
    call,
    chat_stream,
    completion,
    function_call,
    output_message,
    response,
    responses_stream,
)

pytestmark = pytest.mark.real_claude

COMMANDS = [json.dumps({"command": f"echo {word}", "description": "says something"}) for word in ("one", "two")]
SUMMARY = [{"type": "summary_text", "text": "Hm …"}]
CALLING = {
    Dialect.CHAT: chat_stream(
        completion(
            "I run it.",
            "tool_calls",
            reasoning_content="Hm …",
            tool_calls=[call("Bash", arguments, f"call_{at}") for at, arguments in enumerate(COMMANDS)],
        )
    ),
    Dialect.RESPONSES: responses_stream(
        response(
            {"id": "rs_1", "type": "reasoning", "summary": SUMMARY, "encrypted_content": "gAAAA"},
            output_message("I run it."),
            *(function_call("Bash", arguments, at) for at, arguments in enumerate(COMMANDS)),
        )
    ),
}
ENDING = {
    Dialect.CHAT: chat_stream(completion("It ran.")),
    Dialect.RESPONSES: responses_stream(response(output_message("It ran."))),
}


class Converting:
    """A loopback server that is nothing but the conversion, with a key and a signature that the endpoint wants back."""

    def __init__(self) -> None:
        self.dialect = Dialect.CHAT
        self.url = ""
        self.bodies: list[dict[str, Any]] = []

    async def respond(self, request: web.Request) -> web.StreamResponse:
        facts = Facts(dialect=self.dialect, model="up", native=True, endpoint="there")
        made = convert_request(await request.json(), Dialect.MESSAGES, facts)
        asks_for_it = "make it" in json.dumps(made.body)
        if asks_for_it:
            self.bodies.append(made.body)
        stream = (CALLING if asks_for_it and len(self.bodies) == 1 else ENDING)[self.dialect]
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        converted = made.stream()
        for at in range(0, len(stream), 37):
            await answer.write(b"".join(converted.feed(stream[at : at + 37])) + converted.keep_alive())
        await answer.write(b"".join(converted.end()))
        return answer


@pytest.fixture
async def converting() -> AsyncIterator[Converting]:
    made = Converting()
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/messages", made.respond)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.RESPONSES])
async def test_a_turn_with_a_parallel_pair(
    dialect: Dialect, converting: Converting, codex_home: CodexHome, real_claude: Path
) -> None:
    converting.dialect = dialect
    environment = codex_home.environment(
        ANTHROPIC_BASE_URL=converting.url,
        ANTHROPIC_AUTH_TOKEN="dummy",
        CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC="1",
    )
    process = await asyncio.create_subprocess_exec(
        *(str(real_claude), "-p", "make it", "--allowedTools", "Bash(echo:*)", "--output-format", "json"),
        cwd=codex_home.workspace,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode == 0, (out, errors)
    result = json.loads(out)
    result = result[-1] if isinstance(result, list) else result
    assert result["result"] == "It ran."
    assert result["usage"]["output_tokens"] == 84
    assert result["usage"]["cache_read_input_tokens"] == 200
    again = json.dumps(converting.bodies[1], ensure_ascii=False)
    assert "one" in again
    assert "two" in again
    # What the endpoint encrypted comes back to it.
    assert dialect is Dialect.CHAT or ('"gAAAA"' in again and '"rs_1"' in again)
