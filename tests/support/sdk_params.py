"""Request bodies held against the vendors' own SDK types."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from codex_gateway.dialect.convert import Conversion, Dialect, Facts, convert_request
from pydantic import TypeAdapter, ValidationError


@cache
def _adapter(dialect: Dialect) -> TypeAdapter[Any]:
    match dialect:
        case Dialect.MESSAGES:
            from anthropic.types.message_create_params import MessageCreateParamsNonStreaming

            return TypeAdapter(MessageCreateParamsNonStreaming)
        case Dialect.CHAT:
            from openai.types.chat.completion_create_params import CompletionCreateParamsNonStreaming

            return TypeAdapter(CompletionCreateParamsNonStreaming)
        case Dialect.RESPONSES:
            from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

            return TypeAdapter(ResponseCreateParamsNonStreaming)


def _consume(value: Any) -> None:
    """pydantic checks the elements of an Iterable only when they are asked for."""
    if isinstance(value, dict):
        for inner in value.values():
            _consume(inner)
    elif isinstance(value, list) or (isinstance(value, Iterator) and not isinstance(value, str)):
        for inner in value:
            _consume(inner)


def assert_valid(body: dict[str, Any], dialect: Dialect) -> None:
    """The SDK could have sent this body.

    Answers, reasoning and searches without an id are let pass: the API takes them (Codex sends them so), the SDK's
    types do not.
    """
    checked = {key: value for key, value in body.items() if key not in ("stream", "stream_options")}
    if dialect is Dialect.RESPONSES and isinstance(checked.get("input"), list):
        checked["input"] = [
            {"id": "x", "status": "completed", **item}
            if item.get("type") in _ID_LESS or (item.get("type") == "message" and item["role"] == "assistant")
            else item
            for item in checked["input"]
        ]
    try:
        _consume(_adapter(dialect).validate_python(checked))
    except ValidationError as error:
        # A line for each member of each union would bury the body.
        raise AssertionError(f"not a body of {dialect}: {error.error_count()} mistakes in {body}") from None


_ID_LESS = ("reasoning", "web_search_call", "local_shell_call")


def conversion(body: dict[str, Any], client: Dialect, upstream: Dialect, **facts: Any) -> Conversion:
    """The conversion; what is to be sent holds against the SDK's types."""
    made = convert_request(body, client, Facts(dialect=upstream, **{"model": "their-model", **facts}))
    assert_valid(made.body, upstream)
    return made


def sent(body: dict[str, Any], client: Dialect, upstream: Dialect, **facts: Any) -> dict[str, Any]:
    """The body to send; it holds against the SDK's types."""
    return conversion(body, client, upstream, **facts).body


def to_messages(body: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """A Chat or Responses body as Messages."""
    return sent(body, client_of(body), Dialect.MESSAGES, **facts)


def to_chat(body: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """A Messages or Responses body as Chat Completions."""
    return sent(body, client_of(body), Dialect.CHAT, **facts)


def to_responses(body: dict[str, Any], **facts: Any) -> dict[str, Any]:
    """A Messages or Chat body as Responses."""
    return sent(body, client_of(body), Dialect.RESPONSES, **facts)


def client_of(body: dict[str, Any]) -> Dialect:
    """Which dialect a body made by one of the functions below is in."""
    if "input" in body:
        return Dialect.RESPONSES
    return Dialect.MESSAGES if "max_tokens" in body else Dialect.CHAT


def messages_body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Messages request."""
    return {"model": "claude-x", "max_tokens": 4000, "messages": list(messages), **more}


def chat_body(*messages: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Chat request; without max_tokens, by which `client_of` tells it from Messages."""
    return {"model": "gpt-x", "messages": list(messages), **more}


def responses_body(*items: dict[str, Any], **more: Any) -> dict[str, Any]:
    """A Responses request."""
    return {"model": "gpt-x", "input": list(items), **more}
