"""Tokens in Messages' form: `input_tokens` is without what was read from and written to the cache."""

from __future__ import annotations

from typing import Any

from codex_gateway.dialect.chat.usage import count
from codex_gateway.dialect.neutral import JsonObject, Usage


def read_usage(usage: Any, before: Usage) -> Usage:
    """The `usage` of a message, of message_start or message_delta; what it does not name stays as it was `before`."""
    if not isinstance(usage, dict):
        return before

    def number(key: str, otherwise: int) -> int:
        value = usage.get(key)
        return otherwise if value is None else count(value)

    creation = usage.get("cache_creation") or {}
    details = usage.get("output_tokens_details") or {}
    server = usage.get("server_tool_use") or {}
    tier = usage.get("service_tier")
    return Usage(
        input=number("input_tokens", before.input),
        cache_read=number("cache_read_input_tokens", before.cache_read),
        cache_write=number("cache_creation_input_tokens", before.cache_write),
        output=number("output_tokens", before.output),
        reasoning=count(details.get("thinking_tokens")) or before.reasoning,
        cache_write_1h=count(creation.get("ephemeral_1h_input_tokens")) or before.cache_write_1h,
        web_searches=count(server.get("web_search_requests")) or before.web_searches,
        service_tier=tier if isinstance(tier, str) else before.service_tier,
    )


def write_usage(usage: Usage) -> JsonObject:
    """The `usage` of a message, of message_start and message_delta."""
    written: JsonObject = {
        "input_tokens": usage.input,
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    }
    if usage.reasoning:
        written["output_tokens_details"] = {"thinking_tokens": usage.reasoning}
    if usage.web_searches:
        written["server_tool_use"] = {"web_search_requests": usage.web_searches, "web_fetch_requests": 0}
    return written
