"""A model API whose every fault is a knob: the one stub behind the gateway in tests and benchmarks.

    async with StubUpstream() as stub:
        stub.plan(dies="first_byte")        # the next request; `stub.always = Knobs(…)` for all
        … stub.base_url …
        stub.requests[0].json["model"]

Speaks all three dialects on their usual paths (`stub_answers`) and raw HTTP/1.1 on an asyncio protocol, so that it can
break what a library would not let it break, and so that it costs next to nothing in a benchmark. As a program it serves
until it is killed: `python -m tests.support.stub_upstream --port 0`; it prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
from collections import deque
from typing import Any, Self

import httptools
import msgspec

from tests.support.stub_answers import Knobs, Seen, model_of, stream_events, whole_answer


class StubUpstream:
    """The server. `port` and `base_url` are set once it listens."""

    def __init__(self, *, port: int = 0, tls: ssl.SSLContext | None = None, keep: bool = True) -> None:
        self.port = port
        self.always = Knobs()
        self.requests: list[Seen] = []
        self.planned: deque[Knobs] = deque()
        self.keep = keep
        self.connections = 0
        self.tasks: set[asyncio.Task[None]] = set()
        self.changed = asyncio.Event()
        self._tls = tls
        self._open: set[_Connection] = set()

    @property
    def base_url(self) -> str:
        """What an endpoint's `url` is."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def plan(self, knobs: Knobs | None = None, **values: Any) -> None:
        """Set the knobs of the next request that has none yet."""
        self.planned.append(knobs or Knobs(**values))

    async def __aenter__(self) -> Self:
        """Listen."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Connection(self), "127.0.0.1", self.port, ssl=self._tls, backlog=4096
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, and end every connection."""
        self._server.close()
        for connection in list(self._open):
            connection.transport.abort()
        for task in list(self.tasks):
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self._server.wait_closed()

    def take(self) -> Knobs:
        """The knobs of a request that begins."""
        return self.planned.popleft() if self.planned else self.always

    def tell(self) -> None:
        """Wake who waits for a change."""
        self.changed.set()
        self.changed = asyncio.Event()


class _Connection(asyncio.Protocol):
    def __init__(self, stub: StubUpstream) -> None:
        self.stub = stub
        self.transport: asyncio.Transport
        self._parser = httptools.HttpRequestParser(self)
        self._seen: Seen | None = None
        self._done = True
        self._room = asyncio.Event()
        self._room.set()
        self._task: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        self.stub.connections += 1
        self._number = self.stub.connections
        self.stub._open.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self.stub._open.discard(self)
        self._room.set()
        if self._seen is not None and not self._done:
            self._seen.cancelled = True
            if self._task is not None:
                self._task.cancel()
            self.stub.tell()

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.abort()

    def on_message_begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        seen = Seen(
            self._parser.get_method().decode(),
            self._url.decode(),
            self._headers,
            b"".join(self._body),
            False,
            self._number,
        )
        self._seen, self._done = seen, False
        if self.stub.keep:
            self.stub.requests.append(seen)
            self.stub.tell()
        knobs = self.stub.take()
        fast = _plain(seen, knobs)
        if fast is not None:
            self._done = True
            seen.sent_bytes = len(fast)
            self.transport.write(fast)
            return
        self._task = asyncio.get_running_loop().create_task(self._answer(seen, knobs))
        self.stub.tasks.add(self._task)
        self._task.add_done_callback(self.stub.tasks.discard)

    async def _write(self, data: bytes, seen: Seen, piece: int = 0) -> None:
        for at in range(0, len(data), piece or len(data) or 1):
            await self._room.wait()
            if self.transport.is_closing():
                raise asyncio.CancelledError
            part = data[at : at + piece] if piece else data
            self.transport.write(part)
            seen.sent_bytes += len(part)
            if piece:
                await asyncio.sleep(0)

    async def _answer(self, seen: Seen, knobs: Knobs) -> None:
        if knobs.first_delay_s:
            await asyncio.sleep(knobs.first_delay_s)
        if knobs.stalls == "head":
            await asyncio.Event().wait()
        if knobs.dies == "before":
            self._cut()
            return
        if knobs.garbage:
            self.transport.write(b"SSH-2.0-OpenSSH_9.9\r\n")
            return
        streams = _wants_stream(seen.body) and knobs.body is None and knobs.status == 200 and not knobs.whole
        if not streams:
            body = knobs.body if knobs.body is not None else whole_answer(seen, knobs)
            await self._write(_head(knobs, length=len(body)), seen)
            if knobs.dies:
                self.transport.write(body[: len(body) // 2] if knobs.dies == "middle" else b"")
                self._cut()
                return
            await self._write(body, seen, knobs.chunk_bytes)
            self._done = True
            return
        await self._write(_head(knobs, length=None), seen)
        if knobs.dies == "head":
            self._cut()
            return
        events = stream_events(seen.path, knobs, model_of(seen))
        half = len(events) // 2
        for number, event in enumerate(events):
            if knobs.dies == "first_byte":
                self.transport.write(_chunk(event[: len(event) // 2]))
                self._cut()
                return
            if number == half and knobs.dies == "middle":
                self._cut()
                return
            if number == half and knobs.stalls == "middle":
                await asyncio.Event().wait()
            if number and knobs.gap_s:
                await asyncio.sleep(knobs.gap_s)
            for at in range(0, len(event), knobs.chunk_bytes or len(event)):
                await self._write(_chunk(event[at : at + (knobs.chunk_bytes or len(event))]), seen)
                if knobs.chunk_bytes:
                    await asyncio.sleep(0)
        if knobs.stalls == "end":
            await asyncio.Event().wait()
        self._done = True
        await self._write(b"0\r\n\r\n", seen)

    def _cut(self) -> None:
        self._done = True
        # What was written goes out first; then the connection ends without the end of the answer.
        self.transport.close()


def _plain(seen: Seen, knobs: Knobs) -> bytes | None:
    """The bytes of an answer that needs no task of its own."""
    if seen.method == "GET":
        body = msgspec.json.encode({"object": "list", "data": [{"id": "stub", "object": "model"}]})
        return _head(knobs, length=len(body)) + body
    if knobs != _USUAL:
        return None
    if _wants_stream(seen.body):
        return _FAST_HEAD + _fast_stream(seen.path, model_of(seen))
    body = whole_answer(seen, knobs)
    return _head(knobs, length=len(body)) + body


def _wants_stream(body: bytes) -> bool:
    return b'"stream":true' in body or b'"stream": true' in body


_USUAL = Knobs()
_FAST_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
_fast_streams: dict[tuple[str, str], bytes] = {}


def _fast_stream(path: str, model: str) -> bytes:
    found = _fast_streams.get((path, model))
    if found is None:
        events = stream_events(path, _USUAL, model)
        found = _fast_streams[path, model] = b"".join(map(_chunk, events)) + b"0\r\n\r\n"
    return found


def _head(knobs: Knobs, *, length: int | None) -> bytes:
    named = {name.lower() for name, _ in knobs.headers}
    lines = [f"HTTP/1.1 {knobs.status} Status"]
    lines += [f"{name}: {value}" for name, value in knobs.headers]
    if "content-type" not in named:
        lines.append(f"content-type: {'text/event-stream' if length is None else 'application/json'}")
    lines.append("transfer-encoding: chunked" if length is None else f"content-length: {length}")
    return "\r\n".join([*lines, "", ""]).encode()


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


async def _serve(port: int, knobs: Knobs) -> None:
    stub = StubUpstream(port=port, keep=False)
    stub.always = knobs
    async with stub:
        print(stub.port, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description="a model API with knobs")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--events", type=int, default=4)
    parser.add_argument("--event-bytes", type=int, default=5)
    parser.add_argument("--gap-s", type=float, default=0.0)
    parser.add_argument("--first-delay-s", type=float, default=0.0)
    given = parser.parse_args()
    knobs = Knobs(
        events=given.events, event_bytes=given.event_bytes, gap_s=given.gap_s, first_delay_s=given.first_delay_s
    )
    import uvloop
    from codex_gateway.gateway import allow_many_files

    allow_many_files()
    with contextlib.suppress(KeyboardInterrupt):
        uvloop.run(_serve(given.port, knobs))


if __name__ == "__main__":
    main()
