"""One HTTP/1.1 connection to an endpoint: llhttp (through httptools) reads, this holds at most a bounded piece of what
came and stops reading past it, so that a client who reads slowly slows its endpoint.

Why not aiohttp's client: on the machine of the benchmarks a proxy of aiohttp's server and client passes 10,000 requests
a second, with this client 27,000; the rest of the gateway has to fit in as well. The server stays aiohttp's.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

import httptools

from codex_gateway.upstream.failures import FailureKind, StaleConnection, UpstreamFailed

MAX_HEAD_BYTES = 64 * 1024
"""Status line and headers of an answer; a trailer likewise."""
MAX_JOINED_BYTES = 64 * 1024
MAX_INFORMATIONAL = 8
"""Answers of status 1xx before the real one."""

_NO_BODY = frozenset((204, 304))


class Connection(asyncio.Protocol):
    """Carries one exchange at a time: `send`, then `chunk` until it returns b"". `close` at any moment ends it."""

    __slots__ = (
        "_buffer_bytes",
        "_buffered",
        "_chunks",
        "_complete",
        "_exchanges",
        "_failure",
        "_framed",
        "_head_bytes",
        "_informational",
        "_informational_seen",
        "_loop",
        "_lost",
        "_parser",
        "_paused",
        "_running",
        "_transport",
        "_waiter",
        "headers",
        "idle_since",
        "status",
    )

    def __init__(self, loop: asyncio.AbstractEventLoop, buffer_bytes: int) -> None:
        self._loop = loop
        self._buffer_bytes = buffer_bytes
        self._transport: asyncio.Transport
        self._parser: httptools.HttpResponseParser
        self._exchanges = 0
        self._running = False
        self._lost = False
        self._paused = False
        self._waiter: asyncio.Future[bool] | None = None
        self._chunks: deque[bytes] = deque()
        self.idle_since = 0.0
        self._begin()

    def __repr__(self) -> str:
        state = "lost" if self._lost else "busy" if self._running else "idle"
        return f"<Connection {state} exchanges={self._exchanges} buffered={self._buffered}>"

    def _begin(self) -> None:
        self._chunks.clear()
        self._buffered = 0
        self._head_bytes = 0
        self._informational = False
        self._informational_seen = 0
        self._framed = False
        self._complete = False
        self._failure: UpstreamFailed | None = None
        self.status = 0
        """0 until the head of the answer is there."""
        self.headers: list[tuple[bytes, bytes]] = []

    # What the owner calls

    @property
    def usable(self) -> bool:
        """It is idle and stands."""
        return not self._running and not self._lost and not self._transport.is_closing()

    @property
    def finished(self) -> bool:
        """The answer is whole and read, and the connection may carry another."""
        return self._complete and not self._chunks and not self._lost and self._failure is None

    @property
    def whole(self) -> bool:
        """All of the answer has come, read or not."""
        return self._complete

    @property
    def unread(self) -> bool:
        """There are bytes that `chunk` has not returned yet."""
        return bool(self._chunks)

    async def send(self, request: Sequence[bytes], timeout_s: float) -> None:
        """Send `request` and wait for the answer's head: `status` and `headers`. Raises `UpstreamFailed`."""
        self._begin()
        self._running = True
        self._exchanges += 1
        # One piece goes out with fewer steps than two; a large body is not copied for that.
        if len(request[-1]) <= MAX_JOINED_BYTES:
            self._transport.write(b"".join(request))
        else:
            self._transport.writelines(request)
        if not await self.wait_for_head(timeout_s):
            raise UpstreamFailed(FailureKind.FIRST_BYTE_TIMEOUT, f"no answer within {timeout_s:g} s")

    async def wait_for_head(self, timeout_s: float) -> bool:
        """Wait for the head of the answer; return False where it did not come in time. Raises `UpstreamFailed`."""
        deadline = self._loop.time() + timeout_s
        while not self.status:
            if self._failure is not None:
                raise self._failure
            came = await self._wait(deadline - self._loop.time())
            if not came:
                return False
        return True

    async def chunk(self, timeout_s: float) -> bytes | None:
        """What has come of the body, b"" at its end, None where nothing came in time. Raises `UpstreamFailed`."""
        while True:
            if self._chunks:
                data = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
                self._chunks.clear()
                self._buffered = 0
                if self._paused:
                    self._paused = False
                    self._transport.resume_reading()
                return data
            if self._complete:
                return b""
            if self._failure is not None:
                raise self._failure
            if not await self._wait(timeout_s):
                return None

    def rest(self) -> None:
        """Say that the exchange is over and the connection goes back to its pool."""
        self._running = False
        self.idle_since = self._loop.time()

    def close(self) -> None:
        """End it now; what is under way is given up."""
        self._running = False
        self._transport.abort()

    def cut(self) -> None:
        """Break the exchange off as if the endpoint had done it: who waits for a chunk hears of it."""
        self._fail(FailureKind.LOST, "it was cut off")

    async def _wait(self, timeout_s: float) -> bool:
        if timeout_s <= 0:
            return False
        waiter: asyncio.Future[bool] = self._loop.create_future()
        self._waiter = waiter
        timer = self._loop.call_later(timeout_s, _wake, waiter)
        try:
            return await waiter
        finally:
            self._waiter = None
            timer.cancel()

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = transport  # type: ignore[assignment]
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        if not self._running or self._complete:
            # Bytes that nobody asked for: whatever they are, they must not become the next request's answer.
            self._fail(FailureKind.MALFORMED, "it sent more than one answer to one request")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._fail(FailureKind.MALFORMED, "it changed the protocol unasked")
        except httptools.HttpParserError as error:
            self._fail(FailureKind.MALFORMED, f"it did not answer with HTTP: {error}")
        else:
            if not self.status:
                self._count_head(len(data))
        waiter = self._waiter
        if waiter is not None and (self._chunks or self.status or self._failure is not None):
            _wake(waiter, came=True)

    def connection_lost(self, error: Exception | None) -> None:
        """See asyncio.Protocol."""
        self._lost = True
        if self._running and not self._complete and self._failure is None:
            if self.status and not self._framed and error is None:
                self._complete = True  # without a length an answer ends with its connection (RFC 9112, 6.3)
            else:
                self._failure = self._loss(error)
        if self._waiter is not None:
            _wake(self._waiter, came=True)

    def _loss(self, error: Exception | None) -> UpstreamFailed:
        why = f"the connection broke: {error}" if error else "it closed the connection"
        if self._exchanges > 1 and not self.status and not self._head_bytes:
            return StaleConnection(FailureKind.LOST, why)
        return UpstreamFailed(FailureKind.LOST, f"{why} {'in mid-answer' if self.status else 'without an answer'}")

    # What the parser calls

    def on_message_begin(self) -> None:
        """A status line begins."""
        if self._complete:
            raise ValueError("more than one answer to one request")

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a field of the trailer."""
        if self.status:
            self._count_head(len(name) + len(value) + 4)
            return
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is there."""
        status = self._parser.get_status_code()
        if 100 <= status < 200:
            self._informational_seen += 1
            if status == 101 or self._informational_seen > MAX_INFORMATIONAL:
                raise ValueError("no final answer")
            self._informational = True
            self.headers.clear()
            return
        self._framed = status in _NO_BODY or any(
            name in (b"content-length", b"transfer-encoding") for name, _ in self.headers
        )
        self._head_bytes = 0
        self.status = status

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without its chunk's frame."""
        self._chunks.append(body)
        self._buffered += len(body)
        if self._buffered >= self._buffer_bytes and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._informational:
            self._informational = False
            return
        self._complete = True
        if not self._parser.should_keep_alive():
            self._transport.close()

    def _count_head(self, size: int) -> None:
        self._head_bytes += size
        if self._head_bytes > MAX_HEAD_BYTES:
            self._fail(FailureKind.TOO_LARGE, f"its headers have more than {MAX_HEAD_BYTES // 1024} KiB")

    def _fail(self, kind: FailureKind, why: str) -> None:
        if self._failure is None:
            self._failure = UpstreamFailed(kind, why)
        self._transport.abort()


def _wake(waiter: asyncio.Future[bool], *, came: bool = False) -> None:
    if not waiter.done():
        waiter.set_result(came)
