"""Tokens of a whole answer that passes as it is."""

from __future__ import annotations

from typing import Any

import msgspec

from codex_gateway.dialect.chat.errors import read_error_object as read_openai_error
from codex_gateway.dialect.chat.usage import read_usage as read_chat
from codex_gateway.dialect.messages.errors import read_error_object as read_messages_error
from codex_gateway.dialect.messages.usage import read_usage as read_messages
from codex_gateway.dialect.neutral import Dialect, Error, Usage
from codex_gateway.dialect.responses.usage import read_usage as read_responses


class _Answer(msgspec.Struct):
    usage: Any = None
    id: Any = None
    type: Any = None
    error: Any = None


_decode = msgspec.json.Decoder(_Answer).decode
_NONE = Usage()


def usage_of(dialect: Dialect, body: bytes) -> tuple[Usage | None, str, Error | None]:
    """Tokens (None where it names none), the answer's id, and the error that it is in truth.

    Some endpoints tell errors with status 200. A failed response is an answer like any other: its client reads it.

    :raises msgspec.DecodeError: it is no JSON object
    """
    answer = _decode(body)
    identity = answer.id if isinstance(answer.id, str) else ""
    match dialect:
        case Dialect.MESSAGES:
            error = read_messages_error(answer.error) if answer.type == "error" else None
            usage = read_messages(answer.usage, _NONE) if isinstance(answer.usage, dict) else None
            return usage, identity, error
        case Dialect.CHAT:
            return read_chat(answer.usage), identity, read_openai_error(answer.error) if answer.error else None
        case Dialect.RESPONSES:
            return read_responses(answer.usage), identity, None
