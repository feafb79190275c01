"""Messages' stream: SSE events -> neutral events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from codex_gateway.dialect.malformed import INCOMPLETE, decode_event, malformed
from codex_gateway.dialect.messages.blocks import query_of, read_block
from codex_gateway.dialect.messages.errors import read_error_object
from codex_gateway.dialect.messages.stop import read_stop, refusal_text
from codex_gateway.dialect.messages.usage import read_usage
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

if TYPE_CHECKING:
    from codex_gateway.dialect import sse
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
            case _:
                pass

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
            case _:
                pass

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
