"""Case 21, requests: Codex's namespaces flattened to unique names, and the way back from them."""

from __future__ import annotations

from typing import Any

import pytest
from codex_gateway.dialect.convert import Dialect, ToolName

from tests.support.sdk_params import conversion, responses_body, sent

USER = {"role": "user", "content": "go"}
EMPTY = {"type": "object", "properties": {}}


def function(name: str) -> dict[str, Any]:
    return {"type": "function", "name": name, "parameters": EMPTY, "strict": False}


def space(name: str, *tools: str) -> dict[str, Any]:
    return {"type": "namespace", "name": name, "description": "d", "tools": [function(tool) for tool in tools]}


def names(body: dict[str, Any]) -> list[str]:
    return [tool.get("name") or tool["function"]["name"] for tool in body["tools"]]


@pytest.mark.parametrize("upstream", [Dialect.CHAT, Dialect.MESSAGES])
def test_names_are_joined_and_restored(upstream: Dialect) -> None:
    body = responses_body(
        USER,
        {"type": "function_call", "call_id": "c1", "name": "open", "namespace": "mcp__a", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c1", "output": "ok"},
        tools=[space("mcp__a", "open", "close"), space("mcp__b__", "open")],
    )
    made = conversion(body, Dialect.RESPONSES, upstream)
    assert names(made.body) == ["mcp__a__open", "mcp__a__close", "mcp__b__open"]
    assert made.way_back.client_tool("mcp__a__open") == ToolName("open", "mcp__a")
    assert made.way_back.client_tool("mcp__b__open") == ToolName("open", "mcp__b__")
    assert "'mcp__a__open'" in str(made.body["messages"][1])


def test_a_direct_tool_wins_a_clash() -> None:
    body = responses_body(USER, tools=[space("mcp__a", "open"), function("mcp__a__open")])
    made = conversion(body, Dialect.RESPONSES, Dialect.CHAT)
    assert names(made.body) == ["mcp__a__open_2", "mcp__a__open"]
    assert made.way_back.client_tool("mcp__a__open") == ToolName("mcp__a__open")
    assert made.way_back.client_tool("mcp__a__open_2") == ToolName("open", "mcp__a")


def test_long_names_stay_apart_and_the_same_in_every_turn() -> None:
    body = responses_body(USER, tools=[space("mcp__" + "n" * 50, "a" * 30 + "1", "a" * 30 + "2")])
    made = conversion(body, Dialect.RESPONSES, Dialect.CHAT)
    assert len(set(names(made.body))) == 2
    assert all(len(name) <= 64 for name in names(made.body))
    assert names(sent(body, Dialect.RESPONSES, Dialect.CHAT)) == names(made.body)
    assert [made.way_back.client_tool(name).name[-1] for name in names(made.body)] == ["1", "2"]


def test_a_responses_endpoint_keeps_them_unless_it_refuses_them() -> None:
    body = responses_body(USER, tools=[space("mcp__a", "open")])
    assert sent(body, Dialect.RESPONSES, Dialect.RESPONSES, model="gpt-x") is body
    made = conversion(body, Dialect.RESPONSES, Dialect.RESPONSES, namespaces=False)
    assert made.body["tools"] == [function("mcp__a__open")]
    assert made.way_back.client_tool("mcp__a__open") == ToolName("open", "mcp__a")
    assert not made.pass_through


def test_tools_that_come_in_the_input() -> None:
    extra = {"type": "additional_tools", "role": "developer", "tools": [space("mcp__a", "open"), function("f")]}
    made = conversion(responses_body(extra, USER, tools=[function("f")]), Dialect.RESPONSES, Dialect.CHAT)
    assert names(made.body) == ["f", "mcp__a__open"]
    assert [message["role"] for message in made.body["messages"]] == ["user"]


def test_namespaces_are_kept_where_only_custom_tools_are_refused() -> None:
    custom = {"type": "custom", "name": "apply_patch"}
    body = responses_body(USER, tools=[space("mcp__a", "open"), custom])
    made = conversion(body, Dialect.RESPONSES, Dialect.RESPONSES, custom_tools=False)
    assert [tool["type"] for tool in made.body["tools"]] == ["namespace", "function"]
    assert made.body["tools"][0]["tools"] == [function("open")]
