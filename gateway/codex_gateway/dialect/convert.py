"""The facade of the dialects: everything that the rest of the gateway uses of them.

conversion = convert_request(body, Dialect.MESSAGES, facts)
conversion.body                     what to send to the endpoint
conversion.answer(whole_body)       the client's answer of a whole one
stream = conversion.stream()        bytes in, bytes out
stream.feed(chunk); stream.end()
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Protocol

from msgspec import Struct

from codex_gateway.dialect.facts import Facts, ToolName, WayBack
from codex_gateway.dialect.neutral import Dialect, Error, JsonObject, StopReason, Usage
from codex_gateway.dialect.reading import Wrong
from codex_gateway.dialect.request import ResponseStore, converted
from codex_gateway.dialect.same import kept

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Conversion",
    "Dialect",
    "Error",
    "Facts",
    "Outcome",
    "PassThrough",
    "ResponseStore",
    "StreamConversion",
    "ToolName",
    "UpstreamEnd",
    "Usage",
    "WayBack",
    "convert_request",
    "error_answer",
    "read_error",
    "strip_signatures",
]


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


class StreamConversion(Protocol):
    """One stream on its way back to the client."""

    usage: Usage
    """Tokens so far."""
    first_event_error: Error | None
    """Set where the very first event was an error; nothing has then been given out, so that another endpoint may be
    asked."""
    outcome: Outcome | None
    """Set once the answer ended."""

    def feed(self, data: bytes) -> list[bytes]:
        """The endpoint's bytes in, cut anywhere; whole events for the client out."""

    def end(self, error: UpstreamEnd | None = None) -> list[bytes]:
        """The endpoint's stream ended: what the client still has to get. Nothing where it has got an end already."""

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

    def stream(self) -> StreamConversion:
        """A conversion of the endpoint's stream, to use once. Same dialect: a PassThrough."""
        raise NotImplementedError

    def answer(self, body: JsonObject) -> JsonObject:
        """The client's form of a whole answer."""
        raise NotImplementedError


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


def strip_signatures(body: JsonObject, dialect: Dialect) -> JsonObject:
    """A copy of an upstream body without thinking: for the one retry after a 400 about a signature.

    The very same object where there was none to take out.
    """
    return kept(body, Facts(dialect=dialect, model=body["model"], native=True, drop_signatures=True))


class PassThrough:
    """Same dialect: bytes stay as they are, but for the model's name where `model_to_echo` is set. Watches usage,
    an error as the first event, and an early end. Same methods and attributes as StreamConversion."""

    usage: Usage
    first_event_error: Error | None
    outcome: Outcome | None

    def __init__(self, dialect: Dialect, model_to_echo: str | None) -> None:
        raise NotImplementedError

    def feed(self, data: bytes) -> list[bytes]:
        """See StreamConversion."""
        raise NotImplementedError

    def end(self, error: UpstreamEnd | None = None) -> list[bytes]:
        """See StreamConversion."""
        raise NotImplementedError

    def keep_alive(self) -> bytes:
        """See StreamConversion."""
        raise NotImplementedError


def error_answer(dialect: Dialect, status: int, error: Error) -> tuple[int, dict[str, str], JsonObject]:
    """Status, headers and body of an error in the client's dialect."""
    raise NotImplementedError


def read_error(dialect: Dialect, status: int, headers: Mapping[str, str], body: bytes) -> Error:
    """What an endpoint's error answer means. `headers` must be looked up case-insensitively by the caller's mapping."""
    raise NotImplementedError
