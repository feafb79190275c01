"""Tokens in Responses' form."""

from __future__ import annotations

from typing import Any

from codex_gateway.dialect.chat.usage import count
from codex_gateway.dialect.neutral import JsonObject, Usage


def read_usage(usage: Any, service_tier: Any = None, web_searches: int = 0) -> Usage | None:
    """The `usage` of a response; None where there is none."""
    if not isinstance(usage, dict):
        return None
    inward = usage.get("input_tokens_details") or {}
    outward = usage.get("output_tokens_details") or {}
    cached = count(inward.get("cached_tokens"))
    written = count(inward.get("cache_write_tokens"))
    return Usage(
        input=max(0, count(usage.get("input_tokens")) - cached - written),
        cache_read=cached,
        cache_write=written,
        output=count(usage.get("output_tokens")),
        reasoning=count(outward.get("reasoning_tokens")),
        web_searches=web_searches,
        service_tier=service_tier if isinstance(service_tier, str) else None,
    )


def write_usage(usage: Usage) -> JsonObject:
    """The `usage` of a response."""
    return {
        "input_tokens": usage.whole_input,
        "input_tokens_details": {"cached_tokens": usage.cache_read, "cache_write_tokens": usage.cache_write},
        "output_tokens": usage.output,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.whole_input + usage.output,
    }
