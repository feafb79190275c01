"""Case 13: which tools may or must be called, and whether several at once."""

from __future__ import annotations

from typing import Any

import pytest
from codex_gateway.dialect.convert import Dialect

from tests.support.sdk_params import chat_body, messages_body, responses_body, sent

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {}}
BODIES = {
    Dialect.MESSAGES: messages_body(
        USER, tools=[{"name": "f", "input_schema": SCHEMA}, {"name": "g", "input_schema": SCHEMA}]
    ),
    Dialect.CHAT: chat_body(
        USER, tools=[{"type": "function", "function": {"name": name, "parameters": SCHEMA}} for name in ("f", "g")]
    ),
    Dialect.RESPONSES: responses_body(
        USER, tools=[{"type": "function", "name": name, "parameters": SCHEMA, "strict": False} for name in ("f", "g")]
    ),
}
CHOICES: dict[str, dict[Dialect, Any]] = {
    "auto": {Dialect.MESSAGES: {"type": "auto"}, Dialect.CHAT: "auto", Dialect.RESPONSES: "auto"},
    "required": {Dialect.MESSAGES: {"type": "any"}, Dialect.CHAT: "required", Dialect.RESPONSES: "required"},
    "none": {Dialect.MESSAGES: {"type": "none"}, Dialect.CHAT: "none", Dialect.RESPONSES: "none"},
    "named": {
        Dialect.MESSAGES: {"type": "tool", "name": "f"},
        Dialect.CHAT: {"type": "function", "function": {"name": "f"}},
        Dialect.RESPONSES: {"type": "function", "name": "f"},
    },
}
PAIRS = [(client, upstream) for client in Dialect for upstream in Dialect if client is not upstream]


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_has_its_counterpart(client: Dialect, upstream: Dialect, choice: str) -> None:
    body = {**BODIES[client], "tool_choice": CHOICES[choice][client]}
    assert sent(body, client, upstream)["tool_choice"] == CHOICES[choice][upstream]


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_without_a_choice_none_is_sent(client: Dialect, upstream: Dialect) -> None:
    assert "tool_choice" not in sent(BODIES[client], client, upstream)


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
@pytest.mark.parametrize("parallel", [True, False])
def test_the_parallel_flag(client: Dialect, upstream: Dialect, parallel: bool) -> None:
    if client is Dialect.MESSAGES:
        body = {**BODIES[client], "tool_choice": {"type": "auto", "disable_parallel_tool_use": not parallel}}
    else:
        body = {**BODIES[client], "parallel_tool_calls": parallel}
    out = sent(body, client, upstream)
    if upstream is Dialect.MESSAGES:
        assert out["tool_choice"] == {"type": "auto", "disable_parallel_tool_use": not parallel}
    else:
        assert out["parallel_tool_calls"] is parallel


@pytest.mark.parametrize(("client", "upstream"), PAIRS)
def test_choice_and_flag_go_with_the_last_tool(client: Dialect, upstream: Dialect) -> None:
    for tools, facts in (([], {}), (BODIES[client]["tools"], {"no_tools": True})):
        choice = {"tool_choice": CHOICES["required"][client], "tools": tools}
        flag = {} if client is Dialect.MESSAGES else {"parallel_tool_calls": True}
        out = sent({**BODIES[client], **choice, **flag}, client, upstream, **facts)
        assert not {"tools", "tool_choice", "parallel_tool_calls"} & set(out)


def test_a_named_tool_that_is_not_sent_is_not_named() -> None:
    search = responses_body(
        USER, tools=[*BODIES[Dialect.RESPONSES]["tools"], {"type": "web_search"}], tool_choice={"type": "web_search"}
    )
    assert "tool_choice" not in sent(search, Dialect.RESPONSES, Dialect.CHAT)
    native = sent(search, Dialect.RESPONSES, Dialect.MESSAGES, native=True)
    assert native["tool_choice"] == {"type": "tool", "name": "web_search"}


def test_allowed_tools_between_openais_dialects() -> None:
    tools = [{"type": "function", "function": {"name": "g"}}]
    nested = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": tools}}
    flat = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    chat = {**BODIES[Dialect.CHAT], "tool_choice": nested}
    assert sent(chat, Dialect.CHAT, Dialect.RESPONSES, native=True)["tool_choice"] == flat
    responses = {**BODIES[Dialect.RESPONSES], "tool_choice": flat}
    assert sent(responses, Dialect.RESPONSES, Dialect.CHAT, native=True)["tool_choice"] == nested


@pytest.mark.parametrize("upstream", [Dialect.MESSAGES, Dialect.CHAT])
def test_elsewhere_only_the_allowed_tools_are_sent(upstream: Dialect) -> None:
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "g"}]}
    out = sent({**BODIES[Dialect.RESPONSES], "tool_choice": choice}, Dialect.RESPONSES, upstream)
    assert out["tool_choice"] == CHOICES["required"][upstream]
    assert [tool.get("name") or tool["function"]["name"] for tool in out["tools"]] == ["g"]


def test_a_forced_tool_excludes_thinking() -> None:
    body = {**BODIES[Dialect.CHAT], "tool_choice": "required", "reasoning_effort": "high"}
    for facts in ({}, {"native": True, "model": "claude-opus-4-8"}):
        assert "thinking" not in sent(body, Dialect.CHAT, Dialect.MESSAGES, **facts)
