"""The real Codex takes what conversions make of Chat and Messages answers: text, reasoning, parallel calls, a patch."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from codex_gateway.dialect.convert import Dialect, Facts, convert_request

from tests.integration.gateway.conftest import codex_exec
from tests.support.codex_home import CodexHome
from tests.support.dialect_streams import call, chat_stream, completion, message, messages_stream

PATCH = "*** Begin Patch\n*** Add File: made.txt\n+grün 😀\n*** End Patch\n"


class Converting:
    """A loopback server that is nothing but the conversion. The endpoint behind it wants calls until it has seen three
    outputs, then says what it saw."""

    def __init__(self) -> None:
        self.dialect = Dialect.CHAT
        self.bodies: list[dict[str, Any]] = []

    async def respond(self, request: web.Request) -> web.StreamResponse:
        made = convert_request(await request.json(), Dialect.RESPONSES, Facts(dialect=self.dialect, model="up"))
        self.bodies.append(made.body)
        first = len(self.bodies) == 1
        stream = self._calls(made.body) if first else self._end()
        answer = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await answer.prepare(request)
        converted = made.stream(created_s=1_790_000_000)
        for at in range(0, len(stream), 37):
            await answer.write(b"".join(converted.feed(stream[at : at + 37])) + converted.keep_alive())
        await answer.write(b"".join(converted.end()))
        return answer

    def _calls(self, body: dict[str, Any]) -> bytes:
        names = [tool.get("name") or tool["function"]["name"] for tool in body["tools"]]
        shell = next(name for name in names if name in ("exec_command", "shell_command", "shell"))
        given = [
            (
                shell,
                {"cmd": f"echo {word}", "command": f"echo {word}"} if shell != "shell" else {"command": ["echo", word]},
            )
            for word in ("one", "two")
        ] + [("apply_patch", {"input": PATCH})]
        if self.dialect is Dialect.CHAT:
            calls = [call(name, json.dumps(one), f"call_{at}") for at, (name, one) in enumerate(given)]
            return chat_stream(completion("I make it.", "tool_calls", reasoning_content="Hm …", tool_calls=calls), 9)
        blocks = [
            {"type": "tool_use", "id": f"toolu_{at}", "name": name, "input": one}
            for at, (name, one) in enumerate(given)
        ]
        thought = {"type": "thinking", "thinking": "Hm …", "signature": "c2ln"}
        return messages_stream(
            message(thought, {"type": "text", "text": "I make it."}, *blocks, stop_reason="tool_use"), 9
        )

    def _end(self) -> bytes:
        if self.dialect is Dialect.CHAT:
            return chat_stream(completion("It is made."))
        return messages_stream(message({"type": "text", "text": "It is made."}))


@pytest.fixture
async def converting(codex_home: CodexHome) -> AsyncIterator[Converting]:
    made = Converting()
    app = web.Application(client_max_size=2**24)
    app.router.add_post("/v1/responses", made.respond)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    codex_home.configure(f"http://127.0.0.1:{runner.addresses[0][1]}/v1")
    yield made
    await runner.cleanup()


@pytest.mark.real_codex
@pytest.mark.parametrize("dialect", [Dialect.CHAT, Dialect.MESSAGES])
async def test_a_turn_with_a_parallel_pair_and_a_patch(
    dialect: Dialect, converting: Converting, codex_home: CodexHome, real_codex: Path
) -> None:
    converting.dialect = dialect
    said = await codex_exec(real_codex, codex_home, "make it")
    events = [json.loads(line) for line in said.splitlines() if line.startswith(b"{")]
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    assert [item["text"] for item in items if item["type"] == "agent_message"] == ["I make it.", "It is made."]
    assert [item["text"] for item in items if item["type"] == "reasoning"] == ["Hm …"]
    commands = [item for item in items if item["type"] == "command_execution"]
    assert sorted(item["aggregated_output"].strip() for item in commands) == ["one", "two"]
    assert (codex_home.workspace / "made.txt").read_text() == "grün 😀\n"
    usage = next(event["usage"] for event in events if event["type"] == "turn.completed")
    assert usage["cached_input_tokens"] == 200
    assert usage["output_tokens"] == 84
    # Codex gives the calls and their outputs back, and what it got sealed.
    assert len(converting.bodies) == 2
    again = json.dumps(converting.bodies[1])
    for call_id in ("call_0", "call_1", "call_2") if dialect is Dialect.CHAT else ("toolu_0", "toolu_1", "toolu_2"):
        assert again.count(call_id) == 2
    assert dialect is Dialect.CHAT or '"signature": "c2ln"' in again
