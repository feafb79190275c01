"""How much to think: effort words and token budgets."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import Facts
    from codex_gateway.dialect.neutral import JsonObject, Reasoning

MIN_BUDGET = 1024
"""Anthropic's least budget in tokens."""
_BUDGETS = {"minimal": 1024, "low": 2048, "medium": 8192, "high": 16384, "xhigh": 32768, "max": 63999, "ultra": 63999}
"""Tokens for an effort. Low, medium and high grow as clients' own tables do; 63,999 is Claude Code's largest."""
_DEFAULT_BUDGET = _BUDGETS["medium"]
_BUDGET_ONLY = re.compile(r"claude-(3|instant|2|(opus|sonnet)-4(-[015])?(-2025\d+|-latest|@|$)|haiku-4)")
"""Claude models that know no adaptive thinking: up to Opus 4.5, Sonnet 4.5 and Haiku 4.5."""
_PLAIN = {"minimal": "low", "xhigh": "high", "max": "high", "ultra": "high"}
"""What endpoints that are not OpenAI's own understand."""
_MESSAGES_EFFORT = {"minimal": "low", "ultra": "max"}


def effort_of(reasoning: Reasoning | None, *, native: bool) -> str | None:
    """The effort for OpenAI's dialects; None leaves it to the endpoint."""
    if reasoning is None:
        return None
    if reasoning.effort == "none" or reasoning.enabled is False:
        # Not every model knows "none": only who said it in so many words gets it.
        return "none" if native and reasoning.effort == "none" else None
    effort = reasoning.effort
    if effort is None and reasoning.budget_tokens is not None:
        effort = "low" if reasoning.budget_tokens <= 4096 else "medium" if reasoning.budget_tokens <= 12288 else "high"
    return effort if effort is None or native else _PLAIN.get(effort, effort)


def thinking_fields(
    reasoning: Reasoning | None, facts: Facts, max_tokens: int, *, forced_tool: bool, may_budget: bool
) -> JsonObject:
    """`thinking` and `output_config.effort` of a Messages request.

    :param forced_tool: the model must call a tool, which excludes thinking
    :param may_budget: False where the history holds calls without thinking before them, which a budget excludes
    """
    if reasoning is None:
        return {}
    adaptive = facts.adaptive_thinking
    if adaptive is None:
        adaptive = facts.native and not _BUDGET_ONLY.search(facts.model)
    out: JsonObject = {}
    if reasoning.enabled is False or reasoning.effort == "none":
        return {"thinking": {"type": "disabled"}} if facts.native else {}
    effort = _MESSAGES_EFFORT.get(reasoning.effort, reasoning.effort) if reasoning.effort else None
    if adaptive:
        if effort:
            out["output_config"] = {"effort": effort}
        if reasoning.enabled and not forced_tool:
            out["thinking"] = {"type": "adaptive", "display": reasoning.display or "summarized"}
        return out
    if not reasoning.enabled or forced_tool or not may_budget:
        return out
    budget = reasoning.budget_tokens or _BUDGETS.get(effort or "", _DEFAULT_BUDGET)
    budget = min(budget, max_tokens - 1)
    if budget >= MIN_BUDGET:
        out["thinking"] = {"type": "enabled", "budget_tokens": budget}
    return out
