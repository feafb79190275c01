"""What an error is, by its HTTP status and by what its message says; and when to try again."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from codex_gateway.dialect.neutral import ErrorKind

if TYPE_CHECKING:
    from collections.abc import Mapping

STATUSES: Final = {
    ErrorKind.BAD_REQUEST: 400,
    ErrorKind.UNAUTHENTICATED: 401,
    ErrorKind.BILLING: 402,
    ErrorKind.PERMISSION: 403,
    ErrorKind.NOT_FOUND: 404,
    ErrorKind.TOO_LARGE: 413,
    ErrorKind.CONTEXT_LENGTH: 400,
    ErrorKind.RATE_LIMIT: 429,
    ErrorKind.OVERLOADED: 503,
    ErrorKind.TIMEOUT: 504,
    ErrorKind.UNAVAILABLE: 502,
    ErrorKind.INTERNAL: 500,
}
"""The HTTP status that fits a kind where a dialect has no own."""

_KINDS: Final = {
    401: ErrorKind.UNAUTHENTICATED,
    402: ErrorKind.BILLING,
    403: ErrorKind.PERMISSION,
    404: ErrorKind.NOT_FOUND,
    408: ErrorKind.TIMEOUT,
    413: ErrorKind.TOO_LARGE,
    429: ErrorKind.RATE_LIMIT,
    502: ErrorKind.UNAVAILABLE,
    503: ErrorKind.OVERLOADED,
    504: ErrorKind.TIMEOUT,
    529: ErrorKind.OVERLOADED,
}

_CONTEXT: Final = re.compile(
    r"prompt is too long|context[ _-]?(length|window|size)|maximum context|exceed\w* .*context|too many (input )?tokens"
    r"|input is too long|reduce the length of the (messages|prompt)|input token count .* exceeds",
    re.IGNORECASE,
)
"""How makers say that there are too many tokens for the model."""

_BILLING: Final = re.compile(
    r"credit balance (is )?too low|insufficient[ _](quota|balance|credits?|funds)|exceeded your current quota"
    r"|out of credits|billing (hard )?limit|payment required|requires more credits",
    re.IGNORECASE,
)
"""How makers say that a key has nothing left to spend."""

_WAIT: Final = re.compile(
    r"(?:try again|retry) (?:in|after) (?:(\d+)m)?(\d+(?:\.\d+)?) ?(ms|s|seconds?)?\b", re.IGNORECASE
)


def kind_of(status: int | None, message: str) -> ErrorKind:
    """The kind of an error that has no telling code."""
    if status in (None, 400, 403, 413, 422, 429) and _BILLING.search(message):
        return ErrorKind.BILLING
    if status in (None, 400, 413, 422) and _CONTEXT.search(message):
        return ErrorKind.CONTEXT_LENGTH
    if status is None:
        return ErrorKind.INTERNAL
    if status in _KINDS:
        return _KINDS[status]
    return ErrorKind.BAD_REQUEST if 400 <= status < 500 else ErrorKind.INTERNAL


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """What `retry-after-ms` or `Retry-After` in seconds say. A date is not read: that takes a clock."""
    for name, per_second in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name)
        if value:
            try:
                return max(0.0, float(value) / per_second)
            except ValueError:
                continue
    return None


def wait_in_message_s(message: str) -> float | None:
    """The wait that a message names: "Please try again in 1.5s"."""
    found = _WAIT.search(message)
    if found is None:
        return None
    minutes, number, unit = found.groups()
    return int(minutes or 0) * 60 + float(number) / (1000 if unit and unit.lower() == "ms" else 1)
