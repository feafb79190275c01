"""The demo model: a model server for people who want to try the service and have no Codex login.

It is honest about what it is: every answer says that it comes from a small program and no AI. It listens on loopback
only and wants a random bearer token, since loopback is open to every user of the machine. Codex gets the token through
the environment variable `TOKEN_NAME` and everything else through `-c` values, so the person's own config.toml stays as
it is.
"""

from __future__ import annotations

import asyncio
import hmac
import itertools
import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from codex_control.errors import BadConfig

from codex_supervisor.demo.answers import demo_answer
from codex_supervisor.demo.catalog import model_catalog
from codex_supervisor.demo.responses import SSE_CONTENT_TYPE, ModelRequest, ResponseStream

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aiohttp import web

MODEL = "codex-supervisor-demo"
TOKEN_NAME = "CODEX_SUPERVISOR_DEMO_TOKEN"  # noqa: S105 - the name of a variable

# A request holds the whole conversation; the model forgets nothing, but one that is larger is no demonstration.
MAX_REQUEST_BYTES = 64 * 1024 * 1024
CONTEXT_WINDOW = 100_000
# Answers that are under way when the service stops are cut: there is nothing in them to wait for.
SHUTDOWN_TIMEOUT_S = 0.1


def demo_overrides(port: int) -> tuple[str, ...]:
    """The `key=value` settings that make Codex use the demo model on `port`, each for one `-c`."""
    base_url = f"http://127.0.0.1:{port}/v1"
    provider = {
        "name": "Demo model (no AI)",
        "base_url": base_url,
        "wire_api": "responses",
        "env_key": TOKEN_NAME,
        "model_catalog_url": f"{base_url}/models",
    }
    # Every one of these values reads the same in JSON and in TOML.
    return (
        f'model="{MODEL}"',
        'model_provider="demo"',
        *(f"model_providers.demo.{key}={json.dumps(value)}" for key, value in provider.items()),
        "tools.update_plan.enabled=true",
        "check_for_update_on_startup=false",
        "features.plugins=false",
        "analytics.enabled=false",
    )


class Kept(msgspec.Struct, frozen=True):
    """What the next demo model takes over from this one."""

    port: int = 0
    token: str = ""


async def start_demo_model(file: Path, codex: str = "codex") -> DemoModel:
    """Start the demo model where the last one was, with its token, so that children which outlived it go on.

    `file` (0600) holds both; where it is not readable, or the port is taken, new ones are made.
    Raises `BadConfig` where the extra `demo` is not installed.
    """
    kept = _read_kept(file)
    model = DemoModel(kept.token, codex)
    try:
        port = await model.start(kept.port)
    except BadConfig:
        if not kept.port:
            raise
        port = await model.start()
    _write_kept(file, Kept(port, model.environment[TOKEN_NAME]))
    return model


def _read_kept(file: Path) -> Kept:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Kept)
    except (OSError, msgspec.DecodeError):
        return Kept()


def _write_kept(file: Path, kept: Kept) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as written:
        written.write(msgspec.json.encode(kept))


class DemoModel:
    """The server. `start` it, give `demo_overrides(port)` and `environment` to Codex, `stop` it."""

    def __init__(self, token: str = "", codex: str = "codex") -> None:
        """`codex` is what a person calls Codex by."""
        self._codex = codex
        self.port = 0
        self._token = token or secrets.token_urlsafe(32)
        self._numbers = itertools.count(1)
        self._runner: web.AppRunner | None = None

    def __repr__(self) -> str:
        return f"<DemoModel {f'port={self.port}' if self._runner else 'stopped'}>"

    @property
    def environment(self) -> dict[str, str]:
        """The variable that Codex must have in its environment. A secret: never log it."""
        return {TOKEN_NAME: self._token}

    async def start(self, port: int = 0) -> int:
        """Listen on 127.0.0.1 and return the port; 0 takes any free one.

        Raises `BadConfig` where the port is taken or the extra `demo` is not installed.
        """
        try:
            from aiohttp import web
        except ImportError as error:
            raise BadConfig(
                what="the demo model cannot start",
                why="it needs the package aiohttp",
                next_step="run `pip install 'codex-supervisor[demo]'`, or log in with `codex login` and leave it off",
            ) from error

        @web.middleware
        async def with_token(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            given = request.headers.get("Authorization", "")
            if not hmac.compare_digest(given.encode(), f"Bearer {self._token}".encode()):
                return _error(401, "invalid_api_key", f"The demo model wants the token in {TOKEN_NAME}.")
            return await handler(request)

        # With handler_cancellation a Codex that died ends its answer.
        app = web.Application(client_max_size=MAX_REQUEST_BYTES, middlewares=[with_token])
        app.router.add_post("/v1/responses", self._respond)
        app.router.add_get("/v1/responses", _refuse_upgrade)
        app.router.add_get("/v1/models", _list_models)
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=SHUTDOWN_TIMEOUT_S)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
        except OSError as error:
            await runner.cleanup()
            raise BadConfig(
                what=f"the demo model cannot listen on port {port} of 127.0.0.1",
                why=error.strerror or str(error),
                next_step="choose another port, or 0 for any free one",
            ) from error
        self._runner = runner
        self.port = runner.addresses[0][1]
        return self.port

    async def stop(self) -> None:
        """Stop listening and cut the answers under way. Stopping twice does no harm."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _respond(self, http: web.Request) -> web.StreamResponse:
        from aiohttp import web

        try:
            request = ModelRequest.from_json(await http.read())
        except msgspec.DecodeError as error:
            return _error(400, "invalid_request_error", f"The demo model does not understand this request: {error}")
        response = web.StreamResponse(headers={"Content-Type": SSE_CONTENT_TYPE, "Cache-Control": "no-store"})
        await response.prepare(http)
        for pause_s, data in demo_answer(request, ResponseStream(f"resp_{next(self._numbers)}", MODEL), self._codex):
            if pause_s:
                await asyncio.sleep(pause_s)
            await response.write(data)
        await response.write_eof()
        return response


async def _refuse_upgrade(_http: web.Request) -> web.Response:
    from aiohttp import web

    return web.Response(status=426)


async def _list_models(_http: web.Request) -> web.Response:
    from aiohttp import web

    catalog = model_catalog(MODEL, "Demo model", "A small program, no AI.", context_window=CONTEXT_WINDOW)
    return web.json_response(catalog)


def _error(status: int, code: str, message: str) -> web.Response:
    from aiohttp import web

    return web.json_response({"error": {"type": code, "code": code, "message": message}}, status=status)
