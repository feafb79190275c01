"""Streams between the same dialect: bytes stay as they are. Watched are tokens, a first event that is an error, and the
end."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_gateway.dialect.chat.errors import read_error_object as read_openai_error
from codex_gateway.dialect.chat.errors import write_error as write_openai_error
from codex_gateway.dialect.chat.stop import read_failure as read_chat_failure
from codex_gateway.dialect.chat.stop import read_stop as read_chat_stop
from codex_gateway.dialect.chat.usage import read_usage as read_chat_usage
from codex_gateway.dialect.conversion import Outcome, UpstreamEnd, end_error, may_fail_over
from codex_gateway.dialect.facts import WayBack
from codex_gateway.dialect.malformed import MISSHAPEN
from codex_gateway.dialect.messages.errors import read_error_object as read_messages_error
from codex_gateway.dialect.messages.errors import write_error as write_messages_error
from codex_gateway.dialect.messages.stop import read_stop as read_messages_stop
from codex_gateway.dialect.messages.usage import read_usage as read_messages_usage
from codex_gateway.dialect.messages.writer import PING
from codex_gateway.dialect.neutral import (
    Dialect,
    Error,
    ErrorKind,
    Failed,
    Finished,
    JsonObject,
    Started,
    StopReason,
    Usage,
)
from codex_gateway.dialect.responses.stop import read_end
from codex_gateway.dialect.responses.usage import read_usage as read_responses_usage
from codex_gateway.dialect.responses.writer import KEEP_ALIVE, ResponsesWriter
from codex_gateway.dialect.sse import MAX_EVENT_BYTES, Event, EventTooLarge, SseReader, comment_bytes, event_bytes

if TYPE_CHECKING:
    from collections.abc import Callable

_BOUNDARY: Final = re.compile(rb"\n\n|\r\r|\r\n\r\n|\n\r\n|\r\n\n|\n\r(?!\n)")
_MODEL: Final = re.compile(rb'"model"\s*:\s*("(?:[^"\\]|\\.)*")')


class PassThrough:
    """See StreamConversion. Gives out whole events, with the bytes that they came in.

    :param model_to_echo: the model's name that the client knows, where the endpoint's is another
    :param drops_usage: Chat's usage-only chunk was asked for by the gateway alone: the client does not get it
    """

    def __init__(
        self,
        dialect: Dialect,
        model_to_echo: str | None = None,
        *,
        drops_usage: bool = False,
        max_event_bytes: int = MAX_EVENT_BYTES,
    ) -> None:
        self.usage = Usage()
        self.first_event_error: Error | None = None
        self.outcome: Outcome | None = None
        self._dialect = dialect
        self._model = None if model_to_echo is None else msgspec.json.encode(model_to_echo)
        self._sse = SseReader(max_event_bytes)
        self._held = bytearray()
        """The beginning of an event."""
        self._waiting = bytearray()
        """Whole events without content, until another event tells that the answer has begun."""
        self._drops_usage = drops_usage and dialect is Dialect.CHAT
        self._given = False
        self._seen = False
        """Any event was seen."""
        self._begun = False
        """An event with content, or an end, was seen."""
        self._stop: Finished | None = None
        self._broken = False
        self._response: JsonObject = {}
        self._watch: Callable[[Event], None]
        match dialect:
            case Dialect.MESSAGES:
                self._watch = self._watch_messages
            case Dialect.CHAT:
                self._watch = self._watch_chat
            case Dialect.RESPONSES:
                self._watch = self._watch_responses

    def __repr__(self) -> str:
        return f"<PassThrough {self._dialect.value} {self.outcome}>"

    def feed(self, data: bytes) -> list[bytes]:
        """See StreamConversion."""
        if self.first_event_error is not None or self._broken:
            return []
        try:
            events = self._sse.feed(data)
        except EventTooLarge as why:
            self._broken = True
            return self._fail(Error(ErrorKind.UNAVAILABLE, f"The endpoint sent {why}.", status=502))
        for event in events:
            self._look(event)
        if self.first_event_error is not None:
            return []
        whole = self._cut(data)
        if self._drops_usage:
            whole = _without_usage(whole)
        self._seen = self._seen or bool(events)
        if not self._given:
            self._waiting += whole
            if not self._seen and len(self._waiting) > _MAX_COMMENTS_BYTES:
                self._waiting.clear()
            if not self._begun:
                return []
            whole = self._release()
        return [self._told(whole)] if whole else []

    def end(self, error: UpstreamEnd | None = None) -> list[bytes]:
        """See StreamConversion."""
        if self.first_event_error is not None or self._broken:
            return []
        given: list[bytes] = []
        if error is None:
            events = self._sse.finish()
            for event in events:
                self._look(event)
            if self.first_event_error is not None:
                return []
            # With the blank line that is missing, or the half of a line end that came last.
            rest = bytes(self._held) + (b"\n\n" if events else b"")
            if self._drops_usage:
                rest = _without_usage(rest)
            if not self._given:
                self._waiting += rest
                rest = self._release() if self._begun else b""
            if rest:
                given.append(self._told(rest))
        self._held.clear()
        if self._stop is not None and self.outcome is None:
            # The reason was told; what is missing is [DONE] or message_stop.
            self.outcome = Outcome(self._stop.reason)
            given.append(_DONE if self._dialect is Dialect.CHAT else _MESSAGE_STOP)
        if self.outcome is not None:
            return given
        return given + self._fail(end_error(error))

    def release(self) -> list[bytes]:
        """See StreamConversion. Comments alone are no beginning."""
        whole = self._release() if self._seen else b""
        return [self._told(whole)] if whole else []

    def keep_alive(self) -> bytes:
        """See StreamConversion. Given out between whole events only."""
        if self._waiting and self._seen:
            return b"".join(self.release())
        if self.outcome is not None:
            return b""
        if self._dialect is Dialect.MESSAGES:
            return PING
        if self._dialect is Dialect.RESPONSES and self._given:
            return KEEP_ALIVE
        return comment_bytes("keep-alive")

    def _release(self) -> bytes:
        whole = bytes(self._waiting)
        self._waiting.clear()
        self._given = self._given or bool(whole)
        return whole

    def _told(self, whole: bytes) -> bytes:
        return whole if self._model is None else self._echo(whole, self._model)

    def _cut(self, data: bytes) -> bytes:
        """All up to the last blank line. What begins behind it is held."""
        held = self._held
        if not held and data.endswith(b"\n\n"):
            return data
        # A blank line may have begun in what was held before.
        from_ = max(0, len(held) - 3)
        held += data
        if b"\r" in data or b"\r" in held[from_:]:
            at = max((found.end() for found in _BOUNDARY.finditer(held, from_)), default=0)
        else:
            at = held.rfind(b"\n\n", from_) + 2
            at = 0 if at < 2 else at
        whole = bytes(held[:at])
        del held[:at]
        return whole

    def _fail(self, error: Error) -> list[bytes]:
        self.outcome = Outcome(error=error)
        if not self._given:
            self.first_event_error = error
            return []
        match self._dialect:
            case Dialect.MESSAGES:
                return [event_bytes(write_messages_error(error), "error")]
            case Dialect.CHAT:
                return [event_bytes(write_openai_error(error))]
            case Dialect.RESPONSES:
                return [self._failed_response(error)]

    def _failed_response(self, error: Error) -> bytes:
        """`response.failed` under the id that the client knows."""
        way_back = WayBack(client=self._dialect, upstream=self._dialect, model=str(self._response.get("model") or ""))
        writer = ResponsesWriter(way_back, 0, "")
        writer.write(Started(str(self._response.get("id") or "")))
        return writer.write(Failed(error))

    def _echo(self, data: bytes, model: bytes) -> bytes:
        """`data`, whole events, with the model's name that the client knows."""
        name = b'"model":' + model
        if self._dialect is Dialect.CHAT:
            # Inside a JSON text quotes are escaped, so this finds names of fields only; each chunk has one.
            return b"\n".join(_MODEL.sub(lambda _: name, line, count=1) for line in data.split(b"\n"))
        telling = b"message_start" if self._dialect is Dialect.MESSAGES else b'"response"'
        return b"\n".join(
            self._with_model(line, model) if line.startswith(b"data:") and telling in line else line
            for line in data.split(b"\n")
        )

    def _with_model(self, line: bytes, model: bytes) -> bytes:
        """A `data` line whose message or response bears the client's name of the model."""
        try:
            value = msgspec.json.decode(line[5:])
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return line
        if not isinstance(value, dict):
            return line
        holder = value.get("message" if self._dialect is Dialect.MESSAGES else "response")
        if not isinstance(holder, dict) or "model" not in holder:
            return line
        holder["model"] = msgspec.json.decode(model)
        return b"data: " + msgspec.json.encode(value) + (b"\r" if line.endswith(b"\r") else b"")

    def _look(self, event: Event) -> None:
        try:
            self._watch(event)
        except MISSHAPEN:
            # What is not in its dialect's form is the client's to judge.
            self._begun = True

    def _told_error(self, error: Error) -> None:
        self.outcome = Outcome(error=error)
        self._stop = None
        if not self._begun and not self._given and may_fail_over(error, self._dialect):
            self.first_event_error = error
        self._begun = True

    def _watch_messages(self, event: Event) -> None:
        name = event.name
        if name == "content_block_delta" or (not name and b'"content_block_delta"' in event.data[:64]):
            self._begun = True
            return
        if not name or name in ("message_start", "message_delta", "message_stop", "error"):
            told = _decoded(event.data)
            name = str(told.get("type") or name)
            match name:
                case "message_start":
                    self._count_messages(told.get("message"))
                case "message_delta":
                    self._count_messages(told)
                    delta = told.get("delta") or {}
                    if delta.get("stop_reason"):
                        self._stop = read_messages_stop(str(delta["stop_reason"]), delta.get("stop_sequence"))
                case "message_stop":
                    self.outcome = self.outcome or Outcome(self._stop.reason if self._stop else StopReason.END)
                case "error":
                    self._told_error(read_messages_error(told.get("error")))
                case _:
                    pass
        if name not in ("message_start", "ping"):
            self._begun = True

    def _count_messages(self, holder: Any) -> None:
        if isinstance(holder, dict):
            self.usage = read_messages_usage(holder.get("usage"), self.usage)

    def _watch_chat(self, event: Event) -> None:
        data = event.data
        if data[:1] != b"{":
            self._begun = True
            if data.strip() == b"[DONE]" and self.outcome is None:
                self.outcome = Outcome(self._stop.reason if self._stop else StopReason.END)
            return
        if self._begun and not _TELLING_CHUNK.search(data):
            return
        told = _decoded(data)
        if told.get("error") is not None:
            self._told_error(read_openai_error(told["error"]))
            return
        usage = read_chat_usage(told.get("usage"), told.get("service_tier"))
        if usage is not None:
            self.usage = usage
        for choice in told.get("choices") or ():
            if isinstance(choice, dict) and usage is None and isinstance(choice.get("usage"), dict):
                self.usage = read_chat_usage(choice["usage"]) or self.usage
            if isinstance(choice, dict) and choice.get("finish_reason"):
                failure = read_chat_failure(str(choice["finish_reason"]))
                if failure is not None:
                    self._told_error(failure)
                    return
                self._stop = read_chat_stop(str(choice["finish_reason"]), choice.get("stop_reason"), refused=False)
        self._begun = self._begun or not _is_empty(told)

    def _watch_responses(self, event: Event) -> None:
        # Deltas are most of a stream, and their names tell what they are.
        name = event.name
        if (name and name not in _TELLING_EVENTS) or (not name and b".delta" in event.data[:64]):
            self._begun = True
            return
        told = _decoded(event.data)
        kind = str(told.get("type") or name)
        if kind == "error":
            self._told_error(
                read_openai_error(told.get("error") or {key: told.get(key) for key in ("message", "code")})
            )
            return
        response = told.get("response")
        if kind not in _TELLING_EVENTS or not isinstance(response, dict):
            self._begun = True
            return
        self._response = {"id": response.get("id"), "model": response.get("model")}
        usage = read_responses_usage(response.get("usage"), response.get("service_tier"))
        if usage is not None:
            self.usage = usage
        status = kind.removeprefix("response.")
        if status in ("completed", "incomplete", "failed", "cancelled"):
            end = read_end(response, status, refused=False)
            if isinstance(end, Failed):
                self._told_error(end.error)
            else:
                self.outcome = Outcome(end.reason)
            self._begun = True


def _is_empty(chunk: JsonObject) -> bool:
    """Whether a chunk says nothing: a role alone, or what Azure found in the prompt."""
    if chunk.get("usage"):
        return False
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        if choice.get("finish_reason") or choice.get("message") or any(delta[key] for key in delta if key != "role"):
            return False
    return True


def _without_usage(whole: bytes) -> bytes:
    """Whole events of Chat without those that tell tokens and nothing else."""
    if not _NO_CHOICES.search(whole):
        return whole
    kept: list[bytes] = []
    begin = 0
    for end in [*(found.end() for found in _BOUNDARY.finditer(whole)), len(whole)]:
        block = whole[begin:end]
        begin = end
        if not (_NO_CHOICES.search(block) and _tells_usage_alone(block)):
            kept.append(block)
    return b"".join(kept)


def _tells_usage_alone(block: bytes) -> bool:
    told = next((_decoded(event.data) for event in SseReader().feed(block + b"\n\n")), {})
    return bool(told.get("usage")) and not told.get("choices") and not told.get("error")


def _decoded(data: bytes) -> JsonObject:
    """An event's JSON; what cannot be read is the client's to judge."""
    try:
        value = msgspec.json.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return {}
    return value if isinstance(value, dict) else {}


_TELLING_CHUNK: Final = re.compile(rb'"finish_reason"\s*:\s*"|"usage"\s*:\s*\{|"error"\s*:')
_MAX_COMMENTS_BYTES: Final = 64 * 1024
"""Comments before the first event, which are given out with it; beyond this they are dropped."""
_NO_CHOICES: Final = re.compile(rb'"choices"\s*:\s*\[\s*\]')
_TELLING_EVENTS: Final = frozenset(
    (
        "response.created",
        "response.in_progress",
        "response.queued",
        "response.completed",
        "response.incomplete",
        "response.failed",
        "response.cancelled",
        "error",
    )
)
_DONE: Final = b"data: [DONE]\n\n"
_MESSAGE_STOP: Final = b'event: message_stop\ndata: {"type":"message_stop"}\n\n'
