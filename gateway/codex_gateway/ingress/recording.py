"""What the gateway tells whoever keeps records of requests.

Everything that happens to one request is gathered in one `Entry`, which the recorder sees at four moments. A recorder
must return at once: it is called from the event loop, between a client and its endpoint. It may keep an entry after
`ended`; before that it changes under its eyes.
"""

from __future__ import annotations

from typing import Protocol

from codex_gateway.upstream.trail import Attempt, Entry

__all__ = ["Attempt", "Entry", "NoRecords", "Recorder"]


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
