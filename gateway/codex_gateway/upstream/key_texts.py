"""The texts of keys, fetched from where the configuration says they are and kept for a while."""

from __future__ import annotations

from dataclasses import dataclass

from codex_control.service.clock import Clock

from codex_gateway.config.endpoint import PoolKey
from codex_gateway.config.secrets import fetch_key

FILE_KEPT_S = 60.0
"""A key file that was changed is seen after this; a command is run again only where its key was refused."""


SHOWN = "[redacted]"
SHORTEST = 8
"""A key of fewer characters is no secret, and may be any word's part."""


def without_key(said: str, key: str) -> str:
    """What an endpoint said, without the key that it was shown: some repeat it."""
    return said.replace(key, SHOWN) if len(key) >= SHORTEST else said


@dataclass(slots=True)
class _Kept:
    source: PoolKey
    text: str
    at_s: float


class KeyTexts:
    """Fetches and keeps. Nothing here is ever shown: `repr` counts."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}

    def __repr__(self) -> str:
        return f"<KeyTexts {len(self._kept)}>"

    def at_hand(self, endpoint: str, source: PoolKey) -> str | None:
        """The text where it need not be fetched."""
        kept = self._kept.get((endpoint, source.name))
        if kept is None or kept.source != source:
            return None
        if source.file and self._clock.monotonic() - kept.at_s > FILE_KEPT_S:
            return None
        return kept.text

    async def fetch(self, endpoint: str, source: PoolKey) -> str:
        """The text. Raises what `config.secrets.fetch_key` raises."""
        text = self.at_hand(endpoint, source)
        if text is None:
            text = await fetch_key(source)
            self._kept[endpoint, source.name] = _Kept(source, text, self._clock.monotonic())
        return text

    def refused(self, endpoint: str, key: str) -> None:
        """The endpoint refused it: fetched anew the next time."""
        self._kept.pop((endpoint, key), None)

    def clear(self) -> None:
        """Forget all: the configuration changed."""
        self._kept.clear()
