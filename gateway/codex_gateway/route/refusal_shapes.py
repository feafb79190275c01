"""Finds the sentences of an error answer, whatever its shape. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any

import msgspec

from codex_gateway.route.body_paths import steps_of

MAX_SENTENCES = 40


class Sentence(msgspec.Struct, frozen=True):
    """One thing that an error says, with the place that the error names beside it."""

    text: str
    place: tuple[str, ...] = ()
    kind: str = ""
    """Its code or type."""


_PYTHON_LIST = re.compile(r"^\s*[\[{(]")
_PYTHON_ERROR = re.compile(
    r"'type': '(?P<type>[a-z_.]+)'.*?'loc': [\[(](?P<loc>[^\])]*)[\])].*?'msg': (?P<quote>['\"])(?P<msg>.*?)(?P=quote)"
)


def sentences_of(body: bytes) -> list[Sentence]:
    """Return what an error answer says, the innermost error first: what a relay says about it is vaguer."""
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        decoded = body.decode(errors="replace")
    return list(islice(_said(decoded), MAX_SENTENCES))


def _said(node: Any, depth: int = 0) -> Iterator[Sentence]:
    """Every sentence in an error, whatever its shape.

    {"error": {"message", "param", "code", "type"}}        OpenAI, Azure, Groq, DeepSeek, xAI
    {"type": "error", "error": {"type", "message"}}        Anthropic
    {"detail": [{"loc", "msg", "type"}]} or a text         FastAPI, vLLM, Mistral (as `message.detail`)
    {"object": "error", "message": "[{'type': …}]"}        vLLM: Python's repr in a text
    [{"error": {"message", "details": [{"fieldViolations": [{"field", "description"}]}]}}]       Google
    {"error": {"message", "metadata": {"raw": "<JSON>"}}}  OpenRouter
    {"error": "text"}                                      Ollama
    """
    if depth > 6:
        return
    match node:
        case str():
            yield from _said_in_text(node, depth)
        case list():
            for one in node[:MAX_SENTENCES]:
                yield from _said(one, depth + 1)
        case {"loc": list(loc), "msg": str(said)}:
            yield Sentence(said, tuple(str(step) for step in loc if step != "body"), str(node.get("type") or ""))
        case {"field": str(place), "description": str(description)}:
            yield Sentence(description, steps_of(place), "")
        case dict():
            # The inner error first: what a relay says about it ("Provider returned error") is vaguer.
            for name in ("metadata", "upstream_error", "innererror", "error", "errors", "detail", "details", "raw"):
                if isinstance(inner := node.get(name), dict | list | str):
                    yield from _said(inner, depth + 1)
            if isinstance(inner := node.get("fieldViolations"), list):
                yield from _said(inner, depth + 1)
            message = node.get("message") or node.get("msg")
            kind = " ".join(str(node[name]) for name in ("code", "type", "status") if node.get(name))
            param = node.get("param")
            beside = steps_of(param) if isinstance(param, str) and param != "validation_error" else ()
            if isinstance(message, str):
                yield from (
                    Sentence(one.text, one.place or beside, f"{one.kind} {kind}")
                    for one in _said_in_text(message, depth)
                )
            elif message is not None:
                yield from _said(message, depth + 1)
        case _:
            return


def _said_in_text(text: str, depth: int) -> Iterator[Sentence]:
    text = text[:8192]
    if _PYTHON_LIST.match(text):
        try:
            inner = json.loads(text)
        except (ValueError, RecursionError):
            for match in _PYTHON_ERROR.finditer(text):
                loc = tuple(step.strip(" '\"") for step in match["loc"].split(",") if step.strip(" '\""))
                yield Sentence(match["msg"], tuple(step for step in loc if step != "body"), match["type"])
        else:
            yield from _said(inner, depth + 1)
            return
    yield Sentence(text)
