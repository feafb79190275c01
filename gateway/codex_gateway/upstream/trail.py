"""What happened to one request, gathered while it happens: for records, metrics and the log."""

from __future__ import annotations

from dataclasses import dataclass, field

from codex_gateway.config.endpoint import ClientKind
from codex_gateway.dialect.neutral import Dialect, Usage


@dataclass(slots=True)
class Attempt:
    """One exchange with one endpoint."""

    endpoint: str
    key: str
    """The key's name; empty where there is none."""
    dialect: Dialect
    model: str
    """As the endpoint was asked for it."""
    began_s: float
    """Seconds since the request began."""
    duration_s: float = 0.0
    status: int = 0
    """HTTP status; 0 where no answer came."""
    outcome: str = ""
    """`ok`, a `FailureKind`, or an `ErrorKind`."""
    reason: str = ""
    """A sentence about what went wrong; no secrets, no prompts."""
    learned: tuple[str, ...] = ()
    """Learned facts that were used, as text."""
    sent: bytes = b""
    """The body that was sent; empty unless the recorder wants bodies."""
    answer: bytearray = field(default_factory=bytearray)
    """The answer's first bytes, as many as the recorder wants."""


@dataclass(slots=True)
class Entry:
    """One request of a client. Times are as the Clock gives them, durations seconds."""

    id: str
    at_ns: int
    """Wall clock."""
    token: str
    """Name of the client's token."""
    kind: ClientKind
    dialect: Dialect
    path: str
    model: str = ""
    """Under the client's name."""
    stream: bool = False
    conversation: str = ""
    tags: tuple[str, ...] = ()
    attempts: list[Attempt] = field(default_factory=list)
    status: int = 0
    """What the client got; 499 where it went away first."""
    outcome: str = ""
    """`ok`, `failed`, `refused` (by the gateway itself), `client_gone`."""
    error: str = ""
    """A sentence, where it failed."""
    first_byte_s: float | None = None
    duration_s: float = 0.0
    usage: Usage | None = None
    bytes_in: int = 0
    bytes_out: int = 0
    body: bytes = b""
    """What the client sent; empty unless the recorder wants bodies."""

    @property
    def endpoint(self) -> str:
        """The endpoint that answered last; empty where none was asked."""
        return self.attempts[-1].endpoint if self.attempts else ""
