"""Tags by rules."""

from __future__ import annotations

import math
from typing import Any

import pytest
from codex_gateway.config.model import TaggingConfig, TaggingRule, Thinking
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.tagging import Asked, newest_user_text, tags_of, thinking_budget

ASKED = Asked(
    path="/v1/messages",
    headers={"user-agent": "claude-cli/2.1", "x-team": "a"},
    query={"beta": "true", "empty": ""},
    body={
        "model": "claude-haiku-4",
        "stream": True,
        "max_tokens": 5,
        "stop": None,
        "metadata": {"user_id": "u1"},
        "tools": [{"name": "Read"}, {"name": "Bash"}],
        "thinking": {"type": "enabled", "budget_tokens": 8000},
        "messages": [
            {"role": "user", "content": "first"},
            {"role": "assistant", "content": "…"},
            {"role": "user", "content": [{"type": "text", "text": "please fix"}, {"type": "tool_result"}]},
            {"role": "user", "content": [{"type": "tool_result", "content": "fixed?"}]},
        ],
    },
)  # fmt: skip


@pytest.mark.parametrize(
    ("condition", "fits"),
    [
        ({"path": "/v1/mess*"}, True),
        ({"path": "/v1/chat*"}, False),
        ({"model": "*haiku*"}, True),
        ({"model": "gpt*"}, False),
        ({"header": "User-Agent=claude-cli/*"}, True),
        ({"header": "x-team"}, True),
        ({"header": "x-none"}, False),
        ({"header": "x-team=b"}, False),
        ({"query": "beta=true"}, True),
        ({"query": "empty"}, True),
        ({"query": "none"}, False),
        ({"body": "tools[*].name=Bash"}, True),
        ({"body": "tools.0.name=Bash"}, False),
        ({"body": "metadata.user_id=u?"}, True),
        ({"body": "stream=true"}, True),
        ({"body": "max_tokens=5"}, True),
        ({"body": "stop=null"}, True),
        ({"body": "metadata"}, True),
        ({"body": "metadata=x"}, False),
        ({"body": "absent"}, False),
        ({"thinking": Thinking.ON}, True),
        ({"thinking": Thinking.OFF}, False),
        ({"thinking_budget_from": 8000}, True),
        ({"thinking_budget_from": 8001}, False),
        ({"thinking_budget_from": 1, "thinking_budget_to": 8000}, True),
        ({"thinking_budget_to": 7999}, False),
        ({"model": "*haiku*", "query": "none"}, False),
        ({"model": "*haiku*", "enabled": False}, False),
    ],
)
def test_conditions(condition: dict[str, Any], fits: bool) -> None:
    rule = TaggingRule(tags=("t", "u"), **condition)
    tagging = tags_of(ASKED, TaggingConfig(rules=(rule,)))
    assert tagging.tags == (frozenset({"t", "u"}) if fits else frozenset())
    assert not tagging.slow


def test_slow_conditions_are_handed_on_only_where_the_quick_ones_are_met() -> None:
    rules = (
        TaggingRule(tags=("a",), user_message="fix", model="gpt*"),
        TaggingRule(tags=("b",), user_message="fix", model="*haiku*"),
        TaggingRule(python="m:f"),
        TaggingRule(tags=("c",), model="*"),
    )
    tagging = tags_of(ASKED, TaggingConfig(rules=rules))
    assert tagging.tags == {"c"}
    assert [(slow.rule, slow.pattern, slow.text, slow.python) for slow in tagging.slow] == [
        (rules[1], "fix", "please fix", ""),
        (rules[2], "", "", "m:f"),
    ]
    assert not tags_of(Asked(path="/"), TaggingConfig(rules=rules[1:2])).slow


@pytest.mark.parametrize(
    ("body", "budget"),
    [
        ({}, 0),
        ({"thinking": {"type": "disabled", "budget_tokens": 5}}, 0),
        ({"thinking": {"type": "adaptive"}}, math.inf),
        ({"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}}, 4096),
        ({"reasoning_effort": "high"}, 32_768),
        ({"reasoning": {"effort": "xhigh"}}, 65_536),
        ({"reasoning": {"effort": None}}, 0),
        ({"reasoning_effort": "none"}, 0),
        ({"thinking": "odd"}, 0),
    ],
)
def test_budgets(body: dict[str, Any], budget: float) -> None:
    assert thinking_budget(body) == budget


def test_the_newest_user_text_in_each_dialect() -> None:
    assert newest_user_text(ASKED) == "please fix"
    assert newest_user_text(Asked(path="/", dialect=Dialect.RESPONSES, body={"input": "hi"})) == "hi"
    listed = [
        {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
        {},
    ]
    assert newest_user_text(Asked(path="/", dialect=Dialect.RESPONSES, body={"input": listed})) == "a\nb"
    assert newest_user_text(Asked(path="/", body={"messages": 7})) == ""
    assert (
        len(newest_user_text(Asked(path="/", body={"messages": [{"role": "user", "content": "x" * 100_000}]})))
        == 65_536
    )
