"""What came of trying an endpoint with one request."""

from __future__ import annotations

import msgspec

from codex_gateway.dialect.neutral import Dialect


class TrialResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of one request."""

    dialect: Dialect
    model: str
    """As the endpoint was asked for it."""
    key: str
    """Name of the key that was shown; empty where the endpoint has none."""
    well: bool
    """A model answered."""
    status: int = 0
    """HTTP status; 0 where no answer came."""
    first_byte_s: float | None = None
    duration_s: float = 0.0
    why: str = ""
    """What went wrong."""
