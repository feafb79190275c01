"""What the gateway tells whoever keeps records of requests.

Everything that happens to one request is gathered in one `Entry`, which the recorder sees at four moments. A recorder
must return at once: it is called from the event loop, between a client and its endpoint. It may keep an entry after
`ended`; before that it changes under its eyes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

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


class Recorder(Protocol):
    """Keeps records of requests."""

    body_limit: int
    """Most bytes that it wants of each body and answer; 0 for none."""

    def begun(self, entry: Entry) -> None:
        """A client's request was accepted: it has a token, a path and a body in its dialect."""

    def attempted(self, entry: Entry, attempt: Attempt) -> None:
        """`attempt` ended; of the one that answered, its whole answer has been passed on."""

    def first_byte(self, entry: Entry) -> None:
        """The first byte of the answer goes to the client."""

    def ended(self, entry: Entry) -> None:
        """The request is over."""


class NoRecords:
    """Keeps nothing."""

    body_limit = 0

    def begun(self, entry: Entry) -> None:
        """See `Recorder`."""

    def attempted(self, entry: Entry, attempt: Attempt) -> None:
        """See `Recorder`."""

    def first_byte(self, entry: Entry) -> None:
        """See `Recorder`."""

    def ended(self, entry: Entry) -> None:
        """See `Recorder`."""
