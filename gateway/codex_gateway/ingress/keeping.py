"""Keeps Responses answers that came from endpoints of other dialects, so that `previous_response_id` can name them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from codex_gateway.dialect.neutral import Dialect, JsonObject
from codex_gateway.upstream.call import Call

Keep = Callable[[str, str, str, list[JsonObject]], None]
"""Token, the response's id, the id of the one before, and the items of both sides."""

_COMPLETED = b'"type":"response.completed"'


def wanted(call: Call) -> bool:
    """Whether the answer is to be kept: the client did not forbid it, and the endpoint cannot do it."""
    return (
        call.dialect is Dialect.RESPONSES
        and call.body.get("store") is not False
        and call.entry.attempts[-1].dialect is not Dialect.RESPONSES
    )


def keep_whole(keep: Keep, call: Call, body: bytes) -> None:
    """Keep an answer that did not stream."""
    _keep(keep, call, msgspec.json.decode(body))


def keep_streamed(keep: Keep, call: Call, data: bytes) -> None:
    """Keep the answer where `data`, whole events for the client, holds its end."""
    if _COMPLETED not in data:
        return
    for line in data.split(b"\n"):
        if line.startswith(b"data:") and _COMPLETED in line:
            _keep(keep, call, msgspec.json.decode(line[5:])["response"])


def _keep(keep: Keep, call: Call, response: Any) -> None:
    given = call.body.get("input")
    items: list[JsonObject]
    if isinstance(given, str):
        items = [{"type": "message", "role": "user", "content": given}]
    else:
        items = [item for item in given or () if isinstance(item, dict)]
    previous = call.body.get("previous_response_id")
    output = response.get("output") or []
    keep(call.entry.token, response["id"], previous if isinstance(previous, str) else "", items + output)
