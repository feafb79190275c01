"""Answers of another dialect: streams and whole ones, put together from a reader, the way back, and a writer."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from msgspec import Struct

from codex_gateway.dialect.chat.answer import write_answer as write_chat
from codex_gateway.dialect.chat.reader import ChatReader
from codex_gateway.dialect.chat.writer import ChatWriter
from codex_gateway.dialect.collecting import Answer, collect
from codex_gateway.dialect.malformed import INCOMPLETE, MISSHAPEN, AnswerFailed, malformed
from codex_gateway.dialect.messages.answer import write_answer as write_messages
from codex_gateway.dialect.messages.reader import MessagesReader
from codex_gateway.dialect.messages.writer import MessagesWriter
from codex_gateway.dialect.neutral import (
    Dialect,
    Error,
    ErrorKind,
    Failed,
    Finished,
    Ping,
    Started,
    StopReason,
    Usage,
    UsageSeen,
)
from codex_gateway.dialect.responses.answer import write_answer as write_responses
from codex_gateway.dialect.responses.reader import ResponsesReader
from codex_gateway.dialect.responses.writer import ResponsesWriter
from codex_gateway.dialect.restoring import Restorer
from codex_gateway.dialect.sse import MAX_EVENT_BYTES, EventTooLarge, SseReader

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_gateway.dialect import sse
    from codex_gateway.dialect.facts import WayBack
    from codex_gateway.dialect.neutral import Event, JsonObject


class UpstreamEnd(StrEnum):
    """How an endpoint's stream ended without its own last event."""

    BROKEN = "broken"
    """The connection was lost."""
    TIMED_OUT = "timed_out"
    """Nothing came for too long."""
    DRAINING = "draining"
    """The gateway stops."""


class Outcome(Struct, frozen=True):
    """How an answer ended."""

    reason: StopReason | None = None
    """Set where the answer is whole or incomplete."""
    error: Error | None = None
    """Set where it failed."""


_END_ERRORS: Final = {
    UpstreamEnd.BROKEN: Error(
        ErrorKind.UNAVAILABLE, "The connection to the endpoint was lost.", status=502, code="connection_lost"
    ),
    UpstreamEnd.TIMED_OUT: Error(
        ErrorKind.TIMEOUT, "The endpoint sent nothing for too long.", status=504, code="upstream_timeout"
    ),
    UpstreamEnd.DRAINING: Error(
        ErrorKind.OVERLOADED, "The gateway is being stopped; ask again.", status=503, code="gateway_stopping"
    ),
}


def end_error(end: UpstreamEnd | None) -> Error:
    """What to tell a client whose endpoint ended so, before its answer was whole."""
    return INCOMPLETE if end is None else _END_ERRORS[end]


OF_THE_REQUEST: Final = frozenset((ErrorKind.BAD_REQUEST, ErrorKind.CONTEXT_LENGTH, ErrorKind.TOO_LARGE))
"""What every endpoint would refuse."""


def may_fail_over(error: Error, client: Dialect) -> bool:
    """Whether an error in place of an answer is kept back, for another endpoint or an answer with a status.

    What is wrong with the request itself is told to a Responses client in its stream: Codex knows a full context window
    by the code of `response.failed`, and not by an answer with status 400.
    """
    return client is not Dialect.RESPONSES or error.kind not in OF_THE_REQUEST


class Reader(Protocol):
    """Reads one endpoint's answer."""

    is_over: bool

    @property
    def is_whole(self) -> bool:
        """Whether the answer's end was seen."""

    def read(self, event: sse.Event, out: list[Event]) -> None:
        """One event of the stream."""

    def end(self, out: list[Event]) -> None:
        """The stream ended by itself."""

    def whole(self, body: JsonObject, out: list[Event]) -> None:
        """A whole answer."""


class Writer(Protocol):
    """Writes one client's stream."""

    def write(self, event: Event) -> bytes:
        """The bytes of one event; often none."""

    def keep_alive(self) -> bytes:
        """What keeps the client waiting."""


def _reader(way_back: WayBack) -> Reader:
    match way_back.upstream:
        case Dialect.MESSAGES:
            return MessagesReader()
        case Dialect.CHAT:
            return ChatReader(way_back.thinking_opened)
        case Dialect.RESPONSES:
            return ResponsesReader()


_WRITERS: Final[dict[Dialect, Callable[[WayBack, int, str], Writer]]] = {
    Dialect.MESSAGES: MessagesWriter,
    Dialect.CHAT: ChatWriter,
    Dialect.RESPONSES: ResponsesWriter,
}


class ConvertedStream:
    """One stream from an endpoint's dialect into the client's. Errors of the endpoint become the client's errors."""

    def __init__(
        self, way_back: WayBack, *, created_s: int = 0, answer_id: str = "", max_event_bytes: int = MAX_EVENT_BYTES
    ) -> None:
        self.usage = Usage()
        self.first_event_error: Error | None = None
        self.outcome: Outcome | None = None
        self._sse = SseReader(max_event_bytes)
        self._reader = _reader(way_back)
        self._restorer = Restorer(way_back)
        self._writer: Writer = _WRITERS[way_back.client](way_back, created_s, answer_id)
        self._client = way_back.client
        self._given = False
        self._waiting: list[bytes] = []
        """The beginning of an answer that has no content yet."""

    def __repr__(self) -> str:
        return f"<ConvertedStream {type(self._reader).__name__} {type(self._writer).__name__} {self.outcome}>"

    def feed(self, data: bytes) -> list[bytes]:
        """See StreamConversion."""
        if self.outcome is not None:
            return []
        try:
            events = self._sse.feed(data)
        except EventTooLarge as why:
            return self._write([Failed(_too_large(why))])
        return self._read(events)

    def end(self, error: UpstreamEnd | None = None) -> list[bytes]:
        """See StreamConversion."""
        if self.outcome is not None:
            return []
        given = self._read(self._sse.finish()) if error is None else []
        if self.outcome is None:
            events: list[Event] = []
            if error is None or self._reader.is_whole:
                try:
                    self._reader.end(events)
                except AnswerFailed as why:
                    events.append(Failed(why.error))
                except MISSHAPEN as why:
                    events.append(Failed(_misshapen(why).error))
            given += self._write(events)
        if self.outcome is None:
            given += self._write([Failed(end_error(error))])
        return given

    def release(self) -> list[bytes]:
        """See StreamConversion."""
        waiting, self._waiting = self._waiting, []
        self._given = self._given or bool(waiting)
        return waiting

    def keep_alive(self) -> bytes:
        """See StreamConversion."""
        if self._waiting:
            return b"".join(self.release())
        return b"" if self.outcome is not None else self._writer.keep_alive()

    def _read(self, raw: list[sse.Event]) -> list[bytes]:
        events: list[Event] = []
        read = self._reader.read
        try:
            for event in raw:
                read(event, events)
        except AnswerFailed as why:
            events.append(Failed(why.error))
        except MISSHAPEN as why:
            events.append(Failed(_misshapen(why).error))
        return self._write(events)

    def _write(self, events: list[Event]) -> list[bytes]:
        given: list[bytes] = []
        write = self._writer.write
        restored: list[Event] = []
        try:
            for event in events:
                self._restorer.restore(event, restored)
        except MISSHAPEN as why:
            restored.append(Failed(_misshapen(why).error))
        for event in restored:
            kind = type(event)
            if kind is UsageSeen:
                self.usage = event.usage  # type: ignore[union-attr]
            elif kind is Failed:
                error = event.error  # type: ignore[union-attr]
                self.outcome = Outcome(error=error)
                if not self._given and not given and may_fail_over(error, self._client):
                    # Another endpoint may still be asked; the client gets an answer with a status.
                    self.first_event_error = error
                    self._waiting.clear()
                    return []
            elif kind is Ping and not (self._given or given or self._waiting):
                continue
            try:
                written = write(event)
            except AnswerFailed as why:
                self.outcome = Outcome(error=why.error)
                written = write(Failed(why.error))
            except MISSHAPEN as why:
                error = _misshapen(why).error
                self.outcome = Outcome(error=error)
                written = write(Failed(error))
            if written:
                if self._given or given:
                    given.append(written)
                elif kind is Started or kind is Ping:
                    # An error may be next, and then another endpoint can still be asked.
                    self._waiting.append(written)
                else:
                    given += [*self._waiting, written]
                    self._waiting.clear()
            if kind is Finished and self.outcome is None:
                self.outcome = _finished(event)  # type: ignore[arg-type]
            if self.outcome is not None:
                break
        self._given = self._given or bool(given)
        return given


def _finished(event: Finished) -> Outcome:
    if event.reason is StopReason.INCOMPLETE:
        return Outcome(event.reason, INCOMPLETE)
    return Outcome(event.reason)


def _misshapen(why: Exception) -> AnswerFailed:
    return malformed(f"an answer that is not in its dialect's form ({type(why).__name__})")


def _too_large(why: EventTooLarge) -> Error:
    return Error(ErrorKind.UNAVAILABLE, f"The endpoint sent {why}.", status=502, code="event_too_large")


def convert_answer(body: JsonObject, way_back: WayBack, *, created_s: int = 0, answer_id: str = "") -> JsonObject:
    """The client's form of an endpoint's whole answer.

    :raises AnswerFailed: the answer is an error, broken, or cut off; nothing may be told as a success
    """
    try:
        return _write_whole(read_whole(body, way_back), way_back, created_s, answer_id)
    except MISSHAPEN as why:
        raise _misshapen(why) from why


def _write_whole(events: list[Event], way_back: WayBack, created_s: int, answer_id: str) -> JsonObject:
    if way_back.client is Dialect.RESPONSES:
        return write_responses(events, way_back, created_s, answer_id)
    write = write_messages if way_back.client is Dialect.MESSAGES else write_chat
    return write(collect(events), way_back, created_s, answer_id)


def answer_of_stream(
    data: bytes, way_back: WayBack, *, created_s: int = 0, answer_id: str = ""
) -> tuple[JsonObject, Answer]:
    """The client's form of a whole answer out of all bytes of an endpoint's stream; and the answer itself.

    :raises AnswerFailed: the stream tells an error, cannot be read, or ends early
    """
    reader, restorer = _reader(way_back), Restorer(way_back)
    raw = SseReader()
    read: list[Event] = []
    events: list[Event] = []
    try:
        for told in (*raw.feed(data), *raw.finish()):
            if reader.is_over:
                break
            reader.read(told, read)
        if not reader.is_over:
            reader.end(read)
        for event in read:
            restorer.restore(event, events)
        answer = collect(events)
        if answer.finished.reason is StopReason.INCOMPLETE:
            raise AnswerFailed(INCOMPLETE)
        return _write_whole(events, way_back, created_s, answer_id), answer
    except EventTooLarge as why:
        raise AnswerFailed(_too_large(why)) from why
    except MISSHAPEN as why:
        raise _misshapen(why) from why


def stream_of_answer(body: JsonObject, way_back: WayBack, *, created_s: int = 0, answer_id: str = "") -> bytes:
    """The client's stream of an endpoint's whole answer.

    :raises AnswerFailed: as `convert_answer`
    """
    writer = _WRITERS[way_back.client](way_back, created_s, answer_id)
    try:
        events = read_whole(body, way_back)
        # What failed has to be known before the first byte.
        if collect(events).finished.reason is StopReason.INCOMPLETE and way_back.client is not Dialect.RESPONSES:
            raise AnswerFailed(INCOMPLETE)
        return b"".join(map(writer.write, events))
    except MISSHAPEN as why:
        raise _misshapen(why) from why


def error_stream(error: Error, way_back: WayBack, *, created_s: int = 0, answer_id: str = "") -> bytes:
    """A whole stream of the client's dialect that tells nothing but the error."""
    writer = _WRITERS[way_back.client](way_back, created_s, answer_id)
    return writer.write(Failed(error))


def read_whole(body: JsonObject, way_back: WayBack) -> list[Event]:
    """The events of a whole answer as the client shall see them.

    :raises AnswerFailed: it cannot be read
    """
    read: list[Event] = []
    _reader(way_back).whole(body, read)
    restorer = Restorer(way_back)
    events: list[Event] = []
    for event in read:
        restorer.restore(event, events)
    return events
