"""The client against a server that does what a Codex should not."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from codex_control.errors import ChildFailed, LimitExceeded, TimedOut
from codex_supervisor.child import protocol
from codex_supervisor.child.appserver import MAX_PENDING_REQUESTS, AppServer
from codex_supervisor.child.exitwatch import ExitStatus
from codex_supervisor.child.requests import AppServerError
from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.exceptions import ConnectionClosed

from tests.support.waiting import wait_for

Handler = Callable[[ServerConnection, dict[str, Any]], Awaitable[None]]


class Server:
    """A server that greets as Codex does, and hands every other message to `handler`."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.received: list[dict[str, Any]] = []

    async def serve(self, connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for text in connection:
                message: dict[str, Any] = msgspec.json.decode(text)
                self.received.append(message)
                if message.get("method") == "initialize":
                    greeting = {"userAgent": "tests/9.9.9 (x)", "codexHome": "/h"}
                    await answer(connection, message, greeting)
                elif "id" in message:
                    await self.handler(connection, message)


async def answer(connection: ServerConnection, message: dict[str, Any], result: object) -> None:
    await connection.send(msgspec.json.encode({"id": message["id"], "result": result}).decode())


class Talk:
    """One client connected to one server, and what the client was told."""

    def __init__(self, server: Server, exited: asyncio.Future[ExitStatus]) -> None:
        self.server = server
        self.exited = exited
        self.notifications: list[protocol.Notification] = []
        self.requests: list[protocol.ServerRequest] = []
        self.client: AppServer


@contextlib.asynccontextmanager
async def talk(directory: Path, handler: Handler, max_message_bytes: int = 1 << 20) -> AsyncIterator[Talk]:
    path = directory / "s"
    made = Talk(Server(handler), asyncio.get_running_loop().create_future())
    async with unix_serve(made.server.serve, str(path), max_size=None):
        made.client = await AppServer.connect(
            path,
            exited=made.exited,
            deadline_s=5,
            on_notification=made.notifications.append,
            on_request=made.requests.append,
            max_message_bytes=max_message_bytes,
        )
        try:
            yield made
        finally:
            await made.client.close()


async def echo(connection: ServerConnection, message: dict[str, Any]) -> None:
    await answer(connection, message, {})


async def silence(connection: ServerConnection, message: dict[str, Any]) -> None:
    pass


async def test_handshake(short_runtime_dir: Path) -> None:
    async with talk(short_runtime_dir, echo) as made:
        await made.client.ping(5)
        first, second, third = made.server.received
        assert first["params"]["clientInfo"]["name"] == "codex-supervisor"
        assert first["params"]["capabilities"]["experimentalApi"] is True
        assert "thread/readState/changed" in first["params"]["capabilities"]["optOutNotificationMethods"]
        assert second == {"method": "initialized"}
        assert third == {"id": 2, "method": "thread/loaded/list", "params": {"limit": 1}}
        assert made.client.codex_version == "9.9.9"


async def test_a_refusal(short_runtime_dir: Path) -> None:
    async def refuse(connection: ServerConnection, message: dict[str, Any]) -> None:
        error = {"code": -32602, "message": "too long", "data": {"why": "input_too_large"}}
        await connection.send(msgspec.json.encode({"id": message["id"], "error": error}).decode())

    async with talk(short_runtime_dir, refuse) as made:
        with pytest.raises(AppServerError, match="Codex refused the request: too long") as caught:
            await made.client.ping(5)
        assert (caught.value.code, caught.value.data) == (-32602, {"why": "input_too_large"})


@pytest.mark.parametrize(
    "garbage",
    [
        b"not json",
        b"",
        b"[1,2]",
        b'{"method":"turn/started","params":{"threadId":5}}',
        b'{"method":"item/agentMessage/delta","params":{"delta":"\xff"}}',
        b'{"id":true,"result":{}}',
        b'{"method":"turn/started","params":' + b"[" * 100_000 + b"}",
        b"\xff\xfe",
    ],
)
async def test_garbage_is_skipped(short_runtime_dir: Path, garbage: bytes) -> None:
    async def garble(connection: ServerConnection, message: dict[str, Any]) -> None:
        await connection.send(garbage, text=True)
        await connection.send('{"method":"warning","params":{"message":"still here"}}')
        await answer(connection, message, {})

    async with talk(short_runtime_dir, garble) as made:
        await made.client.ping(5)
        assert made.client.malformed_total == 1
        assert made.notifications == [protocol.WarningNotification(message="still here")]


async def test_the_unknown_is_handed_over_by_name(short_runtime_dir: Path) -> None:
    async def surprise(connection: ServerConnection, message: dict[str, Any]) -> None:
        await connection.send('{"method":"moon/phase","params":{"phase":"full"}}')
        await connection.send('{"id":7,"method":"moon/land","params":{}}')
        # A known one whose parameters have changed: it must still be answered.
        await connection.send('{"id":"8","method":"item/tool/call","params":{"tool":5}}')
        await answer(connection, message, {"data": [1, 2], "news": 1})

    async with talk(short_runtime_dir, surprise) as made:
        await made.client.ping(5)
        assert made.notifications == [protocol.OtherNotification("moon/phase")]
        assert made.requests == [
            protocol.ServerRequest(7, "moon/land", protocol.OtherRequest("moon/land")),
            protocol.ServerRequest("8", "item/tool/call", protocol.OtherRequest("item/tool/call")),
        ]
        await made.client.reply_error(7, "no such thing")
        await made.client.reply("8", protocol.DynamicToolCallResponse(content_items=[], success=False))
        await wait_for(lambda: len(made.server.received) == 5)
        assert made.server.received[3:] == [
            {"id": 7, "error": {"code": -32601, "message": "no such thing", "data": None}},
            {"id": "8", "result": {"contentItems": [], "success": False}},
        ]


async def test_a_failing_handler_does_not_stop_the_reading(
    short_runtime_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def warn(connection: ServerConnection, message: dict[str, Any]) -> None:
        await connection.send('{"method":"warning","params":{"message":"x"}}')
        await answer(connection, message, {})

    async with talk(short_runtime_dir, warn) as made:
        made.client._on_notification = lambda notification: 1 / 0  # type: ignore[assignment]
        await made.client.ping(5)
        assert "notification_handler_failed" in caplog.text


async def test_no_answer(short_runtime_dir: Path) -> None:
    async with talk(short_runtime_dir, silence) as made:
        with pytest.raises(TimedOut, match=r"did not answer thread/loaded/list: 0\.02 s have passed"):
            await made.client.ping(0.02)


async def test_a_late_answer_is_dropped(short_runtime_dir: Path) -> None:
    asked: list[dict[str, Any]] = []

    async def second_first(connection: ServerConnection, message: dict[str, Any]) -> None:
        asked.append(message)
        if len(asked) == 2:
            for each in asked:
                await answer(connection, each, {})

    async with talk(short_runtime_dir, second_first) as made:
        with pytest.raises(TimedOut):
            await made.client.ping(0.02)
        await made.client.ping(5)


async def test_requests_under_way_are_bounded(short_runtime_dir: Path) -> None:
    async with talk(short_runtime_dir, silence) as made:
        async with asyncio.TaskGroup() as group:
            pings = [group.create_task(made.client.ping(60)) for _ in range(MAX_PENDING_REQUESTS)]
            await wait_for(lambda: len(made.server.received) == 2 + MAX_PENDING_REQUESTS)
            with pytest.raises(LimitExceeded, match="256 requests"):
                await made.client.ping(5)
            for ping in pings:
                ping.cancel()
        assert "pending=0" in repr(made.client)


async def test_a_lost_connection_ends_every_wait(short_runtime_dir: Path) -> None:
    async def drop(connection: ServerConnection, message: dict[str, Any]) -> None:
        connection.transport.abort()

    async with talk(short_runtime_dir, drop) as made:
        with pytest.raises(ChildFailed, match="connection to the child is lost"):
            await made.client.ping(5)
        assert made.client.closed.done()
        with pytest.raises(ChildFailed, match="connection to the child is lost"):
            await made.client.ping(5)
        with pytest.raises(ChildFailed, match="connection to the child is lost"):
            await made.client.reply(1, {})


async def test_the_childs_end_is_named(short_runtime_dir: Path) -> None:
    async def die(connection: ServerConnection, message: dict[str, Any]) -> None:
        made.exited.set_result(ExitStatus(signal=9))
        connection.transport.abort()

    async with talk(short_runtime_dir, die) as made:
        with pytest.raises(ChildFailed, match="the child ended: killed by SIGKILL"):
            await made.client.ping(5)


async def test_a_message_over_the_limit_is_a_clear_reason(short_runtime_dir: Path) -> None:
    async def flood(connection: ServerConnection, message: dict[str, Any]) -> None:
        await answer(connection, message, {"data": "x" * 2000})

    async with talk(short_runtime_dir, flood, max_message_bytes=1000) as made:
        with pytest.raises(ChildFailed, match="larger than the limit"):
            await made.client.ping(5)


async def test_a_large_message_within_the_limit(short_runtime_dir: Path) -> None:
    text = "é" * 5_000_000

    async def tell(connection: ServerConnection, message: dict[str, Any]) -> None:
        params = {"threadId": "t", "turnId": "u", "itemId": "i", "delta": text}
        note = msgspec.json.encode({"method": "item/agentMessage/delta", "params": params})
        await connection.send(note, text=True)
        await answer(connection, message, {})

    async with talk(short_runtime_dir, tell, max_message_bytes=1 << 26) as made:
        await made.client.ping(10)
        [notification] = made.notifications
        assert isinstance(notification, protocol.AgentMessageDeltaNotification)
        assert notification.delta == text


async def test_an_unexpected_reply(short_runtime_dir: Path) -> None:
    async with talk(short_runtime_dir, echo) as made:
        with pytest.raises(ChildFailed, match=r"reply to turn/steer is not as expected.*turnId"):
            await made.client.request("turn/steer", {}, protocol.TurnSteerResponse, 5)


async def test_closing_does_not_wait_for_a_server_that_hangs(short_runtime_dir: Path) -> None:
    async def hang(connection: ServerConnection, message: dict[str, Any]) -> None:
        connection.transport.pause_reading()
        await answer(connection, message, {})

    async with talk(short_runtime_dir, hang) as made:
        await made.client.ping(5)
        began = time.monotonic()
        await made.client.close(timeout_s=0.05)
        assert time.monotonic() - began < 1
        assert made.client.closed.result() == "it was closed"


async def test_nobody_listens(short_runtime_dir: Path) -> None:
    exited: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
    with pytest.raises(ChildFailed, match=r"Codex was not ready in time: 0\.02 s"):
        await connect(short_runtime_dir / "s", exited, deadline_s=0.02)


async def test_the_child_ends_before_it_listens(short_runtime_dir: Path) -> None:
    exited: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(0.01, exited.set_result, ExitStatus(code=1))
    with pytest.raises(ChildFailed, match=r"ended before it was ready: exited with code 1.*config\.toml"):
        await connect(short_runtime_dir / "s", exited, deadline_s=30)


async def test_something_else_listens(short_runtime_dir: Path) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example ESMTP\r\n\r\n")
        writer.close()

    exited: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
    async with await asyncio.start_unix_server(rude, short_runtime_dir / "s"):
        with pytest.raises(ChildFailed, match="does not speak as expected"):
            await connect(short_runtime_dir / "s", exited, deadline_s=5)


async def test_a_child_that_never_greets(short_runtime_dir: Path) -> None:
    async def mute(connection: ServerConnection) -> None:
        await connection.wait_closed()

    exited: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
    async with unix_serve(mute, str(short_runtime_dir / "s")):
        with pytest.raises(ChildFailed, match="not ready in time"):
            await connect(short_runtime_dir / "s", exited, deadline_s=0.1)


async def connect(socket: Path, exited: asyncio.Future[ExitStatus], deadline_s: float) -> AppServer:
    return await AppServer.connect(
        socket, exited=exited, deadline_s=deadline_s, on_notification=print, on_request=print
    )
