"""A load generator for HTTP on loopback, as a program of its own: `python -m tests.bench.http_load` with a plan as JSON
on standard input, and what it measured as JSON on standard output.

Raw asyncio protocols: a client library would be slower than what it measures.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from urllib.parse import urlsplit

import msgspec


class Plan(msgspec.Struct):
    """What to send, how often."""

    url: str
    headers: dict[str, str]
    body: str
    connections: int
    seconds: float
    warm_up_s: float = 0.5


class Measured(msgspec.Struct):
    """What came of it. Times are milliseconds of single requests, as many as fit."""

    requests: int
    errors: int
    seconds: float
    first_byte_ms: list[float]
    whole_ms: list[float]
    first_error: str = ""


MAX_SAMPLES = 20_000


class _Client(asyncio.Protocol):
    def __init__(self, load: _Load) -> None:
        self._load = load
        self._transport: asyncio.Transport
        self._begin()

    def _begin(self) -> None:
        self._began = 0.0
        self._first = 0.0
        self._head = b""
        self._left = -1
        self._tail = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._send()

    def _send(self) -> None:
        self._begin()
        self._began = time.perf_counter()
        self._transport.write(self._load.request)

    def data_received(self, data: bytes) -> None:
        if not self._first:
            self._first = time.perf_counter()
        if self._left == -1:
            self._head += data
            end = self._head.find(b"\r\n\r\n")
            if end < 0:
                return
            head, data = self._head[:end].lower(), self._head[end + 4 :]
            if not head.startswith(b"http/1.1 200"):
                self._load.error(self._head[:300].decode("latin-1"))
                self._transport.abort()
                return
            at = head.find(b"content-length:")
            self._left = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else -2
        if self._left == -2:
            self._tail = (self._tail + data)[-7:]
            if not self._tail.endswith(b"\r\n0\r\n\r\n") and self._tail != b"0\r\n\r\n":
                return
        else:
            self._left -= len(data)
            if self._left > 0:
                return
        now = time.perf_counter()
        self._load.done(self._began, self._first, now)
        if now < self._load.end:
            self._send()
        else:
            self._transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if time.perf_counter() < self._load.end:
            self._load.error(f"the connection was lost: {error}")
        self._load.over()


class _Load:
    def __init__(self, plan: Plan) -> None:
        url = urlsplit(plan.url)
        body = plan.body.encode()
        lines = [f"POST {url.path} HTTP/1.1", f"Host: {url.netloc}", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in plan.headers.items()]
        self.request = "\r\n".join([*lines, "", ""]).encode() + body
        self.measured = Measured(0, 0, 0.0, [], [])
        self._count = plan.connections
        self._over = asyncio.Event()
        self.begin = time.perf_counter() + plan.warm_up_s
        self.end = self.begin + plan.seconds

    def done(self, began: float, first: float, whole: float) -> None:
        if began < self.begin:
            return
        measured = self.measured
        measured.requests += 1
        if len(measured.whole_ms) < MAX_SAMPLES:
            measured.first_byte_ms.append((first - began) * 1000)
            measured.whole_ms.append((whole - began) * 1000)

    def error(self, why: str) -> None:
        self.measured.errors += 1
        self.measured.first_error = self.measured.first_error or why

    def over(self) -> None:
        self._count -= 1
        if self._count == 0:
            self._over.set()

    async def run(self, plan: Plan) -> Measured:
        url = urlsplit(plan.url)
        assert url.hostname
        assert url.port
        loop = asyncio.get_running_loop()
        for _ in range(plan.connections):
            await loop.create_connection(lambda: _Client(self), url.hostname, url.port)
        await self._over.wait()
        self.measured.seconds = time.perf_counter() - self.begin
        return self.measured


async def _run(plan: Plan) -> Measured:
    return await _Load(plan).run(plan)


def main() -> None:
    """Run one plan."""
    import uvloop

    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    plan = msgspec.json.decode(sys.stdin.buffer.read(), type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(uvloop.run(_run(plan))))


if __name__ == "__main__":
    main()
