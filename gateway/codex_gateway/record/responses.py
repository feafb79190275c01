"""Earlier responses, so that `previous_response_id` works with endpoints that keep none.

They are held in memory, within a bound, and gone with the gateway: a client whose response is unknown is told to send
the whole conversation, which every client can.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from codex_gateway.dialect.neutral import JsonObject

MAX_BYTES = 32 * 1024 * 1024
MAX_CHAIN = 1000
"""Most responses that one conversation leads back through."""


@dataclass(frozen=True, slots=True)
class _Kept:
    previous: tuple[str, str] | None
    items: bytes


class KeptResponses:
    """All that is kept; past the bound the longest unused goes first."""

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[tuple[str, str], _Kept] = OrderedDict()

    def __repr__(self) -> str:
        return f"<KeptResponses {len(self._kept)} in {self._bytes} bytes>"

    def keep(self, token: str, response_id: str, previous: str, items: list[JsonObject]) -> None:
        """Keep a response: the items that its request added, and its own."""
        key = (token, response_id)
        self._forget(key)
        kept = _Kept((token, previous) if previous else None, msgspec.json.encode(items))
        if len(kept.items) > self._max_bytes:
            return
        self._kept[key] = kept
        self._bytes += len(kept.items)
        while self._bytes > self._max_bytes:
            self._forget(next(iter(self._kept)))

    def of(self, token: str) -> ResponsesOfToken:
        """What a token may see: its own."""
        return ResponsesOfToken(self, token)

    def conversation(self, token: str, response_id: str) -> list[JsonObject] | None:
        """The items of that response and all before it, oldest first; None where any of them is unknown."""
        chain: list[bytes] = []
        key: tuple[str, str] | None = (token, response_id)
        while key is not None:
            kept = self._kept.get(key)
            if kept is None or len(chain) >= MAX_CHAIN:
                return None
            self._kept.move_to_end(key)
            chain.append(kept.items)
            key = kept.previous
        return [item for items in reversed(chain) for item in msgspec.json.decode(items)]

    def _forget(self, key: tuple[str, str]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            self._bytes -= len(kept.items)


@dataclass(frozen=True, slots=True)
class ResponsesOfToken:
    """A `dialect.convert.ResponseStore`."""

    kept: KeptResponses
    token: str

    def conversation(self, response_id: str) -> list[JsonObject] | None:
        """See `KeptResponses.conversation`."""
        return self.kept.conversation(self.token, response_id)
