"""A stub model server: it speaks the OpenAI Responses API on loopback and does what a script tells it.

In the test's own process:

    async with StubModel() as stub:
        gate = stub.gate()
        stub.script(Text("one "), gate, Text("two"))
        ...                     # point Codex to stub.base_url and start a turn
        await gate.reached()    # Codex has got "one "
        gate.release()

Without a script it answers "stub: <last user text>". As a process of its own, `python -m tests.support.stub_model
--port 0` prints its port as the first line and is told what to do over HTTP; `RemoteStub` does that:

    POST /_script                 a `Script` as JSON, or a list of them
    POST /_reset                  forget scripts, requests and gates
    GET  /_requests               what was received
    POST /_gates/NAME/release
    GET  /_gates/NAME/reached     answers when the stream is held there
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import stat
import sys
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, Self

import aiohttp
import msgspec
from aiohttp import web
from codex_supervisor.demo.responses import ModelRequest

from tests.support.model_answer import Answer
from tests.support.model_script import Gate, Script, Step, Text

# A request of Codex has 10 to 40 KB: the record stays under 10 MB.
MAX_RECORDED_REQUESTS = 256
MAX_REQUEST_BYTES = 256 * 1024 * 1024
# A gate that nobody releases is a bug of the test; it must show before the test's own time limit.
GATE_TIMEOUT_S = 60.0


class RecordedRequest:
    """One request as it came in. `raw` is the body; `parsed` the part of it that the stub reads."""

    def __init__(self, number: int, path: str, headers: dict[str, str], raw: bytes) -> None:
        self.number = number
        self.path = path
        self.headers = headers
        self.raw = raw
        self.parsed = ModelRequest.from_json(raw) if raw else ModelRequest()
        self.finished = False
        """Whether its answer was sent to the end."""
        self.abandoned = False
        """Whether the client left before that."""

    def __repr__(self) -> str:
        state = "finished" if self.finished else "abandoned" if self.abandoned else "open"
        return f"<RecordedRequest {self.number} {self.path} {state} last_user_text={self.last_user_text[:60]!r}>"

    @property
    def body(self) -> dict[str, Any]:
        """The whole body, decoded."""
        decoded: dict[str, Any] = msgspec.json.decode(self.raw)
        return decoded

    @property
    def input(self) -> list[dict[str, Any]]:
        """The whole conversation that Codex sent."""
        items: list[dict[str, Any]] = self.body["input"]
        return items

    @property
    def last_user_text(self) -> str:
        """What the person said last."""
        return self.parsed.last_user_text

    @property
    def user_texts(self) -> tuple[str, ...]:
        """What the person said, oldest first."""
        return self.parsed.user_texts

    @property
    def tool_outputs(self) -> tuple[str, ...]:
        """Outputs of the tool calls since then; not empty means that the turn continues."""
        return self.parsed.tool_outputs


class GateHandle:
    """A point in a script at which the stream waits for the test."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._reached = asyncio.Event()
        self._released = asyncio.Event()

    def __repr__(self) -> str:
        state = "released" if self._released.is_set() else "held" if self._reached.is_set() else "not reached"
        return f"<Gate {self.name} {state}>"

    @property
    def step(self) -> Gate:
        """The step to put into a script; `StubModel.script` takes the handle itself too."""
        return Gate(self.name)

    async def reached(self, timeout_s: float = 20.0) -> None:
        """Wait until a stream is held here."""
        try:
            await asyncio.wait_for(self._reached.wait(), timeout_s)
        except TimeoutError:
            raise AssertionError(f"no stream reached {self!r} in {timeout_s} s") from None

    def release(self) -> None:
        """Let the stream go on, this one and later ones."""
        self._released.set()

    async def hold(self) -> None:
        """Called by the stub: wait for `release`."""
        self._reached.set()
        await asyncio.wait_for(self._released.wait(), GATE_TIMEOUT_S)


class StubModel:
    """The server; an async context manager. Listens on 127.0.0.1, `port` 0 means any free one."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.requests: deque[RecordedRequest] = deque(maxlen=MAX_RECORDED_REQUESTS)
        """The latest requests for an answer, oldest first."""
        self.upgrade_requests = 0
        self._received = 0
        self._scripts: list[Script] = []
        self._gates: dict[str, GateHandle] = {}
        self._arrived = asyncio.Condition()
        self._runner: web.AppRunner | None = None
        self._site: web.TCPSite | None = None

    def __repr__(self) -> str:
        return f"<StubModel port={self.port} received={self._received} scripts={len(self._scripts)}>"

    @property
    def base_url(self) -> str:
        """What a provider's `base_url` is set to."""
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def received(self) -> int:
        """How many requests for an answer came in, also those that `requests` has forgotten."""
        return self._received

    async def __aenter__(self) -> Self:
        app = web.Application(client_max_size=MAX_REQUEST_BYTES)
        app.router.add_post("/v1/responses", self._respond)
        app.router.add_get("/v1/responses", self._refuse_upgrade)
        app.router.add_get("/v1/models", self._list_models)
        app.router.add_post("/_script", self._control_script)
        app.router.add_post("/_reset", self._control_reset)
        app.router.add_get("/_requests", self._control_requests)
        app.router.add_post("/_gates/{name}/release", self._control_release)
        app.router.add_get("/_gates/{name}/reached", self._control_reached)
        # With handler_cancellation a client that leaves ends its handler: stalls need no other end.
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.05)
        await self._runner.setup()
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._runner is not None
        await self._runner.cleanup()
        self._runner = self._site = None

    async def listen(self) -> None:
        """Accept connections, on the same port as before."""
        assert self._runner is not None
        assert self._site is None
        self._site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await self._site.start()
        self.port = self._runner.addresses[0][1]

    async def refuse(self) -> None:
        """Stop listening, so that new connections are refused; open ones go on. `listen` ends it."""
        assert self._site is not None
        await self._site.stop()
        self._site = None

    def script(
        self, *steps: Step | GateHandle, when: str = "", times: int | None = 1, continues: bool | None = None
    ) -> None:
        """Queue a script; the oldest one that matches a request is taken. See `Script`."""
        plain = tuple(step.step if isinstance(step, GateHandle) else step for step in steps)
        self._scripts.append(Script(plain, when, times, continues))

    def gate(self, name: str | None = None) -> GateHandle:
        """The gate of this name, or a new one."""
        name = name if name is not None else f"gate{len(self._gates) + 1}"
        return self._gates.setdefault(name, GateHandle(name))

    def reset(self) -> None:
        """Forget scripts, gates and requests. Streams that are held at a gate go on."""
        for gate in self._gates.values():
            gate.release()
        self._gates.clear()
        self._scripts.clear()
        self.requests.clear()

    async def wait_for_requests(self, count: int, timeout_s: float = 20.0) -> RecordedRequest:
        """Wait until `count` requests for an answer came in altogether; returns the latest one."""

        def enough() -> bool:
            return self._received >= count

        async with self._arrived:
            try:
                await asyncio.wait_for(self._arrived.wait_for(enough), timeout_s)
            except TimeoutError:
                raise AssertionError(f"{self._received} of {count} requests came in {timeout_s} s") from None
        return self.requests[-1]

    # The API.

    async def _respond(self, http: web.Request) -> web.StreamResponse:
        self._received += 1
        recorded = RecordedRequest(self._received, http.path_qs, dict(http.headers), await http.read())
        self.requests.append(recorded)
        async with self._arrived:
            self._arrived.notify_all()
        answer = Answer(http, recorded.number, recorded.parsed, lambda name: self.gate(name).hold())
        try:
            response = await answer.perform(self._take_script(recorded.parsed))
        except (asyncio.CancelledError, ConnectionError):
            recorded.abandoned = True
            raise
        recorded.finished = True
        return response

    def _take_script(self, request: ModelRequest) -> tuple[Step, ...]:
        continues = bool(request.tool_outputs)
        for script in self._scripts:
            if script.matches(request.last_user_text, continues=continues):
                if script.times is not None:
                    script.times -= 1
                    if script.times == 0:
                        self._scripts.remove(script)
                return script.steps
        return (Text(f"stub: {request.last_user_text}"),)

    async def _refuse_upgrade(self, http: web.Request) -> web.Response:
        self.upgrade_requests += 1
        return web.Response(status=426, headers={"Connection": "close"})

    async def _list_models(self, http: web.Request) -> web.Response:
        return web.json_response({"models": []})

    # The control endpoint of a stub in its own process.

    async def _control_script(self, http: web.Request) -> web.Response:
        scripts = msgspec.json.decode(await http.read(), type=Script | list[Script])
        self._scripts.extend(scripts if isinstance(scripts, list) else [scripts])
        return web.Response()

    async def _control_reset(self, http: web.Request) -> web.Response:
        self.reset()
        return web.Response()

    async def _control_requests(self, http: web.Request) -> web.Response:
        listed = [
            {
                "number": request.number,
                "finished": request.finished,
                "abandoned": request.abandoned,
                "last_user_text": request.last_user_text,
                "body": msgspec.Raw(request.raw),
            }
            for request in self.requests
        ]
        return web.Response(body=msgspec.json.encode(listed), content_type="application/json")

    async def _control_release(self, http: web.Request) -> web.Response:
        self.gate(http.match_info["name"]).release()
        return web.Response()

    async def _control_reached(self, http: web.Request) -> web.Response:
        await self.gate(http.match_info["name"]).reached(GATE_TIMEOUT_S)
        return web.Response()


class RemoteStub:
    """Tells a stub model in another process what to do."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._url = f"http://127.0.0.1:{port}"

    async def script(self, *steps: Step, when: str = "", times: int | None = 1, continues: bool | None = None) -> None:
        """See `StubModel.script`."""
        await self._post("/_script", msgspec.json.encode(Script(steps, when, times, continues)))

    async def reset(self) -> None:
        """See `StubModel.reset`."""
        await self._post("/_reset", b"")

    def gate(self, name: str) -> Gate:
        """A gate for a script."""
        return Gate(name)

    async def release(self, gate: str) -> None:
        """Let the streams at this gate go on."""
        await self._post(f"/_gates/{gate}/release", b"")

    async def wait_for_gate(self, gate: str) -> None:
        """Wait until a stream is held at this gate."""
        async with self._session() as session, session.get(f"/_gates/{gate}/reached"):
            pass

    async def requests(self) -> list[dict[str, Any]]:
        """What came in: `number`, `finished`, `abandoned`, `last_user_text`, `body`."""
        async with self._session() as session, session.get("/_requests") as response:
            listed: list[dict[str, Any]] = await response.json()
            return listed

    async def _post(self, path: str, body: bytes) -> None:
        async with self._session() as session, session.post(path, data=body):
            pass

    @contextlib.asynccontextmanager
    async def _session(self) -> AsyncIterator[aiohttp.ClientSession]:
        async with aiohttp.ClientSession(self._url, raise_for_status=True) as session:
            yield session


async def _serve(port: int) -> None:
    async with StubModel(port) as stub:
        print(stub.port, flush=True)
        if stat.S_ISFIFO(os.fstat(sys.stdin.fileno()).st_mode):
            # It ends with its parent's pipe, so that a test that was killed leaves no stub behind.
            reader = asyncio.StreamReader()
            await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
            await reader.read()
        else:
            await asyncio.Event().wait()


def main() -> None:
    """Run until a signal, or until standard input ends where it is a pipe."""
    parser = argparse.ArgumentParser(description="a stub model server for tests")
    parser.add_argument("--port", type=int, default=0)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
