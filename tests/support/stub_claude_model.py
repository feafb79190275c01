"""A stub of the Anthropic Messages API on loopback, for the real Claude Code.

    async with StubClaudeModel() as stub:
        stub.script(Use("mcp__plugin_codex_codex__ask", {"question": "why?"}), when="ask codex")
        ...                     # start Claude Code with stub.environment

Without a script it answers "claude: <last user text>". The request that follows a tool call is answered with
"claude saw: <the tool's output>", so that a test can read there what Claude's model was told.
"""

from __future__ import annotations

import json
import re
import uuid
from collections import deque
from dataclasses import dataclass, field
from typing import Any, Self

from aiohttp import web

# A request of Claude Code has about 80 KB.
MAX_RECORDED_REQUESTS = 128
MAX_REQUEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Say:
    """Answer with a text."""

    text: str


@dataclass(frozen=True)
class Use:
    """Call a tool of Claude Code."""

    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Script:
    """What to do, once, for the request whose last user text has a match of the pattern `when`."""

    step: Say | Use
    when: str


@dataclass
class ClaudeRequest:
    """One request for an answer."""

    body: dict[str, Any]
    last_user_text: str = field(init=False)
    tool_output: str = field(init=False)

    def __post_init__(self) -> None:
        blocks = self._last_user_blocks()
        self.last_user_text = "\n".join(block["text"] for block in blocks if block["type"] == "text")
        self.tool_output = "\n".join(_text(block["content"]) for block in blocks if block["type"] == "tool_result")

    def _last_user_blocks(self) -> list[dict[str, Any]]:
        said = [message for message in self.body["messages"] if message["role"] == "user"]
        content = said[-1]["content"] if said else ""
        return [{"type": "text", "text": content}] if isinstance(content, str) else content

    @property
    def whole_text(self) -> str:
        """Everything that the model was told, as JSON: for looking whether something is in it."""
        return json.dumps(self.body, ensure_ascii=False)

    @property
    def is_for_title(self) -> bool:
        """Whether it asks for the session's title, as interactive mode does beside the real request."""
        return bool(self.body.get("output_config", {}).get("format"))


def _text(content: str | list[dict[str, Any]]) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(block.get("text", "") for block in content)


class StubClaudeModel:
    """The server; an async context manager. Listens on 127.0.0.1 on any free port."""

    def __init__(self) -> None:
        self.port = 0
        self.requests: deque[ClaudeRequest] = deque(maxlen=MAX_RECORDED_REQUESTS)
        """Requests for an answer, oldest first, without those for a title."""
        self._scripts: list[Script] = []
        self._runner: web.AppRunner | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What makes Claude Code talk to this stub and to nothing else."""
        return {
            "ANTHROPIC_BASE_URL": f"http://127.0.0.1:{self.port}",
            "ANTHROPIC_AUTH_TOKEN": "stub-token",
            "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        }

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/v1/messages", self._answer)
        app.router.add_post("/v1/messages/count_tokens", self._count)
        app.router.add_get("/v1/models", self._models)
        app.router.add_route("HEAD", "/", self._alive)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()

    def script(self, step: Say | Use, *, when: str = "") -> None:
        """Queue a step; the oldest one that matches a request is taken. Answers to tools match nothing."""
        self._scripts.append(Script(step, when))

    def _step(self, request: ClaudeRequest) -> Say | Use:
        if request.tool_output:
            return Say(f"claude saw: {request.tool_output}")
        for script in self._scripts:
            if re.search(script.when, request.last_user_text):
                self._scripts.remove(script)
                return script.step
        return Say(f"claude: {request.last_user_text[-500:]}")

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        request = ClaudeRequest(await http.json())
        step: Say | Use = Say('{"title": "stub"}')
        if not request.is_for_title:
            self.requests.append(request)
            step = self._step(request)
        message = _message(step, request.body.get("model", "stub"))
        if not request.body.get("stream"):
            return web.json_response(message)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        for event in _events(message):
            await response.write(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode())
        await response.write_eof()
        return response

    async def _count(self, http: web.Request) -> web.Response:
        return web.json_response({"input_tokens": 10})

    async def _models(self, http: web.Request) -> web.Response:
        return web.json_response({"data": [], "has_more": False})

    async def _alive(self, http: web.Request) -> web.Response:
        return web.Response()


def _message(step: Say | Use, model: str) -> dict[str, Any]:
    if isinstance(step, Say):
        block: dict[str, Any] = {"type": "text", "text": step.text}
    else:
        block = {"type": "tool_use", "id": f"toolu_{uuid.uuid4().hex}", "name": step.tool, "input": step.arguments}
    return {
        "id": f"msg_{uuid.uuid4().hex}",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [block],
        "stop_reason": "tool_use" if isinstance(step, Use) else "end_turn",
        "stop_sequence": None,
        "usage": {"input_tokens": 10, "output_tokens": 5},
    }


def _events(message: dict[str, Any]) -> list[dict[str, Any]]:
    block = message["content"][0]
    if block["type"] == "text":
        opened, delta = {**block, "text": ""}, {"type": "text_delta", "text": block["text"]}
    else:
        opened = {**block, "input": {}}
        delta = {"type": "input_json_delta", "partial_json": json.dumps(block["input"])}
    return [
        {"type": "message_start", "message": {**message, "content": [], "stop_reason": None}},
        {"type": "content_block_start", "index": 0, "content_block": opened},
        {"type": "content_block_delta", "index": 0, "delta": delta},
        {"type": "content_block_stop", "index": 0},
        {
            "type": "message_delta",
            "delta": {"stop_reason": message["stop_reason"], "stop_sequence": None},
            "usage": {"output_tokens": 5},
        },
        {"type": "message_stop"},
    ]
