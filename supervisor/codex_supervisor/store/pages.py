"""Page tokens: opaque to clients, bound to the question that they came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct

from codex_control.errors import BadInput

MAX_PAGE = 500
"""Most entries of one page, as the API says."""

MAX_PAGE_BYTES = 2 * 1024 * 1024
"""A page ends early where its entries are larger than this together; one entry always fits. gRPC's default bound for
a message is 4 MiB."""

_FORMAT = struct.Struct(">B8sQ")
_VERSION = 1
_HIGHEST = 2**63 - 1


def question_digest(*parts: str | None) -> bytes:
    """Eight bytes that stand for a question: its kind and filters, in order."""
    text = "\0".join("-" if part is None else f"={part}" for part in parts)
    return hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=8).digest()


def page_token(question: bytes, below: int) -> str:
    """The token of the page with the turns whose number is lower than `below`."""
    return base64.urlsafe_b64encode(_FORMAT.pack(_VERSION, question, below)).decode().rstrip("=")


def page_start(question: bytes, token: str) -> int:
    """The number below which the page begins. Raises `BadInput` for a token that is not of this question."""
    if not token:
        return _HIGHEST
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        version, digest, below = _FORMAT.unpack(raw)
    except (binascii.Error, struct.error, ValueError) as error:
        raise _bad_token("it is damaged") from error
    if version != _VERSION or not 0 < below <= _HIGHEST:
        raise _bad_token("it is damaged")
    if digest != question:
        raise _bad_token("it belongs to a list with another filter")
    return int(below)


def checked_limit(limit: int) -> int:
    """`limit`, where it is a page size that we serve; raises `BadInput` where not."""
    if not 1 <= limit <= MAX_PAGE:
        raise BadInput(
            what=f"{limit} is no page size", why=f"a page holds 1 to {MAX_PAGE} entries", next_step="ask for fewer"
        )
    return limit


def _bad_token(why: str) -> BadInput:
    return BadInput(what="the page token is not valid", why=why, next_step="begin again with the first page")
