"""Talk to a `codex app-server` in tests, the real one or the stand-in: the thinnest client that can be.

It checks nothing and hides nothing: tests of the product's own client, of the stand-in and of bare Codex (the limit in
the benchmarks) all need the wire as it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import socket as socketlib
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import msgspec
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import ConnectionClosed

from tests.support.waiting import wait_for

Message = dict[str, Any]

READY_TIMEOUT_S = 20.0


class RpcError(Exception):
    """The server answered with an error."""

    def __init__(self, error: Message) -> None:
        super().__init__(error)
        self.code: int = error["code"]
        self.message: str = error["message"]


class AppServerClient:
    """One connection. `messages` holds everything that came in but the answers, oldest first."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._news = asyncio.Condition()
        self._ended = False
        self.messages: list[Message] = []

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(cls, socket: Path) -> AsyncIterator[Self]:
        """Connect and read until the context ends."""
        # The message limit and the compression are off: Codex's messages have no bound, and it compresses none.
        async with unix_connect(str(socket), "ws://localhost/", max_size=None, compression=None) as connection:
            client = cls(connection)
            reading = asyncio.get_running_loop().create_task(client._read())
            try:
                yield client
            finally:
                reading.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await reading

    async def request(self, method: str, params: object = None, timeout_s: float = 20.0) -> Message:
        """Send a request and return its result. Raises `RpcError`, `ConnectionError` where the server is gone."""
        number = next(self._numbers)
        answer: asyncio.Future[Message] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        await self.send({"id": number, "method": method, "params": params if params is not None else {}})
        reply = await asyncio.wait_for(answer, timeout_s)
        if "error" in reply:
            raise RpcError(reply["error"])
        result: Message = reply["result"]
        return result

    async def initialize(self, experimental: bool = True) -> Message:
        """Do the handshake."""
        info = {"name": "tests", "title": None, "version": "0"}
        result = await self.request(
            "initialize", {"clientInfo": info, "capabilities": {"experimentalApi": experimental}}
        )
        await self.send({"method": "initialized"})
        return result

    async def post(self, method: str, params: object) -> None:
        """Send a request and drop its answer."""
        await self.send({"id": next(self._numbers), "method": method, "params": params})

    async def send(self, message: Message) -> None:
        """Send a message as it is."""
        await self._connection.send(msgspec.json.encode(message).decode())

    async def wait_for_message(self, method: str, count: int = 1, timeout_s: float = 20.0) -> Message:
        """Wait until `count` messages of this method are in `messages`; returns the last of these."""

        def found() -> bool:
            return len(self.of_method(method)) >= count or self._ended

        async with self._news:
            try:
                await asyncio.wait_for(self._news.wait_for(found), timeout_s)
            except TimeoutError:
                raise AssertionError(f"no {method} in {timeout_s} s, only {self.methods}") from None
        if len(self.of_method(method)) < count:
            raise ConnectionError(f"the server left before it sent {method}")
        return self.of_method(method)[count - 1]

    def of_method(self, method: str) -> list[Message]:
        """The messages of one method."""
        return [message for message in self.messages if message.get("method") == method]

    @property
    def methods(self) -> list[str]:
        """The methods of all messages."""
        return [message.get("method", "?") for message in self.messages]

    async def ask(self, thread_id: str, text: str, **more: object) -> Message:
        """Run one turn to its end and return the parameters of `turn/completed`."""
        before = len(self.of_method("turn/completed"))
        content = [{"type": "text", "text": text}] if text else []
        await self.request("turn/start", {"threadId": thread_id, "input": content, **more})
        message = await self.wait_for_message("turn/completed", before + 1)
        params: Message = message["params"]
        return params

    def answer(self) -> str:
        """The text of the last completed message of the model."""
        items = [message["params"]["item"] for message in self.of_method("item/completed")]
        texts: list[str] = [item["text"] for item in items if item["type"] == "agentMessage"]
        return texts[-1]

    async def _read(self) -> None:
        try:
            async for data in self._connection:
                await self._take(msgspec.json.decode(data))
        except ConnectionClosed:
            pass
        finally:
            self._ended = True
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("the server left"))
            async with self._news:
                self._news.notify_all()

    async def _take(self, message: Message) -> None:
        if "method" not in message:
            answer = self._waiting.pop(message["id"], None)
            if answer is not None and not answer.done():
                answer.set_result(message)
            return
        self.messages.append(message)
        async with self._news:
            self._news.notify_all()


def accepts(path: Path) -> bool:
    """Whether somebody listens on a Unix socket."""
    # That the file is there says nothing: it appears at bind, and connections are refused until listen.
    with socketlib.socket(socketlib.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
    return True


@contextlib.asynccontextmanager
async def app_server(
    codex: Path, socket: Path, environment: Mapping[str, str], arguments: Sequence[str] = ()
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `codex app-server` on `socket`, wait until it listens, and kill it at the end.

    Kills its process group, and leaves what went into sessions of its own to the test.
    """
    process = await asyncio.create_subprocess_exec(
        str(codex),
        *(*arguments, "app-server", "--listen", f"unix://{socket}"),
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        await wait_for(
            lambda: process.returncode is not None or accepts(socket), READY_TIMEOUT_S, "the socket to accept"
        )
        assert process.returncode is None, f"codex app-server ended with {process.returncode}"
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
