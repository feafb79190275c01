"""Signed or encrypted reasoning on its way through a client of another dialect.

An endpoint believes its own reasoning only with the signature (Messages) or the encrypted content (Responses) that it
made. A client of another dialect gives it back unread if it stands where that client keeps its own: so the gateway puts
it there, marked with where it came from, and takes it out again when the conversation goes back to that dialect. The
mark keeps it from ever being shown to another endpoint as if it were theirs.

    Messages client    thinking.signature, or redacted_thinking.data where there is no text
    Responses client   reasoning.encrypted_content; the text is one summary part
"""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as Base64Error

import msgspec

from codex_gateway.dialect.neutral import Dialect, RedactedThinking, Thinking

MARK = "gw1."
"""What sealed reasoning begins with. No vendor's base64 holds a dot."""


class _Sealed(msgspec.Struct, array_like=True):
    origin: Dialect
    endpoint: str
    secret: str
    """Signature, encrypted content, or redacted data."""
    item_id: str = ""
    redacted: bool = False


_decoder = msgspec.json.Decoder(_Sealed)


def seal(part: Thinking | RedactedThinking, endpoint: str = "") -> str:
    """What to put where a client of another dialect keeps its signature; "" where there is nothing to keep."""
    match part:
        case RedactedThinking():
            sealed = _Sealed(part.origin, endpoint, part.data, redacted=True)
        case Thinking():
            secret = part.signature or part.encrypted_content
            if not secret:
                return ""
            sealed = _Sealed(part.origin, part.endpoint or endpoint, secret, part.item_id)
    return MARK + urlsafe_b64encode(msgspec.json.encode(sealed)).decode()


def unseal(value: str, text: str = "") -> Thinking | RedactedThinking | None:
    """The reasoning that `seal` sealed, with `text` as its text; None where this is no seal of ours."""
    if not value.startswith(MARK):
        return None
    try:
        sealed = _decoder.decode(urlsafe_b64decode(value[len(MARK) :]))
    except (msgspec.MsgspecError, Base64Error, ValueError):
        return None
    if sealed.redacted:
        return RedactedThinking(sealed.secret, sealed.origin)
    if sealed.origin is Dialect.RESPONSES:
        return Thinking(
            text,
            sealed.origin,
            encrypted_content=sealed.secret,
            summary=(text,) if text else (),
            item_id=sealed.item_id,
            endpoint=sealed.endpoint,
        )
    return Thinking(text, sealed.origin, signature=sealed.secret, endpoint=sealed.endpoint)
