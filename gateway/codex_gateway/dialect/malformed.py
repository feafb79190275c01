"""What an endpoint sent that cannot be read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from codex_gateway.dialect.neutral import Error, ErrorKind

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_HALF_PAIR: Final = re.compile(
    r"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F][0-9a-fA-F]{2})"
    r"|(?<!\\u[dD][89abAB][0-9a-fA-F]{2})\\u[dD][c-fC-F][0-9a-fA-F]{2}"
)
"""An escape that is half of a character."""


class AnswerFailed(Exception):
    """An endpoint's answer cannot be given to the client as a success: it is an error, broken, or cut off."""

    def __init__(self, error: Error) -> None:
        self.error = error
        super().__init__(error.message)


MISSHAPEN: Final = (TypeError, AttributeError, LookupError, ValueError)
"""What comes of JSON in which something stands that no API sends: a list for an object, a number for a text. Readers
look at what they need without checking each type first, for speed; who runs them turns these into `AnswerFailed`."""

INCOMPLETE: Final = Error(
    ErrorKind.UNAVAILABLE,
    "The endpoint ended its answer early, without a reason.",
    status=502,
    code="incomplete_answer",
)
"""The endpoint's stream ended without its last event."""


def malformed(what: str) -> AnswerFailed:
    """The endpoint does not speak its dialect."""
    return AnswerFailed(Error(ErrorKind.UNAVAILABLE, f"The endpoint sent {what}.", status=502, code="malformed_answer"))


def decode_event(decode: Callable[[bytes | str], T], data: bytes) -> T:
    """One event's JSON. Bytes that are not UTF-8 and halves of characters become replacement characters: a broken
    character costs less than a broken answer.

    :raises AnswerFailed: it is not JSON of the expected shape
    """
    try:
        return decode(data)
    except (UnicodeDecodeError, msgspec.MsgspecError):
        pass
    try:
        return decode(_HALF_PAIR.sub(r"\\ufffd", data.decode("utf-8", "replace")))
    except msgspec.MsgspecError as why:
        raise malformed(f"an event that cannot be read ({why})") from why
