"""Responses' stream: SSE events -> neutral events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from codex_gateway.dialect.chat.errors import read_error_object
from codex_gateway.dialect.malformed import decode_event
from codex_gateway.dialect.neutral import (
    AnnotationSeen,
    Dialect,
    Failed,
    Finished,
    Opaque,
    PartEnded,
    PartStarted,
    Refusal,
    RefusalDelta,
    SignatureDelta,
    Started,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolArguments,
    ToolCall,
    UsageSeen,
    WebSearchCall,
)
from codex_gateway.dialect.responses.items import PARAGRAPH, read_item, read_search, said_of, texts_of
from codex_gateway.dialect.responses.stop import read_end
from codex_gateway.dialect.responses.usage import read_usage

if TYPE_CHECKING:
    from codex_gateway.dialect import sse
    from codex_gateway.dialect.neutral import Event, JsonObject, Part


class _Event(Struct, gc=False):
    type: str = ""
    output_index: Any = 0
    content_index: Any = 0
    summary_index: Any = 0
    item_id: Any = None
    delta: Any = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    part: Any = None
    item: Any = None
    annotation: Any = None
    response: Any = None
    error: Any = None
    code: Any = None
    message: Any = None
    param: Any = None


_decode = msgspec.json.Decoder(_Event).decode


class _Open:
    """A part that the endpoint has begun. What was said is counted, so that what `done` repeats is not said twice."""

    __slots__ = ("annotations", "index", "part", "said", "summary")

    def __init__(self, index: int, part: Part) -> None:
        self.index = index
        self.part = part
        self.said = 0
        """Characters; -1 once the part has ended."""
        self.summary: dict[int, int] = {}
        """Reasoning: characters said by summary part; -1 is the reasoning itself."""
        self.annotations = 0


class ResponsesReader:
    """SSE events in, neutral events out."""

    __slots__ = (
        "_contents",
        "_done",
        "_done_ids",
        "_end",
        "_items",
        "_messages",
        "_parts",
        "_refused",
        "_searches",
        "_started",
        "is_over",
    )

    def __init__(self) -> None:
        self._started = False
        self._items: dict[int, _Open] = {}
        """By output_index."""
        self._contents: dict[tuple[int, int], _Open] = {}
        """Of messages, by output_index and content_index."""
        self._messages: dict[int, Text] = {}
        """What is known of messages before their texts, by output_index."""
        self._done: set[int] = set()
        self._done_ids: set[str] = set()
        self._parts = 0
        self._refused = False
        self._searches = 0
        self._end: Finished | Failed | None = None
        self.is_over = False
        """Nothing counts any more."""

    @property
    def is_whole(self) -> bool:
        """Whether the answer's end was seen."""
        return self._end is not None

    def read(self, event: sse.Event, out: list[Event]) -> None:
        """One event.

        :raises AnswerFailed: it cannot be read
        """
        if event.data[:1] != b"{":
            return
        told = decode_event(_decode, event.data)
        match told.type or event.name:
            case "response.output_text.delta":
                if told.delta:
                    self._more(self._content(told, Text(""), out), told.delta, out)
            case "response.function_call_arguments.delta" | "response.custom_tool_call_input.delta":
                self._more(self._items.get(told.output_index), told.delta, out)
            case "response.reasoning_summary_text.delta":
                self._thought(self._items.get(told.output_index), told.summary_index, told.delta, out)
            case "response.reasoning_text.delta":
                self._thought(self._items.get(told.output_index), -1, told.delta, out)
            case "response.refusal.delta":
                self._more(self._content(told, Refusal(""), out), told.delta, out)
            case "response.output_item.added":
                self._add(told.output_index, told.item, out)
            case "response.content_part.added":
                self._content(told, _content_of(told.part), out)
            case "response.output_text.done":
                self._rest(self._content(told, Text(""), out), told.text, out)
            case "response.refusal.done":
                self._rest(self._content(told, Refusal(""), out), told.refusal, out)
            case "response.function_call_arguments.done":
                self._rest(self._items.get(told.output_index), told.arguments, out)
            case "response.custom_tool_call_input.done":
                self._rest(self._items.get(told.output_index), told.input, out)
            case "response.output_text.annotation.added":
                content = self._content(told, Text(""), out)
                if content is not None and isinstance(told.annotation, dict):
                    content.annotations += 1
                    out.append(AnnotationSeen(content.index, told.annotation, Dialect.RESPONSES))
            case "response.content_part.done":
                content = self._contents.get((told.output_index, told.content_index))
                if content is not None:
                    self._whole_content(content, told.part, out)
                    self._close(content, out)
            case "response.output_item.done":
                self._item_done(told.output_index, told.item, out)
            case "response.created" | "response.in_progress" | "response.queued":
                self._start(told.response, out)
            case "response.completed" | "response.incomplete" | "response.failed" | "response.cancelled" as kind:
                self._finish(told.response, kind.removeprefix("response."), out)
            case "error":
                self.is_over = True
                error = told.error if told.error is not None else {"message": told.message, "code": told.code}
                out.append(Failed(read_error_object(error)))
            case _:
                pass

    def end(self, out: list[Event]) -> None:
        """The stream ended by itself: whole only after its last event, which has been handled."""

    def whole(self, response: JsonObject, out: list[Event]) -> None:
        """A whole response instead of a stream.

        :raises AnswerFailed: it cannot be read
        """
        self._start(response, out)
        self._finish(response, str(response.get("status") or "completed"), out)

    def _start(self, response: Any, out: list[Event]) -> None:
        if self._started or not isinstance(response, dict):
            return
        self._started = True
        created = response.get("created_at")
        created_s = int(created) if isinstance(created, int | float) else 0
        out.append(Started(str(response.get("id") or ""), str(response.get("model") or ""), created_s))

    def _begin(self, part: Part, out: list[Event]) -> _Open:
        begun = _Open(self._parts, part)
        self._parts += 1
        out.append(PartStarted(begun.index, part))
        return begun

    def _add(self, output_index: int, item: Any, out: list[Event]) -> _Open | None:
        part = read_item(item)
        if output_index in self._done:
            # Some endpoints give every item the index 0; each is whole before the next begins.
            self._done.remove(output_index)
            self._items.pop(output_index, None)
            self._contents = {key: content for key, content in self._contents.items() if key[0] != output_index}
        if part is None:
            phase = item.get("phase")
            self._messages[output_index] = Text(
                "", phase=phase if isinstance(phase, str) else None, item_id=str(item.get("id") or "")
            )
        # What has no neutral form is only useful whole.
        if part is None or isinstance(part, Opaque):
            return None
        begun = self._items[output_index] = self._begin(part, out)
        if isinstance(part, ToolCall):
            self._rest(begun, said_of(item), out)
        return begun

    def _content(self, told: _Event, part: Part | None, out: list[Event]) -> _Open | None:
        key = (told.output_index, told.content_index)
        content = self._contents.get(key)
        if content is None and part is not None and told.output_index not in self._done:
            content = self._contents[key] = self._begin(self._of_message(part, told.output_index), out)
        return content

    def _of_message(self, part: Part, output_index: int) -> Part:
        return self._messages.get(output_index, part) if isinstance(part, Text) else part

    def _more(self, part: _Open | None, delta: Any, out: list[Event]) -> None:
        if part is None or part.said < 0 or not delta or not isinstance(delta, str):
            return
        part.said += len(delta)
        match part.part:
            case Text():
                out.append(TextDelta(part.index, delta))
            case Refusal():
                self._refused = True
                out.append(RefusalDelta(part.index, delta))
            case ToolCall():
                out.append(ToolArguments(part.index, delta))
            case _:
                pass

    def _rest(self, part: _Open | None, whole: Any, out: list[Event]) -> None:
        """What `whole` says beyond what was said."""
        if part is not None and isinstance(whole, str) and len(whole) > part.said >= 0:
            self._more(part, whole[part.said :], out)

    def _thought(self, part: _Open | None, number: int, delta: Any, out: list[Event]) -> None:
        if part is None or not delta or not isinstance(delta, str) or not isinstance(part.part, Thinking):
            return
        before = part.summary.get(number, 0)
        part.summary[number] = before + len(delta)
        if not before and len(part.summary) > 1:
            delta = PARAGRAPH + delta
        out.append(ThinkingDelta(part.index, delta, number if number >= 0 else None))

    def _whole_content(self, content: _Open, value: Any, out: list[Event]) -> None:
        if not isinstance(value, dict) or content.said < 0:
            return
        self._rest(content, value.get("refusal" if isinstance(content.part, Refusal) else "text"), out)
        for annotation in (value.get("annotations") or ())[content.annotations :]:
            content.annotations += 1
            out.append(AnnotationSeen(content.index, annotation, Dialect.RESPONSES))

    def _item_done(self, output_index: int, item: Any, out: list[Event]) -> None:
        """The whole item: what was not said yet, then its end."""
        if output_index in self._done:
            return
        part = read_item(item)
        if part is None:
            if output_index not in self._messages:
                self._add(output_index, item, out)
            for number, value in enumerate(item.get("content") or ()):
                content = self._contents.get((output_index, number))
                if content is None:
                    kind = _content_of(value)
                    if kind is None:
                        continue
                    kind = self._of_message(kind, output_index)
                    content = self._contents[output_index, number] = self._begin(kind, out)
                self._whole_content(content, value, out)
                self._close(content, out)
        elif isinstance(part, Opaque):
            out.append(PartEnded(self._begin(part, out).index))
        else:
            begun = self._items.get(output_index) or self._add(output_index, item, out)
            if begun is not None:
                self._whole_item(begun, item, out)
        self._done.add(output_index)
        self._done_ids.add(str(item.get("id")))

    def _whole_item(self, begun: _Open, item: JsonObject, out: list[Event]) -> None:
        whole: Part | None = None
        match begun.part:
            case ToolCall():
                self._rest(begun, said_of(item), out)
            case Thinking():
                for number, text in enumerate(texts_of(item.get("summary"))):
                    self._thought(begun, number, text[begun.summary.get(number, 0) :], out)
                if not begun.summary:
                    self._thought(begun, -1, PARAGRAPH.join(texts_of(item.get("content"))), out)
                encrypted = item.get("encrypted_content")
                if encrypted and isinstance(encrypted, str):
                    out.append(SignatureDelta(begun.index, "", encrypted))
            case WebSearchCall():
                self._searches += 1
                whole = read_search(item)
            case _:
                pass
        out.append(PartEnded(begun.index, whole))

    def _close(self, content: _Open, out: list[Event]) -> None:
        if content.said >= 0:
            content.said = -1
            out.append(PartEnded(content.index))

    def _finish(self, response: Any, status: str, out: list[Event]) -> None:
        response = response if isinstance(response, dict) else {}
        self.is_over = True
        if status in ("completed", "incomplete"):
            self._start(response, out)
            # Some endpoints count here without the items that they left out.
            for output_index, item in enumerate(response.get("output") or ()):
                if not isinstance(item, dict) or not item.get("id") or str(item["id"]) not in self._done_ids:
                    self._item_done(output_index, item, out)
        usage = read_usage(response.get("usage"), response.get("service_tier"), self._searches)
        if usage is not None:
            out.append(UsageSeen(usage))
        self._end = read_end(response, status, self._refused)
        if isinstance(self._end, Finished):
            # An endpoint that ends without all `done` events is whole all the same.
            for output_index, begun in self._items.items():
                if output_index not in self._done:
                    out.append(PartEnded(begun.index))
            for content in self._contents.values():
                self._close(content, out)
        out.append(self._end)


def _content_of(value: Any) -> Part | None:
    kind = value.get("type") if isinstance(value, dict) else None
    if kind in ("output_text", "text"):
        return Text("")
    return Refusal("") if kind == "refusal" else None
