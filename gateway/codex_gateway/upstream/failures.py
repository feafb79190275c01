"""How an exchange with an endpoint can fail before or while it answers."""

from __future__ import annotations

import enum


class FailureKind(enum.StrEnum):
    """What happened to the connection."""

    CONNECT = "connect"
    """No connection: refused, unreachable, an unknown host, a proxy that declined."""
    CONNECT_TIMEOUT = "connect_timeout"
    """No connection in time."""
    TLS = "tls"
    """The certificate or the handshake was wrong."""
    LOST = "lost"
    """The connection broke before the answer was whole."""
    FIRST_BYTE_TIMEOUT = "first_byte_timeout"
    """The answer did not begin in time."""
    IDLE_TIMEOUT = "idle_timeout"
    """Nothing came for too long in the middle of the answer."""
    TOTAL_TIMEOUT = "total_timeout"
    """The whole attempt took too long."""
    MALFORMED = "malformed"
    """It was not HTTP, or not the JSON or the event stream that it should be."""
    TOO_LARGE = "too_large"
    """The answer passes a bound of ours."""


class UpstreamFailed(Exception):
    """The endpoint gave no usable answer."""

    def __init__(self, kind: FailureKind, why: str) -> None:
        self.kind = kind
        self.why = why
        super().__init__(f"{kind}: {why}")


class StaleConnection(UpstreamFailed):
    """A connection that was used before went away without a byte of an answer: the endpoint had closed it in the same
    moment. The request is sent again on a new connection, and nobody is to blame."""
