"""Reads a client's request body: bounded, decoded, and looked at as far as every route needs it.

What a conversion needs beyond that it checks itself; every error names the path of what is wrong.
"""

from __future__ import annotations

from typing import Any

import msgspec
from codex_control.errors import BadInput

from codex_gateway.dialect.neutral import Dialect, JsonObject

MAX_MODEL_CHARACTERS = 500
"""The name is kept in records and in what was learned."""

_decode = msgspec.json.Decoder().decode
_TURNS = {Dialect.MESSAGES: "messages", Dialect.CHAT: "messages", Dialect.RESPONSES: "input"}


def read_body(raw: bytes, dialect: Dialect) -> JsonObject:
    """The decoded body. Raises `BadInput` with the path of what is wrong."""
    try:
        body = _decode(raw)
    except msgspec.DecodeError as error:
        raise BadInput("the body is not JSON", why=str(error)) from None
    except RecursionError:
        raise BadInput("the body is nested too deeply") from None
    if not isinstance(body, dict):
        raise BadInput("the body must be an object", why=f"it is {_kind(body)}")
    model = body.get("model")
    if not isinstance(model, str) or not model:
        raise _wrong("model", "a text that names the model", model, body)
    if len(model) > MAX_MODEL_CHARACTERS:
        raise BadInput(f"`model` has more than {MAX_MODEL_CHARACTERS} characters", why="no model's name is so long")
    stream = body.get("stream")
    if stream is not None and not isinstance(stream, bool):
        raise _wrong("stream", "true or false", stream, body)
    name = _TURNS[dialect]
    turns = body.get(name)
    if dialect is Dialect.RESPONSES:
        if turns is not None and not isinstance(turns, str | list):
            raise _wrong(name, "a text or a list", turns, body)
        if turns is None and not ("previous_response_id" in body or "prompt" in body or "conversation" in body):
            raise _wrong(name, "a text or a list", turns, body)
    elif not isinstance(turns, list):
        raise _wrong(name, "a list", turns, body)
    if isinstance(turns, list):
        for index, turn in enumerate(turns):
            if not isinstance(turn, dict):
                raise _wrong(f"{name}[{index}]", "an object", turn, None)
    return body


def _wrong(path: str, wanted: str, value: Any, body: JsonObject | None) -> BadInput:
    if body is not None and path not in body:
        return BadInput(f"`{path}` is missing", why=f"it must be {wanted}")
    return BadInput(f"`{path}` must be {wanted}", why=f"it is {_kind(value)}")


def _kind(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case str():
            return "a text" if value else "an empty text"
        case int() | float():
            return "a number"
        case list():
            return "a list"
        case _:
            return "an object"
