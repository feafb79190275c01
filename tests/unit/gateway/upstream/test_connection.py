"""One connection to an endpoint that answers in every wrong way. What the event loop would say is said by hand."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from codex_gateway.upstream.connection import MAX_HEAD_BYTES, Connection
from codex_gateway.upstream.failures import FailureKind, StaleConnection, UpstreamFailed

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc"


class Wire(asyncio.Transport):
    """The other side."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self.connection = connection
        self.sent = b""
        self.reading = True
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += data

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.abort()

    def abort(self) -> None:
        if not self.closed:
            self.closed = True
            asyncio.get_running_loop().call_soon(self.connection.connection_lost, None)


def connected(buffer_bytes: int = 1000) -> tuple[Connection, Wire]:
    connection = Connection(asyncio.get_running_loop(), buffer_bytes)
    wire = Wire(connection)
    connection.connection_made(wire)
    return connection, wire


async def exchange(connection: Connection, *pieces: bytes, lost: bool = False) -> bytes:
    loop = asyncio.get_running_loop()
    for piece in pieces:
        loop.call_soon(connection.data_received, piece)
    if lost:
        loop.call_soon(connection.connection_lost, None)
    await connection.send((b"POST / HTTP/1.1\r\n\r\n",), 1)
    body = b""
    while data := await connection.chunk(1):
        body += data
    return body


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
async def test_an_answer_may_come_in_any_pieces(size: int) -> None:
    for answer in (
        OK,
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2;x=y\r\nbc\r\n0\r\nTrailer: x\r\n\r\n",
    ):
        connection, _ = connected()
        pieces = [answer[at : at + size] for at in range(0, len(answer), size)]
        assert await exchange(connection, *pieces) == b"abc"
        assert connection.status == 200
        assert connection.finished


async def test_a_connection_carries_one_exchange_after_another() -> None:
    connection, wire = connected()
    for _ in range(3):
        assert await exchange(connection, OK) == b"abc"
        connection.rest()
        assert connection.usable
    assert wire.sent.count(b"POST") == 3


async def test_without_a_length_the_end_of_the_connection_is_the_end() -> None:
    connection, _ = connected()
    assert await exchange(connection, b"HTTP/1.1 200 OK\r\n\r\nabc", lost=True) == b"abc"
    assert not connection.finished


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", FailureKind.LOST),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n", FailureKind.LOST),
        (b"HTTP/1.1 200 OK\r\n", FailureKind.LOST),
        (b"SSH-2.0-x\r\n", FailureKind.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc", FailureKind.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", FailureKind.MALFORMED),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", FailureKind.MALFORMED),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 20, FailureKind.MALFORMED),
        (b"HTTP/1.1 200 OK\r\nA: " + b"a" * MAX_HEAD_BYTES, FailureKind.TOO_LARGE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", FailureKind.MALFORMED),
    ],
)
async def test_what_is_no_whole_answer_fails(answer: bytes, kind: FailureKind) -> None:
    connection, _ = connected()
    with pytest.raises(UpstreamFailed) as caught:
        await exchange(connection, answer, lost=True)
    assert caught.value.kind is kind
    assert not connection.finished


async def test_a_second_answer_never_becomes_the_next_requests() -> None:
    connection, wire = connected()
    assert await exchange(connection, OK + OK) == b"abc"
    assert not connection.finished
    connection, wire = connected()
    await exchange(connection, OK)
    connection.rest()
    connection.data_received(OK)
    assert wire.closed


async def test_a_connection_that_went_away_before_it_was_used_again_is_stale() -> None:
    connection, wire = connected()
    await exchange(connection, OK)
    connection.rest()
    asyncio.get_running_loop().call_soon(wire.abort)
    with pytest.raises(StaleConnection):
        await connection.send((b"x",), 1)
    fresh, wire = connected()
    asyncio.get_running_loop().call_soon(wire.abort)
    with pytest.raises(UpstreamFailed) as caught:
        await fresh.send((b"x",), 1)
    assert not isinstance(caught.value, StaleConnection)


async def test_what_is_not_read_stops_the_reading() -> None:
    connection, wire = connected(buffer_bytes=10)
    connection._loop.call_soon(connection.data_received, b"HTTP/1.1 200 OK\r\nContent-Length: 30\r\n\r\n" + b"a" * 20)
    await connection.send((b"x",), 1)
    assert not wire.reading
    assert await connection.chunk(1) == b"a" * 20
    assert wire.reading
    connection.data_received(b"a" * 10)
    assert await connection.chunk(1) == b"a" * 10
    assert await connection.chunk(1) == b""


async def test_a_wait_ends_with_its_time() -> None:
    connection, _ = connected()
    with pytest.raises(UpstreamFailed) as caught:
        await connection.send((b"x",), 0.01)
    assert caught.value.kind is FailureKind.FIRST_BYTE_TIMEOUT
    connection, _ = connected()
    connection._loop.call_soon(connection.data_received, b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n")
    await connection.send((b"x",), 1)
    assert await connection.chunk(0.01) is None
