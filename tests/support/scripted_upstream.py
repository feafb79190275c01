"""A model API in all three dialects that says what a script tells it: one script for whichever dialect is asked.

    async with ScriptedUpstream() as stub:
        stub.script(Turn(calls=(Use("shell", {...}), Use("shell", {...}))), Turn("done"))

Each turn answers one request, as the endpoints of that dialect do: in Chat Completions the arguments of parallel calls
come in fragments that take turns. Without a script it says "stub: nothing more".
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Self

from aiohttp import web

MAX_REQUEST_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True)
class Use:
    """A call of a tool. `arguments` is text for a custom tool, which has no JSON."""

    tool: str
    arguments: dict[str, Any] | str


@dataclass(frozen=True)
class Turn:
    """One answer."""

    text: str = ""
    calls: tuple[Use, ...] = ()


@dataclass(frozen=True)
class Asked:
    """One request."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def tool_names(self) -> set[str]:
        """Names of all tools on offer."""
        return {str(tool.get("name") or tool.get("function", {}).get("name")) for tool in self.body.get("tools", [])}


class ScriptedUpstream:
    """The server, on any free port of 127.0.0.1; an async context manager."""

    def __init__(self) -> None:
        self.requests: list[Asked] = []
        self.base_url = ""
        self._turns: deque[Turn | Callable[[Asked], Turn]] = deque()
        self._ids = itertools.count(1)

    def script(self, *turns: Turn | Callable[[Asked], Turn]) -> None:
        """Queue answers; a function is asked with the request."""
        self._turns.extend(turns)

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        for path in ("/v1/messages", "/v1/chat/completions", "/v1/responses"):
            app.router.add_post(path, self._answer)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        asked = Asked(http.path, dict(http.headers), await http.json())
        self.requests.append(asked)
        # Claude Code asks for a title beside the real request in some modes; nobody scripts that.
        turn = self._turns.popleft() if self._turns else Turn("stub: nothing more")
        turn = turn if isinstance(turn, Turn) else turn(asked)
        assert asked.body.get("stream"), "the real clients stream"
        events = {"messages": _messages, "completions": _chat, "responses": _responses}[http.path.rsplit("/", 1)[1]]
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        for event in events(turn, f"{next(self._ids)}", asked.body["model"]):
            await response.write(event)
        await response.write_eof()
        return response


def _sse(value: dict[str, Any], *, named: bool = True) -> bytes:
    name = f"event: {value['type']}\n" if named else ""
    return f"{name}data: {json.dumps(value)}\n\n".encode()


def _arguments(use: Use, *, wrapped: bool) -> str:
    if isinstance(use.arguments, str):
        return json.dumps({"input": use.arguments}) if wrapped else use.arguments
    return json.dumps(use.arguments)


def _pieces(text: str, size: int = 7) -> list[str]:
    return [text[at : at + size] for at in range(0, len(text), size)]


def _messages(turn: Turn, number: str, model: str) -> Iterator[bytes]:
    blocks: list[tuple[dict[str, Any], list[dict[str, Any]]]] = []
    if turn.text:
        texts = [{"type": "text_delta", "text": piece} for piece in _pieces(turn.text)]
        blocks.append(({"type": "text", "text": ""}, texts))
    for place, use in enumerate(turn.calls):
        head = {"type": "tool_use", "id": f"toolu_{number}_{place}", "name": use.tool, "input": {}}
        pieces = _pieces(_arguments(use, wrapped=True))
        blocks.append((head, [{"type": "input_json_delta", "partial_json": piece} for piece in pieces]))
    message = {"id": f"msg_{number}", "type": "message", "role": "assistant", "model": model, "content": []}
    usage = {"input_tokens": 11, "output_tokens": 1}
    yield _sse(
        {"type": "message_start", "message": {**message, "stop_reason": None, "stop_sequence": None, "usage": usage}}
    )
    for index, (block, deltas) in enumerate(blocks):
        yield _sse({"type": "content_block_start", "index": index, "content_block": block})
        for delta in deltas:
            yield _sse({"type": "content_block_delta", "index": index, "delta": delta})
        yield _sse({"type": "content_block_stop", "index": index})
    stop = {"stop_reason": "tool_use" if turn.calls else "end_turn", "stop_sequence": None}
    yield _sse({"type": "message_delta", "delta": stop, "usage": {"output_tokens": 7}})
    yield _sse({"type": "message_stop"})


def _chat(turn: Turn, number: str, model: str) -> Iterator[bytes]:
    head = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1700000000, "model": model}

    def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _sse({**head, "choices": [choice]}, named=False)

    yield chunk({"role": "assistant", "content": ""})
    for piece in _pieces(turn.text):
        yield chunk({"content": piece})
    for place, use in enumerate(turn.calls):
        function = {"name": use.tool, "arguments": ""}
        yield chunk(
            {"tool_calls": [{"index": place, "id": f"call_{number}_{place}", "type": "function", "function": function}]}
        )
    fragments = [_pieces(_arguments(use, wrapped=True)) for use in turn.calls]
    for row in itertools.zip_longest(*fragments):
        for place, piece in enumerate(row):
            if piece is not None:
                yield chunk({"tool_calls": [{"index": place, "function": {"arguments": piece}}]})
    yield chunk({}, "tool_calls" if turn.calls else "stop")
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18}
    yield _sse({**head, "choices": [], "usage": usage}, named=False)
    yield b"data: [DONE]\n\n"


def _responses(turn: Turn, number: str, model: str) -> Iterator[bytes]:
    response = {"id": f"resp_{number}", "object": "response", "created_at": 1700000000, "model": model, "output": []}
    yield _sse({"type": "response.created", "response": {**response, "status": "in_progress"}})
    items: list[dict[str, Any]] = []
    if turn.text:
        content = [{"type": "output_text", "text": turn.text, "annotations": []}]
        items.append({"type": "message", "role": "assistant", "status": "completed", "content": content})
    for place, use in enumerate(turn.calls):
        call = {"call_id": f"call_{number}_{place}", "name": use.tool, "status": "completed"}
        if isinstance(use.arguments, str):
            items.append({"type": "custom_tool_call", "input": use.arguments, **call})
        else:
            items.append({"type": "function_call", "arguments": _arguments(use, wrapped=False), **call})
    for index, item in enumerate(items):
        item["id"] = f"item_{number}_{index}"
        where = {"output_index": index, "item_id": item["id"]}
        begun: dict[str, Any] = {
            key: [] if key == "content" else "" if key in ("arguments", "input") else value
            for key, value in item.items()
        }
        yield _sse({"type": "response.output_item.added", "output_index": index, "item": begun})
        if item["type"] == "message":
            for piece in _pieces(turn.text):
                yield _sse({"type": "response.output_text.delta", **where, "content_index": 0, "delta": piece})
        if item["type"] == "function_call":
            for piece in _pieces(item["arguments"]):
                yield _sse({"type": "response.function_call_arguments.delta", **where, "delta": piece})
        yield _sse({"type": "response.output_item.done", "output_index": index, "item": item})
    usage = {
        "input_tokens": 11,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 7,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 18,
    }
    yield _sse(
        {"type": "response.completed", "response": {**response, "status": "completed", "output": items, "usage": usage}}
    )
