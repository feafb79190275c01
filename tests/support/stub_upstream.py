"""A model API whose every fault is a knob: the one stub behind the gateway in tests and benchmarks.

    async with StubUpstream() as stub:
        stub.plan(dies="first_byte")        # the next request; `stub.always = Knobs(…)` for all
        … stub.base_url …
        stub.requests[0].json["model"]

Speaks all three dialects on their usual paths and raw HTTP/1.1 on an asyncio protocol, so that it can break what a
library would not let it break, and so that it costs next to nothing in a benchmark. As a program it serves until it is
killed: `python -m tests.support.stub_upstream --port 0`; it prints its port.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Any, Literal, Self

import httptools
import msgspec

Dies = Literal["", "before", "head", "first_byte", "middle"]


@dataclass(frozen=True)
class Knobs:
    """What is done with one request."""

    dies: Dies = ""
    """Cuts the connection: before anything, after the head, in the first event, in the middle of the stream."""
    status: int = 200
    body: bytes | None = None
    """The whole body in place of an answer."""
    headers: tuple[tuple[str, str], ...] = ()
    first_delay_s: float = 0.0
    """Before the head."""
    stalls: Literal["", "head", "middle"] = ""
    """Says nothing any more: before the head, or after the first half."""
    events: int = 4
    """Text events of a stream."""
    event_bytes: int = 5
    """Characters of text in each."""
    gap_s: float = 0.0
    """Between two events."""
    malformed: bool = False
    """An event in mid-stream that is no JSON."""
    overloaded: bool = False
    """200, and the first event of the stream is an overload error."""
    begins: bool = False
    """With `overloaded`: the events without content come before the error, as many endpoints send them."""
    bare: bool = False
    """The stream's last event lacks its blank line."""
    empty: bool = False
    """The stream has no event at all."""
    whole: bool = False
    """Gives a whole answer where a stream was asked for."""
    fails_midway: bool = False
    """The overload error comes in the middle of the stream, and the stream ends."""
    chunk_bytes: int = 0
    """Cuts what it sends into pieces of this size, each a write of its own."""
    garbage: bool = False
    """Answers with something that is no HTTP."""
    answer_id: str = "1"
    """The end of the answer's id."""
    no_end: bool = False
    """Leaves the stream's last events out, and closes cleanly."""


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes
    cancelled: bool = False
    """The client closed the connection before the answer was whole."""
    connection: int = 0
    sent_bytes: int = 0

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


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
        events = stream_events(seen.path, knobs, _model(seen))
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
        return _FAST_HEAD + _fast_stream(seen.path, _model(seen))
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


def _sse(value: Any, name: str = "") -> bytes:
    line = b"data: " + msgspec.json.encode(value) + b"\n\n"
    return b"event: " + name.encode() + b"\n" + line if name else line


class _Model(msgspec.Struct):
    model: str = "stub"


_read_model = msgspec.json.Decoder(_Model).decode


def _model(seen: Seen) -> str:
    try:
        return _read_model(seen.body).model
    except msgspec.MsgspecError:
        return "stub"


def whole_answer(seen: Seen, knobs: Knobs) -> bytes:
    """The answer of a request that does not stream."""
    text = "x" * (knobs.events * knobs.event_bytes)
    model, path = _model(seen), seen.path.partition("?")[0]
    number = knobs.answer_id
    value: dict[str, Any]
    if path.endswith("/count_tokens"):
        value = {"input_tokens": 42}
    elif path.endswith("/messages"):
        value = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 12},
        }
    elif path.endswith("/responses"):
        value = _response(model, text, "completed")
    else:
        value = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1700000000,
            "model": model,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"},
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
        }
    return msgspec.json.encode(value)


def _response(model: str, text: str, status: str) -> dict[str, Any]:
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 21,
    }
    done = status == "completed"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": status,
        "model": model,
        "output": [item] if done else [],
        "usage": usage if done else None,
        "error": None,
        "incomplete_details": None,
    }


def stream_events(path: str, knobs: Knobs, model: str) -> list[bytes]:
    """The events of a stream, each as its bytes."""
    text = "x" * knobs.event_bytes
    path = path.partition("?")[0]
    if path.endswith("/messages"):
        begin, middle, end = _messages_stream(text, knobs.events, model)
    elif path.endswith("/responses"):
        begin, middle, end = _responses_stream(text, knobs.events, model)
    else:
        begin, middle, end = _chat_stream(text, knobs.events, model, knobs.answer_id)
    if knobs.empty:
        return [b": hello\n\n"]
    error = _OVERLOADED[path.rsplit("/", 1)[-1]]
    if knobs.overloaded:
        return [*(begin[:1] if knobs.begins else ()), error.removesuffix(b"\n\n") if knobs.bare else error]
    if knobs.fails_midway:
        return [*begin, *middle, error]
    if knobs.bare:
        end[-1] = end[-1].removesuffix(b"\n\n")
    if knobs.malformed:
        middle.insert(len(middle) // 2, b"data: {this is no JSON\n\n")
    return begin + middle + ([] if knobs.no_end else end)


_OVERLOADED = {
    "messages": _sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error"),
    "completions": _sse({"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}}),
    "responses": _sse(
        {
            "type": "response.failed",
            "sequence_number": 0,
            "response": {
                "id": "resp_1",
                "object": "response",
                "status": "failed",
                "output": [],
                "error": {"code": "server_is_overloaded", "message": "overloaded"},
            },
        },
        "response.failed",
    ),
}

_Parts = tuple[list[bytes], list[bytes], list[bytes]]


def _chat_stream(text: str, count: int, model: str, number: str) -> _Parts:
    def piece(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        head = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1700000000, "model": model}
        return _sse({**head, "choices": [choice]})

    usage = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    last = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1700000000, "model": model}
    return (
        [piece({"role": "assistant", "content": ""})],
        [piece({"content": text}) for _ in range(count)],
        [piece({}, "stop"), _sse({**last, "choices": [], "usage": usage}), b"data: [DONE]\n\n"],
    )


def _messages_stream(text: str, count: int, model: str) -> _Parts:
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    stop = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 12},
    }
    return (
        [_sse({"type": "message_start", "message": message}, "message_start"), _sse(block, "content_block_start")],
        [_sse(delta, "content_block_delta") for _ in range(count)],
        [
            _sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
            _sse(stop, "message_delta"),
            _sse({"type": "message_stop"}, "message_stop"),
        ],
    )


def _responses_stream(text: str, count: int, model: str) -> _Parts:
    number = 0

    def event(kind: str, **values: Any) -> bytes:
        nonlocal number
        number += 1
        return _sse({"type": kind, "sequence_number": number - 1, **values}, kind)

    whole = text * count
    part = {"type": "output_text", "text": "", "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    begin = [
        event("response.created", response=_response(model, "", "in_progress")),
        event("response.output_item.added", output_index=0, item=item),
        event("response.content_part.added", **place, part=part),
    ]
    middle = [event("response.output_text.delta", **place, delta=text, logprobs=[]) for _ in range(count)]
    done = _response(model, whole, "completed")
    end = [
        event("response.output_text.done", **place, text=whole, logprobs=[]),
        event("response.content_part.done", **place, part={**part, "text": whole}),
        event("response.output_item.done", output_index=0, item=done["output"][0]),
        event("response.completed", response=done),
    ]
    return begin, middle, end


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
