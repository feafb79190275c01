"""The facade of the dialects: everything that the rest of the gateway uses of them.

conversion = convert_request(body, Dialect.MESSAGES, facts)
conversion.body                     what to send to the endpoint
conversion.answer(whole_body)       the client's answer of a whole one
stream = conversion.stream()        bytes in, bytes out
stream.feed(chunk); stream.end()
"""

from __future__ import annotations

from typing import Protocol

from msgspec import Struct

from codex_gateway.dialect.conversion import (
    ConvertedStream,
    Outcome,
    UpstreamEnd,
    answer_of_stream,
    convert_answer,
    stream_of_answer,
)
from codex_gateway.dialect.conversion import error_stream as _error_stream
from codex_gateway.dialect.errors import error_answer, read_error
from codex_gateway.dialect.facts import Facts, ToolName, WayBack
from codex_gateway.dialect.malformed import AnswerFailed
from codex_gateway.dialect.models import ListedModel, model_answer, models_answer
from codex_gateway.dialect.neutral import Dialect, Error, JsonObject, Usage
from codex_gateway.dialect.pass_through import PassThrough
from codex_gateway.dialect.reading import Wrong
from codex_gateway.dialect.request import ResponseStore, converted
from codex_gateway.dialect.responses.read_request import input_items
from codex_gateway.dialect.same import kept
from codex_gateway.dialect.tokens import count_answer, count_tokens

__all__ = [
    "AnswerFailed",
    "Conversion",
    "Dialect",
    "Error",
    "Facts",
    "ListedModel",
    "Outcome",
    "PassThrough",
    "ResponseStore",
    "StreamConversion",
    "ToolName",
    "UpstreamEnd",
    "Usage",
    "WayBack",
    "convert_request",
    "count_answer",
    "count_tokens",
    "error_answer",
    "error_stream",
    "input_items",
    "model_answer",
    "models_answer",
    "read_error",
    "strip_signatures",
]


class StreamConversion(Protocol):
    """One stream on its way back to the client."""

    usage: Usage
    """Tokens so far."""
    first_event_error: Error | None
    """Set where an error came before any content; nothing has then been given out, so that another endpoint may be
    asked."""
    outcome: Outcome | None
    """Set once the answer ended."""

    def feed(self, data: bytes) -> list[bytes]:
        """The endpoint's bytes in, cut anywhere; whole events for the client out."""

    def end(self, error: UpstreamEnd | None = None) -> list[bytes]:
        """The endpoint's stream ended: what the client still has to get. Nothing where it has got an end already."""

    def release(self) -> list[bytes]:
        """The beginning of an answer that is held until its first event with content. After it no other endpoint may
        be asked, so call it only where that event is long in coming."""

    def keep_alive(self) -> bytes:
        """What to send to a client that has got nothing for a while."""


class Conversion(Struct, frozen=True):
    """A request for an endpoint, and the way back for its answer."""

    body: JsonObject
    """To send, without authentication."""
    way_back: WayBack
    pass_through: bool = False
    """Same dialect, and nothing in it has to be renamed on the way back: the answer passes as it is."""
    untouched: bool = False
    """`body` is the client's own object, so that its bytes can be sent as they came."""

    def stream(self, *, created_s: int = 0, answer_id: str = "") -> StreamConversion:
        """A conversion of the endpoint's stream, to use once. Same dialect: a PassThrough.

        :param created_s: Unix time, for clients whose dialect tells it where the endpoint's does not
        :param answer_id: the answer's id where the endpoint gives none
        """
        if self.pass_through:
            return PassThrough(self.way_back.client, self._model_to_echo(), drops_usage=not self.way_back.include_usage)
        return ConvertedStream(self.way_back, created_s=created_s, answer_id=answer_id)

    def answer(self, body: JsonObject, *, created_s: int = 0, answer_id: str = "") -> JsonObject:
        """The client's form of a whole answer. The very same object where nothing changes.

        :raises AnswerFailed: it is an error, broken, or cut off: tell the client its `error` with a status
        """
        if self.pass_through:
            model = self._model_to_echo()
            return body if model is None or "model" not in body else {**body, "model": model}
        return convert_answer(body, self.way_back, created_s=created_s, answer_id=answer_id)

    def stream_of_answer(self, body: JsonObject, *, created_s: int = 0, answer_id: str = "") -> bytes:
        """The client's stream of a whole answer: for an endpoint that did not stream although it was asked to.

        :raises AnswerFailed: as `answer`
        """
        return stream_of_answer(body, self.way_back, created_s=created_s, answer_id=answer_id)

    def answer_of_stream(
        self, data: bytes, *, created_s: int = 0, answer_id: str = ""
    ) -> tuple[JsonObject, Usage, str]:
        """The client's whole answer out of all bytes of a stream, its tokens, and the endpoint's own id of it: for an
        endpoint that streams although it was not asked to.

        :raises AnswerFailed: as `answer`
        """
        body, answer = answer_of_stream(data, self.way_back, created_s=created_s, answer_id=answer_id)
        return body, answer.usage, answer.started.id

    def _model_to_echo(self) -> str | None:
        return None if self.body.get("model") == self.way_back.model else self.way_back.model


def convert_request(
    body: JsonObject, client: Dialect, facts: Facts, *, responses: ResponseStore | None = None
) -> Conversion:
    """The request in the endpoint's dialect. `body` is not changed.

    :param responses: earlier responses, for a Responses client's `previous_response_id`
    :raises BadInput: it is not a request of the client's dialect, or has no counterpart; `what` names the path
    """
    try:
        sent, way_back, pass_through = converted(body, client, facts, responses)
    except Wrong as wrong:
        raise wrong.bad_input() from None
    return Conversion(sent, way_back, pass_through, untouched=sent is body)


def error_stream(dialect: Dialect, error: Error, model: str, *, created_s: int = 0, answer_id: str = "") -> bytes:
    """A whole stream that tells nothing but the error: for clients that know it only so.

    Codex takes a full context window from `response.failed` alone, with which it can make room; in an answer with
    status 400 it is a mistake like any other.
    """
    way_back = WayBack(client=dialect, upstream=dialect, model=model)
    return _error_stream(error, way_back, created_s=created_s, answer_id=answer_id)


def strip_signatures(body: JsonObject, dialect: Dialect) -> JsonObject:
    """A copy of an upstream body without thinking: for the one retry after a 400 about a signature.

    The very same object where there was none to take out.
    """
    return kept(body, Facts(dialect=dialect, model=body["model"], native=True, drop_signatures=True))
