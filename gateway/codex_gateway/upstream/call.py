"""One request of a client, as the part that asks endpoints sees it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from codex_gateway.config.endpoint import ClientKind
from codex_gateway.dialect.neutral import Dialect, Error, ErrorKind, JsonObject
from codex_gateway.upstream.trail import Entry


@dataclass(slots=True)
class Call:
    """A request that passed every check at the door."""

    entry: Entry
    dialect: Dialect
    kind: ClientKind
    raw_headers: tuple[tuple[bytes, bytes], ...]
    headers: Mapping[str, str]
    """Without regard to case."""
    query: bytes
    raw: bytes
    """The body as it came."""
    body: JsonObject
    model: str
    stream: bool
    began_s: float
    """When it came; monotonic."""
    conversation: str = ""
    tags: frozenset[str] = frozenset()
    count_tokens: bool = False

    @property
    def created_s(self) -> int:
        """When it came, as Unix time."""
        return self.entry.at_ns // 10**9


class Unanswered(Exception):
    """No endpoint gave an answer that the client could have, or the gateway itself refuses.

    `native` is the last endpoint's own error answer (status, headers, body), where it speaks the client's dialect.
    """

    def __init__(
        self,
        status: int,
        error: Error,
        *,
        headers: tuple[tuple[str, str], ...] = (),
        native: tuple[int, list[tuple[str, str]], bytes] | None = None,
    ) -> None:
        self.status = status
        self.error = error
        self.headers = headers
        self.native = native
        super().__init__(error.message)


def refusal(status: int, kind: ErrorKind, message: str, retry_after_s: float | None = None) -> Unanswered:
    """The gateway's own refusal."""
    return Unanswered(status, Error(kind, message, status=status, retry_after_s=retry_after_s))
