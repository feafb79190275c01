"""Responses' stream: neutral events -> SSE events, and the whole response that they add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_gateway.dialect.answer_ids import item_id, response_id
from codex_gateway.dialect.chat.errors import code_of
from codex_gateway.dialect.citations import url_citation
from codex_gateway.dialect.neutral import (
    AnnotationSeen,
    Dialect,
    Error,
    ErrorKind,
    Failed,
    Finished,
    Opaque,
    PartEnded,
    PartStarted,
    RedactedThinking,
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
    ToolKind,
    Usage,
    UsageSeen,
    WebSearchCall,
)
from codex_gateway.dialect.responses.items import (
    PARAGRAPH,
    call_item,
    content_part,
    message_item,
    reasoning_item,
    redacted_item,
    search_item,
)
from codex_gateway.dialect.responses.stop import write_end
from codex_gateway.dialect.responses.usage import write_usage
from codex_gateway.dialect.sse import comment_bytes

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import WayBack
    from codex_gateway.dialect.neutral import Event, JsonObject

_encode = msgspec.json.Encoder().encode

_PREFIXES: Final = {
    ToolKind.FUNCTION: "fc",
    ToolKind.CUSTOM: "ctc",
    ToolKind.LOCAL_SHELL: "lsh",
    ToolKind.TOOL_SEARCH: "tsc",
}

_CODES: Final = {
    ErrorKind.BAD_REQUEST: "invalid_prompt",
    ErrorKind.TOO_LARGE: "invalid_prompt",
    ErrorKind.PERMISSION: "invalid_prompt",
}
"""What Codex does not try again. Other codes are those of an error answer."""

_REFUSED: Final = "The model refused to answer."
"""Said where an endpoint's refusal came without words: a completed response without output would look like success."""


class _Item:
    """An output item that has begun."""

    __slots__ = ("content", "encrypted", "id", "output_index", "part", "pieces", "summary")

    def __init__(self, output_index: int, id_: str, part: Any) -> None:
        self.output_index = output_index
        self.id = id_
        self.part = part
        self.pieces: list[str] = []
        self.summary: list[list[str]] = []
        """Of reasoning: its summary's parts, in pieces."""
        self.encrypted = SignatureDelta(0)
        self.content: list[JsonObject] = []
        """Of a message: its content parts that are whole."""


class _Content:
    """An open content part of the open message."""

    __slots__ = ("annotations", "head", "index", "item", "part", "pieces")

    def __init__(self, item: _Item, index: int, part: Text | Refusal) -> None:
        self.item = item
        self.index = index
        self.part = part
        self.pieces: list[str] = []
        self.annotations: list[AnnotationSeen] = []
        self.head = _head("response.output_text.delta", item, index)


class ResponsesWriter:
    """Neutral events in, SSE events out. Neighbouring texts are content parts of one message."""

    def __init__(self, way_back: WayBack, created_s: int, answer_id: str) -> None:
        self._way_back = way_back
        self._created_s = created_s
        self._id = response_id(answer_id)
        self._started = False
        self._sequence = 0
        self._usage = Usage()
        self._items: dict[int, _Item] = {}
        """Open items by part."""
        self._contents: dict[int, _Content] = {}
        """Open content parts by part."""
        self._message: _Item | None = None
        self._output: dict[int, JsonObject] = {}
        self._next_output = 0
        self._refused = False
        self.response: JsonObject | None = None
        """The whole response, once it has ended."""
        self.is_over = False

    def write(self, event: Event) -> bytes:
        """The SSE events of one neutral event; often none."""
        if self.is_over:
            return b""
        kind = type(event)
        if kind is TextDelta:
            content = self._contents.get(event.index)  # type: ignore[union-attr]
            if content is not None:
                content.pieces.append(event.text)  # type: ignore[union-attr]
                self._sequence += 1
                return content.head + _encode(event.text) + b',"sequence_number":%d}\n\n' % (self._sequence - 1)  # type: ignore[union-attr]
            return b""
        if kind is UsageSeen:
            self._usage = event.usage  # type: ignore[union-attr]
            return b""
        start = b"" if self._started else self._start(event if kind is Started else Started())  # type: ignore[arg-type]
        match event:
            case PartStarted():
                return start + self._part(event)
            case ThinkingDelta():
                return start + self._thinking(event)
            case ToolArguments():
                return start + self._arguments(event)
            case RefusalDelta():
                return start + self._refusal(event)
            case SignatureDelta():
                if item := self._items.get(event.index):
                    seen = item.encrypted
                    item.encrypted = SignatureDelta(
                        0, seen.signature + event.signature, event.encrypted_content or seen.encrypted_content
                    )
            case AnnotationSeen():
                if content := self._contents.get(event.index):
                    content.annotations.append(event)
            case PartEnded():
                return start + self._end_part(event)
            case Finished():
                return start + self._finish(event)
            case Failed():
                return start + self._fail(event.error)
            case _:
                pass
        return start

    def keep_alive(self) -> bytes:
        """An event of a type that no client knows: comments do not reset Codex's idle timer. Before the first event a
        comment, because clients demand that `response.created` comes first."""
        return KEEP_ALIVE if self._started else comment_bytes("keep-alive")

    def _event(self, kind: str, **fields: Any) -> bytes:
        self._sequence += 1
        payload = {"type": kind, **fields, "sequence_number": self._sequence - 1}
        return b"event: %b\ndata: %b\n\n" % (kind.encode(), _encode(payload))

    def _start(self, event: Started) -> bytes:
        self._started = True
        if event.id:
            self._id = response_id(event.id)
        self._created_s = event.created_s or self._created_s
        # Tools and instructions are long, and the last event repeats them.
        response = {**self._envelope("in_progress"), "tools": [], "instructions": None}
        return self._event("response.created", response=response) + self._event(
            "response.in_progress", response=response
        )

    def _envelope(self, status: str) -> JsonObject:
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created_s,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
            **self._way_back.echo,
            "model": self._way_back.model,
            "output": [],
            "usage": None,
        }

    def _new(self, part: Any, prefix: str) -> _Item:
        own = getattr(part, "item_id", "")
        item = _Item(self._next_output, own or item_id(prefix, self._id, self._next_output), part)
        self._next_output += 1
        return item

    def _added(self, item: _Item, value: JsonObject) -> bytes:
        return self._event("response.output_item.added", output_index=item.output_index, item=value)

    def _done(self, item: _Item, value: JsonObject) -> bytes:
        self._output[item.output_index] = value
        return self._event("response.output_item.done", output_index=item.output_index, item=value)

    def _part(self, event: PartStarted) -> bytes:
        part = event.part
        if isinstance(part, Text | Refusal):
            return self._content(event.index, part)
        closed = self._close_message() if self._message is not None and not self._contents else b""
        match part:
            case ToolCall():
                item = self._items[event.index] = self._new(part, _PREFIXES[part.kind])
                return closed + self._added(item, call_item(part, item.id, "", "in_progress"))
            case Thinking():
                item = self._items[event.index] = self._new(part, "rs")
                return closed + self._added(item, {"id": item.id, "type": "reasoning", "summary": []})
            case WebSearchCall():
                item = self._items[event.index] = self._new(part, "ws")
                if part.id.startswith("ws_"):
                    item.id = part.id
                place = {"output_index": item.output_index, "item_id": item.id}
                return (
                    closed
                    + self._added(item, search_item(part, item.id, "in_progress"))
                    + self._event("response.web_search_call.in_progress", **place)
                    + self._event("response.web_search_call.searching", **place)
                )
            case RedactedThinking():
                item = self._new(part, "rs")
                value = redacted_item(part, item.id, self._way_back)
                return closed + self._added(item, value) + self._done(item, value)
            case Opaque() if part.origin is Dialect.RESPONSES:
                item = self._new(part, "item")
                return closed + self._added(item, part.value) + self._done(item, part.value)
        return closed

    def _content(self, index: int, part: Text | Refusal) -> bytes:
        added = b""
        if self._message is not None and not self._contents and _is_other_message(self._message, part):
            added = self._close_message()
        if self._message is None:
            self._message = self._new(part, "msg")
            added += self._added(self._message, message_item(part, self._message.id, [], "in_progress"))
        item = self._message
        number = len(item.content) + len(self._contents)
        self._contents[index] = _Content(item, number, part)
        return added + self._event(
            "response.content_part.added",
            item_id=item.id,
            output_index=item.output_index,
            content_index=number,
            part=content_part(part, "", []),
        )

    def _refusal(self, event: RefusalDelta) -> bytes:
        content = self._contents.get(event.index)
        if content is None:
            return b""
        self._refused = True
        content.pieces.append(event.text)
        return self._event("response.refusal.delta", **_place(content), delta=event.text)

    def _thinking(self, event: ThinkingDelta) -> bytes:
        item = self._items.get(event.index)
        if item is None:
            return b""
        text = event.text
        told = b""
        # Only this dialect has a summary in parts.
        if not item.summary or (event.summary_index is not None and event.summary_index >= len(item.summary)):
            if item.summary:
                text = text.removeprefix(PARAGRAPH)
                told = self._end_summary(item)
            item.summary.append([])
            empty = {"type": "summary_text", "text": ""}
            told += self._event("response.reasoning_summary_part.added", **_summary_place(item), part=empty)
        item.summary[-1].append(text)
        return told + self._event("response.reasoning_summary_text.delta", **_summary_place(item), delta=text)

    def _end_summary(self, item: _Item) -> bytes:
        text = "".join(item.summary[-1])
        place = _summary_place(item)
        return self._event("response.reasoning_summary_text.done", **place, text=text) + self._event(
            "response.reasoning_summary_part.done", **place, part={"type": "summary_text", "text": text}
        )

    def _arguments(self, event: ToolArguments) -> bytes:
        item = self._items.get(event.index)
        if item is None:
            return b""
        item.pieces.append(event.fragment)
        match item.part.kind:
            case ToolKind.FUNCTION:
                kind = "response.function_call_arguments.delta"
            case ToolKind.CUSTOM:
                kind = "response.custom_tool_call_input.delta"
            case _:
                return b""
        return self._event(kind, item_id=item.id, output_index=item.output_index, delta=event.fragment)

    def _end_part(self, event: PartEnded) -> bytes:
        content = self._contents.pop(event.index, None)
        if content is not None:
            return self._end_content(content)
        item = self._items.pop(event.index, None)
        if item is None:
            return b""
        said = "".join(item.pieces)
        match item.part:
            case ToolCall():
                return self._end_call(item, item.part, said)
            case Thinking():
                return self._end_thinking(item, item.part)
            case WebSearchCall():
                search = event.part if isinstance(event.part, WebSearchCall) else item.part
                told = self._event(
                    "response.web_search_call.completed", output_index=item.output_index, item_id=item.id
                )
                return told + self._done(item, search_item(search, item.id, search.status))
            case _:
                pass
        return b""

    def _end_call(self, item: _Item, call: ToolCall, said: str) -> bytes:
        place = {"item_id": item.id, "output_index": item.output_index}
        told = b""
        if call.kind is ToolKind.FUNCTION:
            told = self._event("response.function_call_arguments.done", **place, name=call.name, arguments=said)
        elif call.kind is ToolKind.CUSTOM:
            told = self._event("response.custom_tool_call_input.done", **place, input=said)
        return told + self._done(item, call_item(call, item.id, said, "completed"))

    def _end_thinking(self, item: _Item, part: Thinking) -> bytes:
        told = self._end_summary(item) if item.summary else b""
        secret = item.encrypted
        whole = msgspec.structs.replace(part, signature=secret.signature, encrypted_content=secret.encrypted_content)
        texts = ["".join(pieces) for pieces in item.summary]
        return told + self._done(item, reasoning_item(whole, item.id, texts, self._way_back))

    def _end_content(self, content: _Content) -> bytes:
        text = "".join(content.pieces)
        told: list[bytes] = []
        annotations: list[JsonObject] = []
        for seen in content.annotations:
            native = seen.origin is Dialect.RESPONSES
            cited = seen.annotation if native else url_citation(seen.annotation, seen.origin, len(text))
            if cited is not None:
                told.append(
                    self._event(
                        "response.output_text.annotation.added",
                        **_place(content),
                        annotation_index=len(annotations),
                        annotation=cited,
                    )
                )
                annotations.append(cited)
        part = content_part(content.part, text, annotations)
        content.item.content.append(part)
        if isinstance(content.part, Refusal):
            told.append(self._event("response.refusal.done", **_place(content), refusal=text))
        else:
            told.append(self._event("response.output_text.done", **_place(content), text=text, logprobs=[]))
        told.append(self._event("response.content_part.done", **_place(content), part=part))
        return b"".join(told)

    def _close_message(self, status: str = "completed") -> bytes:
        item, self._message = self._message, None
        return b"" if item is None else self._done(item, message_item(item.part, item.id, item.content, status))

    def _finish(self, event: Finished) -> bytes:
        status, reason = write_end(event)
        told = b""
        if event.reason is StopReason.REFUSAL and status == "completed" and not self._refused:
            told = self._say_refusal()
        if event.reason is StopReason.INCOMPLETE:
            self._keep_unfinished()
        told += self._close_message(status)
        self.is_over = True
        details = None if reason is None else {"reason": reason}
        return told + self._end(status, incomplete_details=details, usage=write_usage(self._usage))

    def _say_refusal(self) -> bytes:
        index = -1
        return (
            self._content(index, Refusal(""))
            + self._refusal(RefusalDelta(index, _REFUSED))
            + self._end_part(PartEnded(index))
        )

    def _fail(self, error: Error) -> bytes:
        self.is_over = True
        for index in list(self._contents):
            self._end_content(self._contents.pop(index))
        self._keep_unfinished()
        code = _CODES.get(error.kind) or code_of(error.kind)
        return self._end("failed", error={"code": code, "message": _message(error)})

    def _keep_unfinished(self) -> None:
        """A broken message goes into the response, but gets no `done`: Codex would put it into its history, and then
        ask again."""
        item, self._message = self._message, None
        if item is not None:
            self._output[item.output_index] = message_item(item.part, item.id, item.content, "incomplete")

    def _end(self, status: str, **fields: Any) -> bytes:
        output = [self._output[index] for index in sorted(self._output)]
        self.response = {**self._envelope(status), "output": output, **fields}
        return self._event(f"response.{status}", response=self.response)


def _is_other_message(item: _Item, part: Text | Refusal) -> bool:
    """Whether the endpoint, of this dialect, had them in two messages."""
    return isinstance(part, Text) and bool(part.item_id) and part.item_id != item.id


def _summary_place(item: _Item) -> dict[str, Any]:
    return {"item_id": item.id, "output_index": item.output_index, "summary_index": len(item.summary) - 1}


def _place(content: _Content) -> dict[str, Any]:
    return {
        "item_id": content.item.id,
        "output_index": content.item.output_index,
        "content_index": content.index,
    }


def _message(error: Error) -> str:
    """The message. Codex takes the wait out of it."""
    message = error.message
    wait_s = error.retry_after_s
    if error.kind is ErrorKind.RATE_LIMIT and wait_s is not None and "try again in" not in message.lower():
        message = f"{message.rstrip('.')}. Please try again in {wait_s:g}s."
    return message


def _head(kind: str, item: _Item, content_index: int) -> bytes:
    return b'event: %b\ndata: {"type":"%b","item_id":%b,"output_index":%d,"content_index":%d,"logprobs":[],"delta":' % (
        kind.encode(),
        kind.encode(),
        _encode(item.id),
        item.output_index,
        content_index,
    )


KEEP_ALIVE: Final = b'event: keepalive\ndata: {"type":"keepalive"}\n\n'
