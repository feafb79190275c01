"""Tokens of a whole answer that passes as it is."""

from __future__ import annotations

from typing import Any

import msgspec

from codex_gateway.dialect.chat.usage import read_usage as read_chat
from codex_gateway.dialect.messages.usage import read_usage as read_messages
from codex_gateway.dialect.neutral import Dialect, Usage
from codex_gateway.dialect.responses.usage import read_usage as read_responses


class _Answer(msgspec.Struct):
    usage: Any = None
    id: Any = None


_decode = msgspec.json.Decoder(_Answer).decode
_NONE = Usage()


def usage_of(dialect: Dialect, body: bytes) -> tuple[Usage | None, str]:
    """Tokens and the answer's id; None where it names none. Raises `msgspec.DecodeError` where it is no JSON object."""
    answer = _decode(body)
    identity = answer.id if isinstance(answer.id, str) else ""
    match dialect:
        case Dialect.MESSAGES:
            return (read_messages(answer.usage, _NONE) if isinstance(answer.usage, dict) else None), identity
        case Dialect.CHAT:
            return read_chat(answer.usage), identity
        case Dialect.RESPONSES:
            return read_responses(answer.usage), identity
