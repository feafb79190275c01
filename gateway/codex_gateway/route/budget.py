"""How often and when a request is tried again: the retry budget, back-off, and what `Retry-After` asks for.

The budget is one for all requests: retries may be at most a share of the requests, so that an outage of an endpoint
cannot multiply the traffic to the others. No clock, no random numbers: both are handed in.
"""

from __future__ import annotations

import datetime as dt
import email.utils
import re
from collections import deque
from collections.abc import Mapping

from codex_gateway.config.model import RetryConfig

BUCKETS = 10
"""Parts of the window; requests and retries leave it in steps of a tenth."""
MAX_RETRY_AFTER_S = 7 * 86_400.0
"""More is taken as this: a wrong clock or a wrong unit."""


class RetryBudget:
    """Counts requests and retries of the last `budget_window`. `now_s` is monotonic."""

    def __init__(self, settings: RetryConfig) -> None:
        self._settings = settings
        self._counts: deque[list[float]] = deque()
        """Buckets: begin in seconds, requests, retries."""

    def __repr__(self) -> str:
        requests, retries = self._totals()
        return f"RetryBudget(requests={requests:.0f}, retries={retries:.0f})"

    def configure(self, settings: RetryConfig) -> None:
        """Use other settings from now on; the counts stay."""
        self._settings = settings

    def request(self, now_s: float) -> None:
        """A client's request came."""
        self._bucket(now_s)[1] += 1

    def take(self, now_s: float) -> bool:
        """Whether one more attempt may be made; it then counts."""
        bucket = self._bucket(now_s)
        requests, retries = self._totals()
        allowed = self._settings.budget_minimum + requests * self._settings.budget_ratio / 100
        if retries + 1 > allowed:
            return False
        bucket[2] += 1
        return True

    def _bucket(self, now_s: float) -> list[float]:
        window_s = self._settings.budget_window
        while self._counts and now_s - self._counts[0][0] >= window_s:
            self._counts.popleft()
        if not self._counts or now_s - self._counts[-1][0] >= window_s / BUCKETS:
            self._counts.append([now_s, 0, 0])
        return self._counts[-1]

    def _totals(self) -> tuple[float, float]:
        return sum(bucket[1] for bucket in self._counts), sum(bucket[2] for bucket in self._counts)


def backoff_s(retry: int, settings: RetryConfig, uniform: float) -> float:
    """Return the wait before the `retry`-th attempt after the first (from 1) on the same endpoint: exponential with
    full jitter. `uniform` is a random number from 0 to 1."""
    # The exponent is bounded: 2.0 ** 2000 is an error.
    return uniform * min(settings.backoff_initial * 2.0 ** min(retry - 1, 60), settings.backoff_max)


def retry_after_s(headers: Mapping[str, str], wall_s: float) -> float | None:
    """Return how long an endpoint asks to wait, in seconds; None where it does not say.

    `headers` are looked up by lower-case names. Reads OpenAI's `retry-after-ms`, `retry-after` in seconds or as an HTTP
    date (RFC 9110, 10.2.3) against `wall_s` (seconds since 1970).
    """
    if (milliseconds := _number(headers.get("retry-after-ms"))) is not None:
        return min(milliseconds / 1000, MAX_RETRY_AFTER_S)
    written = headers.get("retry-after")
    if written is None:
        return None
    if (seconds := _number(written)) is not None:
        return min(seconds, MAX_RETRY_AFTER_S)
    try:
        at = email.utils.parsedate_to_datetime(written)
    except (ValueError, TypeError, OverflowError):
        return None
    if at.tzinfo is None:
        at = at.replace(tzinfo=dt.UTC)
    return min(max(0.0, at.timestamp() - wall_s), MAX_RETRY_AFTER_S)


_TRY_AGAIN = re.compile(
    r"(?:try again|retry|available again) (?:in|after) (?:(\d{1,4})h)?\s?(?:(\d{1,4})m(?!s))?\s?"
    r"(?:(\d{1,6}(?:\.\d{1,6})?)\s?(ms|s(?:ec(?:ond)?s?)?\b))?",
    re.IGNORECASE,
)


def retry_after_in_text(message: str) -> float | None:
    """Return the wait that an error's text names (`Please try again in 6m12.5s`), in seconds; None where it names none.
    Codex reads the same words."""
    match = _TRY_AGAIN.search(message[:2000])
    if match is None or not any(match.groups()):
        return None
    hours, minutes, number, unit = match.groups()
    seconds = float(hours or 0) * 3600 + float(minutes or 0) * 60
    seconds += float(number or 0) * (0.001 if (unit or "").lower() == "ms" else 1)
    return min(seconds, MAX_RETRY_AFTER_S)


def _number(written: str | None) -> float | None:
    if written is None or not re.fullmatch(r"\s*[0-9]{1,12}(\.[0-9]{1,9})?\s*", written):
        return None
    return float(written)
