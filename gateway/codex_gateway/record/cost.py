"""What an answer cost, by a table of prices. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase
from functools import lru_cache

from codex_gateway.config.model import Price
from codex_gateway.dialect.neutral import Usage

_MILLION = 1_000_000


class Prices:
    """The table. The first row whose globs fit the model and the endpoint counts."""

    def __init__(self, rows: Sequence[Price]) -> None:
        self._rows = tuple(rows)
        # The same few pairs come again and again; the bound keeps made-up model names from filling the memory.
        self._found = lru_cache(maxsize=1024)(self._find)

    def __repr__(self) -> str:
        return f"Prices({len(self._rows)} rows)"

    def cost_usd(self, endpoint: str, model: str, usage: Usage) -> float | None:
        """US dollars for `usage`; None where no row fits."""
        row = self._found(endpoint, model)
        if row is None:
            return None
        return (
            usage.input * row.input
            + usage.cache_read * row.cached
            + usage.cache_write * row.cache_write
            + usage.output * row.output
        ) / _MILLION

    def _find(self, endpoint: str, model: str) -> Price | None:
        return next(
            (row for row in self._rows if fnmatchcase(model, row.model) and fnmatchcase(endpoint, row.endpoint)), None
        )
