"""Ids of answers and items in the client's dialect, made of the endpoint's own so that both can be found."""

from __future__ import annotations

import re
from typing import Final

_PREFIX: Final = re.compile(r"^(msg|chatcmpl|resp)[_-]")
_NOT_PLAIN: Final = re.compile(r"[^A-Za-z0-9_-]")


def _bare(answer_id: str) -> str:
    return _NOT_PLAIN.sub("-", _PREFIX.sub("", answer_id)) or "0"


def messages_id(answer_id: str) -> str:
    """A message's id."""
    return f"msg_{_bare(answer_id)}"


def chat_id(answer_id: str) -> str:
    """A completion's id."""
    return f"chatcmpl-{_bare(answer_id)}"


def response_id(answer_id: str) -> str:
    """A response's id."""
    return f"resp_{_bare(answer_id)}"


def item_id(prefix: str, response: str, output_index: int) -> str:
    """An output item's id: `msg_…_0`."""
    return f"{prefix}_{_bare(response)}_{output_index}"
