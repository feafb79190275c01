"""Tokens in Chat Completions' form."""

from __future__ import annotations

from typing import Any

from codex_gateway.dialect.neutral import JsonObject, Usage

MAX_COUNT = 10**12
"""More tokens are no number of tokens; sums of these fit into the records' 64 bits."""


def count(value: object) -> int:
    """A number of tokens: whatever an endpoint put there, from 0 to `MAX_COUNT`; 0 where it is no number."""
    # NaN is neither below nor above anything.
    return int(min(value, MAX_COUNT)) if isinstance(value, int | float) and value > 0 else 0


def read_usage(usage: Any, service_tier: Any = None) -> Usage | None:
    """The `usage` of a completion or a chunk; None where there is none."""
    if not isinstance(usage, dict):
        return None
    inward = usage.get("prompt_tokens_details") or {}
    outward = usage.get("completion_tokens_details") or {}
    # DeepSeek names cache hits beside prompt_tokens, which include them.
    cached = count(inward.get("cached_tokens")) or count(usage.get("prompt_cache_hit_tokens"))
    written = count(inward.get("cache_write_tokens"))
    return Usage(
        input=max(0, count(usage.get("prompt_tokens")) - cached - written),
        cache_read=cached,
        cache_write=written,
        output=count(usage.get("completion_tokens")),
        reasoning=count(outward.get("reasoning_tokens")),
        service_tier=service_tier if isinstance(service_tier, str) else None,
    )


def write_usage(usage: Usage) -> JsonObject:
    """The `usage` of a completion or of the last chunk."""
    inward: JsonObject = {"cached_tokens": usage.cache_read}
    if usage.cache_write:
        inward["cache_write_tokens"] = usage.cache_write
    return {
        "prompt_tokens": usage.whole_input,
        "completion_tokens": usage.output,
        "total_tokens": usage.whole_input + usage.output,
        "prompt_tokens_details": inward,
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
