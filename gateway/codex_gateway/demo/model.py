"""The demo model's server, and the endpoint that leads the gateway to it.

It speaks Chat Completions alone: what Claude Code and Codex see of it went through the gateway's own conversions.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from typing import Any, Self

import msgspec
from aiohttp import web

from codex_gateway.config.endpoint import Auth, Endpoint, Rewrite
from codex_gateway.config.model import Config
from codex_gateway.demo.answers import Request, demo_deltas
from codex_gateway.dialect.neutral import Dialect

NAME = "demo"
MODEL = "demo"
LAST_PRIORITY = 1_000_000
MAX_REQUEST_BYTES = 64 * 1024 * 1024
_encode = msgspec.json.Encoder().encode
_read = msgspec.json.Decoder(Request).decode


class DemoModel:
    """The server; an async context manager. Its port is taken when it is made, so that the endpoint can name it."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._port = int(self._socket.getsockname()[1])
        # Loopback is open to every user; the gateway alone has this.
        self._key = secrets.token_urlsafe(32)

    def __repr__(self) -> str:
        return f"<DemoModel port={self._port}>"

    async def __aenter__(self) -> Self:
        """Serve."""
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/v1/chat/completions", self._answer)
        app.router.add_get("/v1/models", self._models)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop."""
        await self._runner.cleanup()

    def add_to(self, config: Config) -> Config:
        """The configuration with the demo model as its last endpoint: for every model where no other endpoint is
        enabled, else only for the model `demo`."""
        alone = not any(endpoint.enabled for endpoint in config.endpoints)
        taken = {endpoint.name for endpoint in config.endpoints}
        name = NAME
        while name in taken:
            name += " (built in)"
        endpoint = Endpoint(
            name=name,
            url=f"http://127.0.0.1:{self._port}/v1",
            dialects=(Dialect.CHAT,),
            auth=Auth(bearer=self._key),
            priority=LAST_PRIORITY,
            models=() if alone else (MODEL,),
            model_rewrite=(Rewrite(source_pattern="*", target_model=MODEL),) if alone else (),
        )
        return msgspec.structs.replace(config, endpoints=(*config.endpoints, endpoint))

    def _refused(self, http: web.Request) -> web.Response | None:
        if secrets.compare_digest(http.headers.get("Authorization", "").encode(), f"Bearer {self._key}".encode()):
            return None
        error = {"message": "only the gateway may ask the demo model", "type": "authentication_error"}
        return web.json_response({"error": error}, status=401)

    async def _models(self, http: web.Request) -> web.Response:
        listed = {"id": MODEL, "object": "model", "owned_by": "codex-gateway", "display_name": "Demo model, no AI"}
        return self._refused(http) or web.json_response({"object": "list", "data": [listed]})

    async def _answer(self, http: web.Request) -> web.StreamResponse:
        refused = self._refused(http)
        if refused is not None:
            return refused
        try:
            request = _read(await http.read())
        except msgspec.MsgspecError as error:
            return web.json_response({"error": {"message": str(error), "type": "invalid_request_error"}}, status=400)
        head = {"id": f"chatcmpl-{secrets.token_hex(8)}", "created": 0, "model": request.model}
        if not request.stream:
            return web.json_response(body=_encode(_whole(request, head)))
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(http)
        head["object"] = "chat.completion.chunk"
        finish, characters = "stop", 0
        for pause_s, delta in demo_deltas(request):
            await asyncio.sleep(pause_s)
            finish = "tool_calls" if "tool_calls" in delta else finish
            characters += len(delta.get("content", ""))
            choice = {"index": 0, "delta": delta, "finish_reason": None}
            await response.write(b"data: %b\n\n" % _encode({**head, "choices": [choice]}))
        last = {"index": 0, "delta": {}, "finish_reason": finish}
        await response.write(b"data: %b\n\n" % _encode({**head, "choices": [last]}))
        await response.write(
            b"data: %b\n\ndata: [DONE]\n\n" % _encode({**head, "choices": [], "usage": _usage(request, characters)})
        )
        await response.write_eof()
        return response


def _whole(request: Request, head: dict[str, Any]) -> dict[str, Any]:
    text, calls = "", []
    for _, delta in demo_deltas(request):
        text += delta.get("content", "")
        calls += [{key: value for key, value in call.items() if key != "index"} for call in delta.get("tool_calls", [])]
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if calls:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if calls else "stop"}
    return {**head, "object": "chat.completion", "choices": [choice], "usage": _usage(request, len(text))}


def _usage(request: Request, characters: int) -> dict[str, int]:
    # For show: a token is about four characters.
    given, said = sum(len(one.text) for one in request.messages) // 4, characters // 4
    return {"prompt_tokens": given, "completion_tokens": said, "total_tokens": given + said}
