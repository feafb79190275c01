"""Taking JSON apart with the path of what is wrong.

Readers raise `Wrong` where they find a mistake; whoever went one step down adds that step on the way up. So the path
costs nothing as long as nothing is wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec
from codex_control.errors import BadInput

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from codex_gateway.dialect.neutral import JsonObject

T = TypeVar("T")


class Wrong(Exception):
    """A value is not what the dialect allows."""

    def __init__(self, why: str, *path: str | int) -> None:
        super().__init__(why)
        self.why = why
        self.path = list(path)

    def where(self) -> str:
        """The path, as `messages[3].content[0].type`."""
        out = ""
        for step in self.path:
            out += f"[{step}]" if isinstance(step, int) else f".{step}" if out else step
        return out

    def bad_input(self) -> BadInput:
        """The error for the client."""
        at = self.where()
        return BadInput(at or "the request's body", why=self.why)


def kind_of(value: object) -> str:
    """JSON's word for it."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case str():
            return "a string"
        case int() | float():
            return "a number"
        case list():
            return "an array"
        case dict():
            return "an object"
        case _:
            return type(value).__name__


def _refuse(value: object, wanted: str, *path: str | int) -> NoReturn:
    raise Wrong(f"it must be {wanted}, and is {kind_of(value)}", *path)


def obj(value: object, *path: str | int) -> JsonObject:
    """The value itself, which must be an object."""
    if not isinstance(value, dict):
        _refuse(value, "an object", *path)
    return value


def need_text(source: JsonObject, key: str) -> str:
    """A string that must be there."""
    value = source.get(key)
    if not isinstance(value, str):
        if key not in source:
            raise Wrong("it is missing", key)
        _refuse(value, "a string", key)
    return value


def text(source: JsonObject, key: str) -> str | None:
    """A string; null counts as absent."""
    value = source.get(key)
    if value is not None and not isinstance(value, str):
        _refuse(value, "a string", key)
    return value


def need_list(source: JsonObject, key: str) -> list[Any]:
    """An array that must be there."""
    value = source.get(key)
    if not isinstance(value, list):
        if key not in source:
            raise Wrong("it is missing", key)
        _refuse(value, "an array", key)
    return value


def items(source: JsonObject, key: str) -> list[Any]:
    """An array; empty where it is absent or null."""
    value = source.get(key)
    if value is None:
        return []
    if not isinstance(value, list):
        _refuse(value, "an array", key)
    return value


def need_map(source: JsonObject, key: str) -> JsonObject:
    """An object that must be there."""
    value = source.get(key)
    if not isinstance(value, dict):
        if key not in source:
            raise Wrong("it is missing", key)
        _refuse(value, "an object", key)
    return value


def mapping(source: JsonObject, key: str) -> JsonObject | None:
    """An object; null counts as absent."""
    value = source.get(key)
    if value is not None and not isinstance(value, dict):
        _refuse(value, "an object", key)
    return value


def flag(source: JsonObject, key: str) -> bool | None:
    """A boolean; null counts as absent."""
    value = source.get(key)
    if value is not None and not isinstance(value, bool):
        _refuse(value, "true or false", key)
    return value


def whole(source: JsonObject, key: str, least: int | None = None) -> int | None:
    """A whole number; null counts as absent."""
    value = source.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int):
        _refuse(value, "a whole number", key)
    if least is not None and value < least:
        raise Wrong(f"it must be at least {least}, and is {value}", key)
    return value


def number(source: JsonObject, key: str) -> float | None:
    """A number; null counts as absent."""
    value = source.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        _refuse(value, "a number", key)
    return value


def texts(source: JsonObject, key: str) -> tuple[str, ...]:
    """An array of strings; empty where it is absent or null."""
    values = items(source, key)
    for index, value in enumerate(values):
        if not isinstance(value, str):
            _refuse(value, "a string", key, index)
    return tuple(values)


def word(source: JsonObject, key: str, allowed: Sequence[str]) -> str | None:
    """One of some words; null counts as absent."""
    value = text(source, key)
    if value is not None and value not in allowed:
        raise Wrong(f"it must be one of {', '.join(allowed)}, and is {msgspec.json.encode(value).decode()[:80]}", key)
    return value


def each(values: Sequence[Any], key: str, read: Callable[[JsonObject], T]) -> list[T]:
    """Every object of an array, read; a mistake gets its place."""
    out = []
    index = 0
    try:
        for index, value in enumerate(values):  # noqa: B007
            if not isinstance(value, dict):
                _refuse(value, "an object")
            out.append(read(value))
    except Wrong as wrong:
        wrong.path[:0] = [key, index]
        raise
    return out


class below:  # noqa: N801
    """`with below("messages", 3): …` adds steps to the path of a mistake inside."""

    __slots__ = ("steps",)

    def __init__(self, *steps: str | int) -> None:
        self.steps = steps

    def __enter__(self) -> None:
        return

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if isinstance(error, Wrong):
            error.path[:0] = self.steps


def rest(source: JsonObject, known: frozenset[str]) -> JsonObject:
    """The fields that no reader knows."""
    return {key: value for key, value in source.items() if key not in known}


def data_url(url: str) -> tuple[str, str] | None:
    """Media type and base64 of a `data:` URL; None for another URL."""
    if not url.startswith("data:"):
        return None
    head, comma, data = url[5:].partition(",")
    if not comma or not head.endswith(";base64"):
        raise Wrong("a data: URL must be base64 (data:<type>;base64,…)")
    return head[:-7].partition(";")[0] or "application/octet-stream", data


def json_text(value: object) -> str:
    """Compact JSON."""
    return msgspec.json.encode(value).decode()
