"""Chat Completions' stream: SSE events -> neutral events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from msgspec import Struct

from codex_gateway.dialect.chat.errors import read_error_object
from codex_gateway.dialect.chat.stop import read_failure, read_stop
from codex_gateway.dialect.chat.tool_calls import ToolCalls
from codex_gateway.dialect.chat.usage import read_usage
from codex_gateway.dialect.inline_thinking import InlineThinking
from codex_gateway.dialect.malformed import decode_event, malformed
from codex_gateway.dialect.neutral import (
    AnnotationSeen,
    Dialect,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Refusal,
    RefusalDelta,
    Started,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    UsageSeen,
)

if TYPE_CHECKING:
    from codex_gateway.dialect import sse
    from codex_gateway.dialect.neutral import Event, JsonObject, Part


class _Delta(Struct, gc=False):
    content: Any = None
    reasoning_content: Any = None
    reasoning: Any = None
    refusal: Any = None
    tool_calls: Any = None
    function_call: Any = None
    annotations: Any = None


class _Choice(Struct, gc=False):
    index: Any = 0
    delta: _Delta | None = None
    message: Any = None
    finish_reason: Any = None
    stop_reason: Any = None
    usage: Any = None


class _Chunk(Struct, gc=False):
    id: Any = None
    created: Any = None
    model: Any = None
    choices: list[_Choice] | None = None
    usage: Any = None
    service_tier: Any = None
    error: Any = None
    object: Any = None
    message: Any = None


_decode = msgspec.json.Decoder(_Chunk).decode


class ChatReader:
    """Chunks in, neutral events out."""

    __slots__ = (
        "_blank",
        "_by_deltas",
        "_calls",
        "_id",
        "_open",
        "_open_kind",
        "_parts",
        "_said",
        "_split",
        "_started",
        "_stop",
        "is_over",
    )

    def __init__(self, thinking_opened: bool = False) -> None:
        self._started = False
        self._id = ""
        self._parts = 0
        self._open: int = -1
        self._open_kind: type[Text | Thinking | Refusal] | None = None
        self._calls = ToolCalls(self._next_part)
        self._split: InlineThinking | None = InlineThinking(thinking_opened)
        self._said = ""
        """What snapshots have said."""
        self._by_deltas = False
        self._blank = ""
        """White space with which a text may begin. If none comes, it is left out: Anthropic refuses such texts."""
        self._stop: Finished | None = None
        self.is_over = False
        """Nothing counts any more."""

    def read(self, event: sse.Event, out: list[Event]) -> None:
        """One chunk.

        :raises AnswerFailed: it cannot be read
        """
        data = event.data
        if data[:1] != b"{":
            data = data.strip()
            if data == b"[DONE]":
                self._finish(out)
            if data[:1] != b"{":
                return
        chunk = decode_event(_decode, data)
        if chunk.error is not None or event.name == "error" or chunk.object == "error":
            body = chunk.error if chunk.error is not None else msgspec.json.decode(data)
            self.is_over = True
            out.append(Failed(read_error_object(body)))
            return
        if not self._started:
            self._start(chunk, out)
        told = chunk.usage
        if chunk.choices:
            choice = chunk.choices[0]
            # Kimi counts in the choice.
            told = choice.usage if told is None else told
            # Only one choice was asked for.
            if choice.index in (0, None):
                if choice.delta is not None:
                    self._delta(choice.delta, out)
                    self._by_deltas = self._by_deltas or bool(self._parts or self._calls)
                elif isinstance(choice.message, dict):
                    self._snapshot(choice.message, out)
                if choice.finish_reason and self._stop is None:
                    self._stopped(choice, out)
        if told is not None:
            usage = read_usage(told, chunk.service_tier)
            if usage is not None:
                out.append(UsageSeen(usage))
                if self._stop is not None and not chunk.choices:
                    self._finish(out)

    def end(self, out: list[Event]) -> None:
        """The stream ended by itself. Output without a finish reason is an incomplete answer."""
        if self.is_over:
            return
        if self._stop is None and (self._parts or self._calls):
            self._stop = Finished(StopReason.INCOMPLETE)
        self._finish(out)

    @property
    def is_whole(self) -> bool:
        """Whether the answer's end was seen."""
        return self._stop is not None

    def whole(self, completion: JsonObject, out: list[Event]) -> None:
        """A whole completion instead of a stream. It came whole, so a missing finish reason means no harm.

        :raises AnswerFailed: it cannot be read
        """
        if completion.get("error"):
            out.append(Failed(read_error_object(completion["error"])))
            return
        choices = completion.get("choices")
        if not isinstance(choices, list) or not choices or not isinstance(choices[0], dict):
            raise malformed("a completion without choices")
        message = choices[0].get("message")
        message = dict(message) if isinstance(message, dict) else {}
        calls = message.get("tool_calls")
        if isinstance(calls, list):
            message["tool_calls"] = [{**call, "index": at} for at, call in enumerate(calls) if isinstance(call, dict)]
        self._start(_Chunk(completion.get("id"), completion.get("created"), completion.get("model")), out)
        try:
            self._delta(msgspec.convert(message, _Delta), out)
        except msgspec.ValidationError as why:
            raise malformed(f"a completion that cannot be read ({why})") from why
        usage = read_usage(completion.get("usage"), completion.get("service_tier"))
        if usage is not None:
            out.append(UsageSeen(usage))
        choice = msgspec.convert({**choices[0], "message": None}, _Choice)
        choice.finish_reason = choice.finish_reason or "stop"
        self._stopped(choice, out)
        self._finish(out)

    def _start(self, chunk: _Chunk, out: list[Event]) -> None:
        self._started = True
        self._id = chunk.id if isinstance(chunk.id, str) else ""
        model = chunk.model if isinstance(chunk.model, str) else ""
        out.append(Started(self._id, model, chunk.created if isinstance(chunk.created, int) else 0))

    def _delta(self, delta: _Delta, out: list[Event]) -> None:
        reasoning = delta.reasoning_content or delta.reasoning
        if reasoning and isinstance(reasoning, str):
            # An endpoint that tells reasoning apart does not write it into the text as well.
            self._flush_split(out)
            self._split = None
            self._say(Thinking, reasoning, out)
        content = delta.content
        if content:
            if isinstance(content, str):
                self._text(content, out)
            elif isinstance(content, list):
                self._pieces(content, out)
        if delta.refusal and isinstance(delta.refusal, str):
            self._say(Refusal, delta.refusal, out)
        if delta.annotations and self._open_kind is Text:
            for annotation in delta.annotations:
                out.append(AnnotationSeen(self._open, annotation, Dialect.CHAT))
        if delta.tool_calls or delta.function_call:
            self._flush_split(out)
            self._close(out)
            calls = delta.tool_calls or ()
            # TGI sends one call without a list.
            for fragment in (calls,) if isinstance(calls, dict) else calls:
                self._calls.read(fragment, out)
            if delta.function_call:
                self._calls.read({"index": 0, "function": delta.function_call}, out)

    def _snapshot(self, message: dict[str, Any], out: list[Event]) -> None:
        """A `message` instead of a `delta` holds all that was said so far.

        MiniMax ends its deltas with one, which says nothing new.
        """
        if self._by_deltas:
            return
        content = message.get("content")
        if isinstance(content, str) and content.startswith(self._said):
            new, self._said = content[len(self._said) :], content
            if new:
                self._text(new, out)
        for number, call in enumerate(message.get("tool_calls") or ()):
            self._close(out)
            self._calls.read({"index": number, **call}, out)

    def _pieces(self, content: list[Any], out: list[Event]) -> None:
        """Mistral's content: an array of text and thinking pieces."""
        for piece in content:
            if isinstance(piece, dict):
                if isinstance(piece.get("text"), str):
                    self._text(piece["text"], out)
                elif isinstance(piece.get("thinking"), list):
                    for thought in piece["thinking"]:
                        if isinstance(thought, dict) and thought.get("text"):
                            self._split = None
                            self._say(Thinking, thought["text"], out)

    def _text(self, text: str, out: list[Event]) -> None:
        split = self._split
        if split is None:
            if self._open_kind is Text:
                self._say(Text, text, out)
            else:
                self._begin_text(text, out)
            return
        thinking, answer = split.feed(text)
        if split.is_over:
            self._split = None
        if thinking:
            self._say(Thinking, thinking, out)
        if answer:
            self._begin_text(answer, out)

    def _begin_text(self, text: str, out: list[Event]) -> None:
        if self._open_kind is not Text:
            text, self._blank = self._blank + text, ""
            if text.isspace():
                self._blank = text
                return
        self._say(Text, text, out)

    def _say(self, kind: type[Text | Thinking | Refusal], text: str, out: list[Event]) -> None:
        if self._open_kind is not kind:
            self._close(out)
            self._open = self._next_part()
            self._open_kind = kind
            part: Part = Thinking("", Dialect.CHAT) if kind is Thinking else kind("")  # type: ignore[call-arg]
            out.append(PartStarted(self._open, part))
        if kind is Text:
            out.append(TextDelta(self._open, text))
        elif kind is Thinking:
            out.append(ThinkingDelta(self._open, text))
        else:
            out.append(RefusalDelta(self._open, text))

    def _close(self, out: list[Event]) -> None:
        if self._open_kind is not None:
            out.append(PartEnded(self._open))
            self._open_kind = None

    def _next_part(self) -> int:
        self._parts += 1
        return self._parts - 1

    def _flush_split(self, out: list[Event]) -> None:
        """Something else comes: what might have become a tag is said now. White space alone says nothing there."""
        if self._split is not None:
            thinking, answer = self._split.flush()
            if thinking.strip():
                self._say(Thinking, thinking, out)
            if answer.strip():
                self._split = None
                self._say(Text, answer, out)

    def _end_split(self, out: list[Event]) -> None:
        if self._split is not None:
            thinking, answer = self._split.end()
            self._split = None
            if thinking:
                self._say(Thinking, thinking, out)
            if answer:
                self._say(Text, answer, out)

    def _stopped(self, choice: _Choice, out: list[Event]) -> None:
        self._end_split(out)
        reason = str(choice.finish_reason)
        failure = read_failure(reason)
        if failure is not None:
            self.is_over = True
            out.append(Failed(failure))
            return
        if self._blank and not self._parts and not self._calls:
            self._say(Text, self._blank, out)
        self._stop = read_stop(reason, choice.stop_reason, self._open_kind is Refusal)
        self._close(out)

    def _finish(self, out: list[Event]) -> None:
        """All was said, and all that follows does not count."""
        if self.is_over:
            return
        if self._stop is None:
            if not self._parts and not self._calls and self._split is not None:
                self._end_split(out)
            if not self._parts and not self._calls:
                # [DONE], or an end, after nothing at all.
                return
            self._end_split(out)
            self._stop = Finished(StopReason.INCOMPLETE)
        self.is_over = True
        self._close(out)
        self._calls.end(self._id, out)
        out.append(self._stop)
