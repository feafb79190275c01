"""Chat Completions' stream: neutral events -> SSE events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_gateway.dialect.answer_ids import chat_id
from codex_gateway.dialect.chat.errors import write_error
from codex_gateway.dialect.chat.stop import write_stop
from codex_gateway.dialect.chat.usage import write_usage
from codex_gateway.dialect.citations import nested, url_citation
from codex_gateway.dialect.malformed import INCOMPLETE
from codex_gateway.dialect.neutral import (
    AnnotationSeen,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    RefusalDelta,
    Started,
    Text,
    TextDelta,
    ThinkingDelta,
    ToolArguments,
    ToolCall,
    ToolKind,
    Usage,
    UsageSeen,
)
from codex_gateway.dialect.sse import comment_bytes, event_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_gateway.dialect.facts import WayBack
    from codex_gateway.dialect.neutral import Event, JsonObject


_encode = msgspec.json.Encoder().encode


class ChatWriter:
    """Neutral events in, chunks out. Tool calls may interleave: their index tells them apart."""

    def __init__(self, way_back: WayBack, created_s: int, answer_id: str) -> None:
        self._way_back = way_back
        self._created_s = created_s
        self._id = answer_id
        self._started = False
        self._usage = Usage()
        self._tools: dict[int, tuple[int, ToolKind]] = {}
        self._texts: dict[int, int] = {}
        self._text_length = 0
        self._citations: list[JsonObject] = []
        self._pending: list[AnnotationSeen] = []
        self._refused = False
        self._head = b""
        self.is_over = False
        self._write: dict[type, Callable[[Any], bytes]] = {
            Started: self._start,
            PartStarted: self._part,
            TextDelta: self._text,
            ThinkingDelta: self._thinking,
            RefusalDelta: self._refusal,
            ToolArguments: self._arguments,
            AnnotationSeen: self._annotation,
            UsageSeen: self._count,
            Finished: self._finish,
            Failed: self._fail,
            PartEnded: self._part_end,
        }

    def write(self, event: Event) -> bytes:
        """The chunks of one event; often none."""
        write = self._write.get(type(event))
        if write is None or self.is_over:
            return b""
        if not self._started and type(event) not in (Started, Failed, UsageSeen):
            return self._start(Started()) + write(event)
        return write(event)

    def keep_alive(self) -> bytes:
        """A comment."""
        return comment_bytes("keep-alive")

    def _start(self, event: Started) -> bytes:
        if self._started:
            return b""
        self._started = True
        self._id = chat_id(event.id or self._id)
        head = {
            "id": self._id,
            "object": "chat.completion.chunk",
            "created": event.created_s or self._created_s,
            "model": self._way_back.model,
        }
        self._head = b"data: " + _encode(head)[:-1] + b',"choices":[{"index":0,"delta":'
        return self._chunk({"role": "assistant", "content": None})

    def _chunk(self, delta: object) -> bytes:
        return self._head + _encode(delta) + _OPEN_CHOICE

    def _text(self, event: TextDelta) -> bytes:
        self._text_length += len(event.text)
        return self._head + b'{"content":' + _encode(event.text) + b"}" + _OPEN_CHOICE

    def _thinking(self, event: ThinkingDelta) -> bytes:
        return self._head + b'{"reasoning_content":' + _encode(event.text) + b"}" + _OPEN_CHOICE

    def _refusal(self, event: RefusalDelta) -> bytes:
        self._refused = True
        return self._chunk({"refusal": event.text})

    def _part(self, event: PartStarted) -> bytes:
        part = event.part
        if isinstance(part, Text):
            self._texts[event.index] = self._text_length
        if not isinstance(part, ToolCall):
            return b""
        number = len(self._tools)
        self._tools[event.index] = (number, part.kind)
        if part.kind is ToolKind.CUSTOM:
            call: dict[str, Any] = {"type": "custom", "custom": {"name": part.name, "input": ""}}
        else:
            call = {"type": "function", "function": {"name": part.name, "arguments": ""}}
        return self._chunk({"tool_calls": [{"index": number, "id": part.id, **call}]})

    def _arguments(self, event: ToolArguments) -> bytes:
        number, kind = self._tools[event.index]
        key = b'"custom":{"input":' if kind is ToolKind.CUSTOM else b'"function":{"arguments":'
        return b'%b{"tool_calls":[{"index":%d,%b%b}}]}%b' % (
            self._head,
            number,
            key,
            _encode(event.fragment),
            _OPEN_CHOICE,
        )

    def _annotation(self, event: AnnotationSeen) -> bytes:
        self._pending.append(event)
        return b""

    def _part_end(self, event: PartEnded) -> bytes:
        begin = self._texts.get(event.index)
        if begin is not None and self._pending:
            for seen in self._pending:
                cited = url_citation(seen.annotation, seen.origin, self._text_length - begin, begin)
                if cited is not None:
                    self._citations.append(nested(cited))
            self._pending.clear()
        return b""

    def _count(self, event: UsageSeen) -> bytes:
        self._usage = event.usage
        return b""

    def _finish(self, event: Finished) -> bytes:
        reason = write_stop(event, self._refused)
        if reason is None:
            return self._fail(Failed(INCOMPLETE))
        self.is_over = True
        # All in one chunk: clients cannot join lists whose entries have no index.
        last = self._chunk({"annotations": self._citations}) if self._citations else b""
        last += self._head + b'{},"finish_reason":"%b"}]}\n\n' % reason.encode()
        if self._way_back.include_usage:
            # The head without its choice.
            head = self._head[: self._head.rindex(b',"choices":[{"index":0')]
            last += head + b',"choices":[],"usage":' + _encode(write_usage(self._usage)) + b"}\n\n"
        return last + _DONE

    def _fail(self, event: Failed) -> bytes:
        self.is_over = True
        return event_bytes(write_error(event.error))


_OPEN_CHOICE: Final = b',"finish_reason":null}]}\n\n'
_DONE: Final = b"data: [DONE]\n\n"
