"""Places in a JSON body: `tools.*.function.strict`. Setting, deleting and looking up. Pure; bodies that come in are
never changed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from codex_gateway.dialect.neutral import JsonObject

ANY_INDEX = "*"
_STEP = re.compile(r"[^.\[\]]+")


def steps_of(path: str) -> tuple[str, ...]:
    """Cut `messages[3].content.0.text`, `tools[*].name` or `/messages/3` into steps; an index stays a text."""
    if path.startswith("/"):
        path = path.replace("/", ".")
    return tuple(step.strip("'\" ") for step in _STEP.findall(path.removeprefix("$.")) if step.strip("'\" "))


def _index(step: str) -> int | None:
    # Python refuses to read a number of thousands of digits, which an endpoint may well say.
    return int(step) if step.isdecimal() and len(step) < 10 else None


def resolve(body: Any, steps: Sequence[str]) -> tuple[str, ...] | None:
    """Return the path of what a refusal names, with `*` for indexes; None where the body has no such place.

    Validators name variants along the way, which are no keys of the body (`tools.0.custom.strict`,
    `messages.0.user.name`): a step that leads nowhere is left out, but the last one must be there.
    """
    found: list[str] = []
    node = body
    for number, step in enumerate(steps):
        last = number == len(steps) - 1
        if isinstance(node, list):
            if step == ANY_INDEX and node:
                node = node[0]
            elif (index := _index(step)) is not None and index < len(node):
                node = node[index]
            elif last:
                return None
            else:
                continue
            found.append(ANY_INDEX)
        elif isinstance(node, dict) and step in node and (last or isinstance(node[step], dict | list)):
            node = node[step]
            found.append(step)
        elif last:
            return None
    return tuple(found) or None


def look_up(body: Any, steps: Sequence[str]) -> Iterator[Any]:
    """Yield the values at a path; `*` stands for all elements of a list."""
    if not steps:
        yield body
        return
    step, rest = steps[0], steps[1:]
    if isinstance(body, dict):
        if step in body:
            yield from look_up(body[step], rest)
    elif isinstance(body, list):
        if step == ANY_INDEX:
            for one in body:
                yield from look_up(one, rest)
        elif (index := _index(step.removeprefix("-"))) is not None:
            index = -index if step.startswith("-") else index
            if -len(body) <= index < len(body):
                yield from look_up(body[index], rest)


def without(body: JsonObject, paths: Iterable[str]) -> JsonObject:
    """Return the body without the places at `paths`. What is not on the way to one is shared, not copied."""
    for path in paths:
        body = _without(body, tuple(path.split(".")))
    return body


def _without(node: Any, steps: tuple[str, ...]) -> Any:
    step, rest = steps[0], steps[1:]
    if isinstance(node, dict):
        if step not in node:
            return node
        if not rest:
            return {key: value for key, value in node.items() if key != step}
        inner = _without(node[step], rest)
        return node if inner is node[step] else {**node, step: inner}
    if isinstance(node, list) and step == ANY_INDEX and rest:
        inner_list = [_without(one, rest) for one in node]
        return node if all(a is b for a, b in zip(inner_list, node, strict=True)) else inner_list
    return node


def overridden(body: JsonObject, overrides: Mapping[str, Any]) -> JsonObject:
    """Return the body with an endpoint's `parameter_overrides`: null deletes."""
    for path, value in overrides.items():
        steps = tuple(path.split("."))
        body = _without(body, steps) if value is None else _with(body, steps, value)
    return body


def _with(node: Any, steps: tuple[str, ...], value: Any) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    if isinstance(node, list):
        if step == ANY_INDEX:
            return [_with(one, rest, value) for one in node]
        if (index := _index(step)) is not None and index < len(node):
            copy = list(node)
            copy[index] = _with(node[index], rest, value)
            return copy
        return node
    inner = node if isinstance(node, dict) else {}
    return {**inner, step: _with(inner.get(step), rest, value)}
