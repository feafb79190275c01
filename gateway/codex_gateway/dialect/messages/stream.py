"""Messages' stream: SSE events -> neutral events, and neutral events -> SSE events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Struct

from codex_gateway.dialect.answer_ids import messages_id
from codex_gateway.dialect.malformed import INCOMPLETE, decode_event, malformed
from codex_gateway.dialect.messages.blocks import query_of, read_block, sealed_signature, search_results, write_start
from codex_gateway.dialect.messages.errors import read_error_object, write_error
from codex_gateway.dialect.messages.stop import read_stop, refusal_text, write_stop
from codex_gateway.dialect.messages.usage import read_usage, write_usage
from codex_gateway.dialect.neutral import (
    AnnotationSeen,
    Dialect,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Ping,
    Refusal,
    RefusalDelta,
    SignatureDelta,
    Started,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolArguments,
    ToolCall,
    Usage,
    UsageSeen,
    WebSearchCall,
)
from codex_gateway.dialect.sse import event_bytes

if TYPE_CHECKING:
    from codex_gateway.dialect import sse
    from codex_gateway.dialect.facts import WayBack
    from codex_gateway.dialect.neutral import Event, JsonObject, Part


class _Delta(Struct, gc=False):
    type: Any = None
    text: Any = None
    partial_json: Any = None
    thinking: Any = None
    signature: Any = None
    citation: Any = None
    stop_reason: Any = None
    stop_sequence: Any = None
    stop_details: Any = None


class _Event(Struct, gc=False):
    type: str = ""
    index: Any = None
    delta: _Delta | None = None
    content_block: Any = None
    message: Any = None
    usage: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Event).decode
_encode = msgspec.json.Encoder().encode


class _Block:
    """A block that the endpoint has begun."""

    __slots__ = ("index", "part", "pieces", "start")

    def __init__(self, index: int, part: Part, start: dict[str, Any]) -> None:
        self.index = index
        self.part = part
        self.start = start
        self.pieces: list[str] = []
        """A search's input, in fragments; of a tool call, whether there were any."""


class MessagesReader:
    """SSE events in, neutral events out."""

    __slots__ = ("_blocks", "_parts", "_refusal", "_started", "_stop", "_usage", "is_over")

    def __init__(self) -> None:
        self._started = False
        self._blocks: dict[int, _Block] = {}
        self._parts = 0
        self._usage = Usage()
        self._stop: Finished | None = None
        self._refusal = ""
        self.is_over = False
        """Nothing counts any more."""

    @property
    def is_whole(self) -> bool:
        """Whether the answer's end was seen."""
        return self._stop is not None

    def read(self, event: sse.Event, out: list[Event]) -> None:
        """One event.

        :raises AnswerFailed: it cannot be read
        """
        if event.data[:1] != b"{":
            return
        told = decode_event(_decode, event.data)
        match told.type or event.name:
            case "content_block_delta":
                self._delta(told, out)
            case "content_block_start":
                self._open(told, out)
            case "content_block_stop":
                block = self._blocks.pop(told.index, None)
                if block is not None:
                    self._close(block, out)
            case "message_start":
                message = told.message if isinstance(told.message, dict) else {}
                if not self._started:
                    self._started = True
                    out.append(Started(str(message.get("id") or ""), str(message.get("model") or "")))
                self._count(message.get("usage"), out)
            case "message_delta":
                self._count(told.usage, out)
                if told.delta is not None and told.delta.stop_reason:
                    self._stop = read_stop(str(told.delta.stop_reason), told.delta.stop_sequence)
                    self._refusal = refusal_text(told.delta.stop_details)
            case "message_stop":
                self._finish(out)
            case "error":
                self.is_over = True
                out.append(Failed(read_error_object(told.error)))
            case "ping":
                out.append(Ping())

    def end(self, out: list[Event]) -> None:
        """The stream ended by itself."""
        if not self.is_over and self._stop is not None:
            self._finish(out)

    def whole(self, message: JsonObject, out: list[Event]) -> None:
        """A whole message instead of a stream.

        :raises AnswerFailed: it cannot be read
        """
        if message.get("type") == "error":
            out.append(Failed(read_error_object(message.get("error"))))
            return
        content = message.get("content")
        if not isinstance(content, list):
            raise malformed("a message without content")
        out.append(Started(str(message.get("id") or ""), str(message.get("model") or "")))
        for block in content:
            self._open(_Event(index=0, content_block=block), out)
            self._close(self._blocks.pop(0), out)
        self._count(message.get("usage"), out)
        self._stop = read_stop(str(message.get("stop_reason") or "end_turn"), message.get("stop_sequence"))
        self._refusal = refusal_text(message.get("stop_details"))
        self._finish(out)

    def _open(self, told: _Event, out: list[Event]) -> None:
        start = told.content_block
        part = read_block(start)
        index = self._parts
        self._parts += 1
        block = self._blocks[told.index] = _Block(index, part, start)
        out.append(PartStarted(index, part))
        if isinstance(part, Text):
            if start.get("text"):
                out.append(TextDelta(index, start["text"]))
            for citation in start.get("citations") or ():
                out.append(AnnotationSeen(index, citation, Dialect.MESSAGES))
        elif isinstance(part, Thinking):
            if start.get("thinking"):
                out.append(ThinkingDelta(index, start["thinking"]))
            if start.get("signature"):
                out.append(SignatureDelta(index, start["signature"]))
        elif isinstance(part, ToolCall) and not part.id:
            raise malformed("a tool call without an id")
        block.start = start

    def _delta(self, told: _Event, out: list[Event]) -> None:
        block = self._blocks.get(told.index)
        delta = told.delta
        if block is None or delta is None:
            return
        match delta.type:
            case "text_delta":
                if delta.text:
                    out.append(TextDelta(block.index, delta.text))
            case "input_json_delta":
                fragment = delta.partial_json
                if not fragment:
                    return
                block.pieces.append(fragment)
                if isinstance(block.part, ToolCall):
                    block.pieces[:] = ("",)
                    out.append(ToolArguments(block.index, fragment))
            case "thinking_delta":
                if delta.thinking:
                    out.append(ThinkingDelta(block.index, delta.thinking))
            case "signature_delta":
                if delta.signature:
                    out.append(SignatureDelta(block.index, delta.signature))
            case "citations_delta":
                if isinstance(delta.citation, dict):
                    out.append(AnnotationSeen(block.index, delta.citation, Dialect.MESSAGES))

    def _close(self, block: _Block, out: list[Event]) -> None:
        part = block.part
        if isinstance(part, ToolCall) and not block.pieces and block.start.get("input"):
            # Some endpoints give the whole input at the start.
            out.append(ToolArguments(block.index, _encode(block.start["input"]).decode()))
        whole: Part | None = None
        if isinstance(part, WebSearchCall) and block.pieces:
            try:
                query = query_of(msgspec.json.decode("".join(block.pieces)))
            except msgspec.MsgspecError:
                query = ""
            whole = WebSearchCall(part.id, query)
        out.append(PartEnded(block.index, whole))

    def _count(self, usage: Any, out: list[Event]) -> None:
        if usage is not None:
            self._usage = read_usage(usage, self._usage)
            out.append(UsageSeen(self._usage))

    def _finish(self, out: list[Event]) -> None:
        if self.is_over:
            return
        self.is_over = True
        for block in self._blocks.values():
            self._close(block, out)
        if self._stop is None:
            out.append(Failed(INCOMPLETE))
            return
        if self._stop.reason is StopReason.REFUSAL and self._refusal:
            out.append(PartStarted(self._parts, Refusal("")))
            out.append(RefusalDelta(self._parts, self._refusal))
            out.append(PartEnded(self._parts))
        out.append(self._stop)


class MessagesWriter:
    """Neutral events in, SSE events out. One block is open at a time: what belongs to others waits."""

    def __init__(self, way_back: WayBack, created_s: int, answer_id: str) -> None:  # noqa: ARG002 (all writers take them)
        self._way_back = way_back
        self._id = answer_id
        self._started = False
        self._usage = Usage()
        self._open: int | None = None
        self._next_block = 0
        self._waiting: dict[int, list[Event]] = {}
        """Events of parts that began while another was open, by part, in the order in which they began."""
        self._thoughts: dict[int, Thinking] = {}
        self._searches: dict[int, WebSearchCall] = {}
        self._unwritten: dict[str, Any] | None = None
        """The open block's start, where it was not written yet."""
        self._skipped: set[int] = set()
        self._refusal: list[str] = []
        self.is_over = False

    def write(self, event: Event) -> bytes:
        """The SSE events of one neutral event; often none."""
        if self.is_over:
            return b""
        kind = type(event)
        if kind is TextDelta and event.index == self._open:  # type: ignore[union-attr]
            return _TEXT % (self._next_block, _encode(event.text))  # type: ignore[union-attr]
        if kind is UsageSeen:
            self._usage = event.usage  # type: ignore[union-attr]
            return b""
        if kind is Failed:
            return self._fail(event)  # type: ignore[arg-type]
        start = b"" if self._started else self._start(event if kind is Started else Started())  # type: ignore[arg-type]
        if kind is Started:
            return start
        if kind is Ping:
            return start + PING
        if kind is Finished:
            return start + self._finish(event)  # type: ignore[arg-type]
        return start + self._of_part(event)

    def keep_alive(self) -> bytes:
        """A ping."""
        return PING

    def _start(self, event: Started) -> bytes:
        self._started = True
        message = {
            "id": messages_id(event.id or self._id),
            "type": "message",
            "role": "assistant",
            "model": self._way_back.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(self._usage),
        }
        return _event("message_start", {"message": message})

    def _of_part(self, event: Any) -> bytes:
        index = event.index
        if index in self._skipped:
            return b""
        if index == self._open:
            written = self._of_open(event)
            return written if self._open is not None else written + self._go_on()
        if index in self._waiting:
            self._waiting[index].append(event)
            return b""
        if not isinstance(event, PartStarted):
            return b""
        if self._open is not None:
            self._waiting[index] = [event]
            return b""
        return self._open_block(event)

    def _go_on(self) -> bytes:
        """A block has ended: write what waited, up to a block that is not whole."""
        written = b""
        while self._open is None and self._waiting:
            index = next(iter(self._waiting))
            for event in self._waiting.pop(index):
                written += self._open_block(event) if isinstance(event, PartStarted) else self._of_open(event)
        return written

    def _open_block(self, event: PartStarted) -> bytes:
        block = write_start(event.part, self._way_back)
        if block is None:
            self._skipped.add(event.index)
            return b""
        self._open = event.index
        if isinstance(event.part, Thinking):
            self._thoughts[event.index] = event.part
            if event.part.origin is not Dialect.MESSAGES:
                # Whether it has a text is not known yet. Without one, it is redacted thinking, or nothing.
                self._unwritten = block
                return b""
        elif isinstance(event.part, WebSearchCall):
            self._searches[event.index] = event.part
        return _event("content_block_start", {"index": self._next_block, "content_block": block})

    def _of_open(self, event: Any) -> bytes:
        if self._open is None:
            return b""
        match event:
            case ToolArguments():
                return _ARGUMENTS % (self._next_block, _encode(event.fragment))
            case TextDelta():
                return _TEXT % (self._next_block, _encode(event.text))
            case ThinkingDelta():
                if self._unwritten is not None:
                    begin = _event("content_block_start", {"index": self._next_block, "content_block": self._unwritten})
                    self._unwritten = None
                    return begin + _THINKING % (self._next_block, _encode(event.text))
                return _THINKING % (self._next_block, _encode(event.text))
            case SignatureDelta():
                part = self._thoughts[event.index]
                self._thoughts[event.index] = msgspec.structs.replace(
                    part, signature=part.signature + event.signature, encrypted_content=event.encrypted_content
                )
            case RefusalDelta():
                self._refusal.append(event.text)
                return _TEXT % (self._next_block, _encode(event.text))
            case PartEnded():
                return self._close_block(event)
        return b""

    def _close_block(self, event: PartEnded) -> bytes:
        written = b""
        if thought := self._thoughts.pop(event.index, None):
            signature = sealed_signature(thought, self._way_back)
            if self._unwritten is not None:
                self._unwritten = None
                self._open = None
                if not signature:
                    return b""
                block = {"type": "redacted_thinking", "data": signature}
                begin = _event("content_block_start", {"index": self._next_block, "content_block": block})
                return begin + self._stop()
            if signature:
                written = self._delta({"type": "signature_delta", "signature": signature})
        search = self._searches.pop(event.index, None)
        if search is not None:
            if isinstance(event.part, WebSearchCall):
                search = event.part
            query = _encode({"query": search.query}).decode()
            written = self._delta({"type": "input_json_delta", "partial_json": query})
        written += self._stop()
        if search is not None and self._way_back.upstream is Dialect.RESPONSES:
            # There the call holds its sources; here the results are a block of their own, which may not be missing.
            block = write_start(search_results(search), self._way_back)
            written += _event("content_block_start", {"index": self._next_block, "content_block": block})
            written += self._stop()
        self._open = None
        return written

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._next_block, "delta": delta})

    def _stop(self) -> bytes:
        self._next_block += 1
        return _event("content_block_stop", {"index": self._next_block - 1})

    def _close_all(self) -> bytes:
        """Close what is open, so that the client can keep it. What only waited was never seen."""
        self._waiting.clear()
        return b"" if self._open is None or self._unwritten is not None else self._stop()

    def _finish(self, event: Finished) -> bytes:
        told = write_stop(event, "".join(self._refusal))
        if told is None:
            return self._fail(Failed(INCOMPLETE))
        self.is_over = True
        return (
            self._close_all()
            + _event("message_delta", {"delta": told, "usage": write_usage(self._usage)})
            + _event("message_stop", {})
        )

    def _fail(self, event: Failed) -> bytes:
        self.is_over = True
        return self._close_all() + event_bytes(write_error(event.error), "error")


def _event(name: str, payload: dict[str, Any]) -> bytes:
    return event_bytes({"type": name, **payload}, name)


PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
_TEXT: Final = _DELTA + b'{"type":"text_delta","text":%b}}\n\n'
_THINKING: Final = _DELTA + b'{"type":"thinking_delta","thinking":%b}}\n\n'
_ARGUMENTS: Final = _DELTA + b'{"type":"input_json_delta","partial_json":%b}}\n\n'
