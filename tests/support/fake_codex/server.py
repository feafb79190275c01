"""The stand-in's app-server: WebSocket connections, requests, notifications to whoever follows a thread."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import sys
import time
import uuid
from pathlib import Path
from typing import Any

import msgspec
from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from tests.support.fake_codex.knobs import Knobs
from tests.support.fake_codex.threads import DIRECTORY, Json, Thread, ThreadError, load
from tests.support.fake_codex.turn import Running

MODEL = "fake-model"


class Client:
    """One connection. Frames wait in a queue without a bound: the real one has no back-pressure either."""

    def __init__(self, connection: ServerConnection) -> None:
        self.connection = connection
        self.initialized = False
        self.opted_out: frozenset[str] = frozenset()
        self.follows: set[str] = set()
        self.queue: asyncio.Queue[bytes] = asyncio.Queue()

    def send(self, message: Json) -> None:
        self.queue.put_nowait(msgspec.json.encode(message))

    async def write(self) -> None:
        """Send what is queued, until the connection ends."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                data = await self.queue.get()
                try:
                    # A text frame, also where its bytes are none.
                    await self.connection.send(data, text=True)
                finally:
                    self.queue.task_done()


def _provider(arguments: list[str]) -> str | None:
    """The provider that `-c` names."""
    prefix = "model_provider="
    return next((word.removeprefix(prefix).strip('"') for word in arguments if word.startswith(prefix)), None)


class Server:
    """The state of one app-server process."""

    def __init__(self, home: Path, knobs: Knobs, on_ready: asyncio.Event) -> None:
        self.knobs = knobs
        self.memory = bytearray()
        self._home = home
        self._on_ready = on_ready
        self._clients: set[Client] = set()
        self._threads: dict[str, Thread] = {}
        self._running: dict[str, tuple[Running, asyncio.Task[None]]] = {}
        self._request_ids = itertools.count()
        # Requests of ours that wait for a reply, with the thread that they belong to.
        self._asked: dict[int, tuple[str, Json, asyncio.Future[Any]]] = {}

    @property
    def turns(self) -> list[asyncio.Task[None]]:
        """The turns that run."""
        return [task for _, task in self._running.values()]

    async def serve(self, connection: ServerConnection) -> None:
        """Serve one connection to its end. Turns go on without it."""
        client = Client(connection)
        self._clients.add(client)
        writing = asyncio.get_running_loop().create_task(client.write())
        try:
            async for frame in connection:
                self._take(client, msgspec.json.decode(frame))
        except ConnectionClosed:
            pass
        finally:
            self._clients.discard(client)
            writing.cancel()

    # What turns need: see `turn.Outside`.

    def notify(self, thread_id: str | None, method: str, params: Json) -> None:
        message = {"method": method, "params": params, "emittedAtMs": time.time_ns() // 1_000_000}
        for client in self._clients:
            follows = thread_id is None or thread_id in client.follows
            if follows and client.initialized and method not in client.opted_out:
                client.send(message)

    def send_raw(self, thread_id: str, data: bytes) -> None:
        for client in self._clients:
            if thread_id in client.follows:
                client.queue.put_nowait(data)

    async def ask(self, thread_id: str, method: str, params: Json) -> Any:
        number = next(self._request_ids)
        message = {"method": method, "id": number, "params": params}
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._asked[number] = (thread_id, message, answer)
        for client in self._clients:
            if thread_id in client.follows:
                client.send(message)
        try:
            return await answer
        finally:
            del self._asked[number]
            self.notify(thread_id, "serverRequest/resolved", {"threadId": thread_id, "requestId": number})

    async def drain(self) -> None:
        for client in list(self._clients):
            await client.queue.join()

    # Requests.

    def _take(self, client: Client, message: Json) -> None:
        if "method" not in message:
            self._take_reply(message)
        elif "id" in message:
            self._answer(client, message["id"], message["method"], message.get("params") or {})

    def _take_reply(self, message: Json) -> None:
        if self.knobs.ignores_replies or message["id"] not in self._asked:
            return
        _, _, answer = self._asked[message["id"]]
        if not answer.done():
            answer.set_result(message.get("result"))

    def _answer(self, client: Client, number: Any, method: str, params: Json) -> None:
        def reply(result: Json) -> None:
            client.send({"id": number, "result": result})

        if method in self.knobs.silent_methods:
            return
        try:
            self._check(client, method)
            if method == "initialize":
                self._initialize(client, params, reply)
            elif method == "turn/start":
                self._start_turn(self._loaded(params), params, reply)
            else:
                reply(self._result(client, method, params))
        except ThreadError as error:
            client.send({"id": number, "error": {"code": -32600, "message": str(error)}})
            return
        if method == "thread/resume":
            # A pending request comes again, with the same id, to whoever joins.
            for thread_id, message, _ in self._asked.values():
                if thread_id == params["threadId"]:
                    client.send(message)

    def _check(self, client: Client, method: str) -> None:
        if method in self.knobs.failing_methods:
            raise ThreadError(self.knobs.failing_methods[method])
        if not client.initialized and method != "initialize":
            raise ThreadError("Not initialized")

    def _initialize(self, client: Client, params: Json, reply: Any) -> None:
        if not self.knobs.answers_initialize:
            return
        capabilities = params.get("capabilities") or {}
        client.opted_out = frozenset(capabilities.get("optOutNotificationMethods") or ())
        client.initialized = True
        name = params["clientInfo"]["name"]
        reply(
            {
                "userAgent": f"{name}/{self.knobs.version} (Fake 1; any) unknown ({name}; 0)",
                "codexHome": str(self._home),
                "platformFamily": "unix",
                "platformOs": os.uname().sysname.lower(),
            }
        )
        if self.knobs.config_warning:
            self.notify(None, "configWarning", {"summary": self.knobs.config_warning, "details": None})
        self._on_ready.set()

    def _result(self, client: Client, method: str, params: Json) -> Json:
        match method:
            case "thread/start":
                return self._start_thread(client, params)
            case "thread/resume":
                thread = self._load(params["threadId"])
                client.follows.add(thread.id)
                return self._described(thread, full=not params.get("excludeTurns"))
            case "thread/read":
                thread = self._threads.get(params["threadId"]) or self._load(params["threadId"])
                return {"thread": thread.to_json(full=bool(params.get("includeTurns")))}
            case "thread/turns/list":
                return self._list_turns(self._loaded(params), params)
            case "thread/revert":
                thread = self._loaded(params)
                thread.revert(params["beforeTurnId"])
                return {"thread": thread.to_json(full=False)}
            case "thread/loaded/list":
                return {"data": list(self._threads), "nextCursor": None}
            case "thread/unsubscribe":
                known = params["threadId"] in client.follows
                client.follows.discard(params["threadId"])
                return {"status": "unsubscribed" if known else "notSubscribed"}
            case "thread/backgroundTerminals/clean":
                self._loaded(params)
                return {}
            case "turn/steer":
                running = self._running_turn(params, "expectedTurnId")
                running.steer(params)
                return {"turnId": running.id}
            case "turn/interrupt":
                self._running_turn(params, "turnId")
                self._running[params["threadId"]][1].cancel()
                return {}
            case "config/read":
                return {"config": {"model_provider": _provider(sys.argv)}, "origins": {}}
            case "account/read":
                return {"account": None, "requiresOpenaiAuth": False}
            case _:
                raise ThreadError(f"Invalid request: unknown variant `{method}`")

    def _start_thread(self, client: Client, params: Json) -> Json:
        if self.knobs.config_warning:
            raise ThreadError(f"failed to load configuration: {self.knobs.config_warning}")
        settings = {"cwd": params.get("cwd") or str(Path.cwd()), "model": params.get("model") or MODEL}
        thread = Thread(self._home / DIRECTORY, str(uuid.uuid4()), settings)
        self._threads[thread.id] = thread
        client.follows.add(thread.id)
        return self._described(thread, full=False)

    def _described(self, thread: Thread, *, full: bool) -> Json:
        return {
            "thread": thread.to_json(full=full),
            "model": thread.settings["model"],
            "modelProvider": "fake",
            "cwd": thread.settings["cwd"],
            "approvalPolicy": "on-request",
            "approvalsReviewer": "user",
            "sandbox": {"type": "readOnly", "networkAccess": False},
            "reasoningEffort": None,
        }

    def _list_turns(self, thread: Thread, params: Json) -> Json:
        turns = thread.turns if params.get("sortDirection") == "asc" else thread.turns[::-1]
        limit = params.get("limit") or 100
        view = params.get("itemsView") or "summary"
        rest = "more" if len(turns) > limit else None
        return {"data": [turn.to_json(view) for turn in turns[:limit]], "nextCursor": rest, "backwardsCursor": None}

    def _start_turn(self, thread: Thread, params: Json, reply: Any) -> None:
        if thread.id in self._running:
            # The real one takes it for a steer, without a word.
            running, _ = self._running[thread.id]
            assert thread.active is not None
            running.steer(params)
            reply({"turn": thread.active.to_json("notLoaded")})
            return
        running = Running(self, thread, params)
        task = asyncio.get_running_loop().create_task(running.run(reply))
        self._running[thread.id] = (running, task)
        task.add_done_callback(lambda _: self._running.pop(thread.id))

    def _running_turn(self, params: Json, key: str) -> Running:
        self._loaded(params)
        running, _ = self._running.get(params["threadId"], (None, None))
        if running is None:
            raise ThreadError("no active turn")
        if running.id != params[key]:
            raise ThreadError(f"expected active turn id {params[key]} but found {running.id}")
        return running

    def _loaded(self, params: Json) -> Thread:
        thread = self._threads.get(params["threadId"])
        if thread is None:
            raise ThreadError(f"thread not found: {params['threadId']}")
        return thread

    def _load(self, thread_id: str) -> Thread:
        if self.knobs.config_warning:
            raise ThreadError(f"failed to load configuration: {self.knobs.config_warning}")
        if thread_id not in self._threads:
            self._threads[thread_id] = load(self._home / DIRECTORY, thread_id)
        return self._threads[thread_id]
