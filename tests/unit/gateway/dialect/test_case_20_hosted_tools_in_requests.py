"""Case 20, requests: tools that an upstream lacks are dropped or bridged, never a 400."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from codex_gateway.dialect.convert import Dialect, Facts, convert_request
from codex_gateway.dialect.neutral import ToolKind

from tests.support.sdk_params import chat_body, conversion, messages_body, responses_body, sent, to_chat, to_messages

USER = {"role": "user", "content": "go"}
F = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}, "strict": False}
ALL = responses_body(
    USER,
    tools=[
        {"type": "local_shell"},
        {"type": "web_search", "filters": {"allowed_domains": ["example.org"]}},
        {"type": "tool_search", "execution": "client", "parameters": {"type": "object", "properties": {}}},
        {"type": "tool_search"},
        {"type": "image_generation"},
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "a_tool_of_next_year"},
        F,
    ],
)


def names(body: dict[str, Any]) -> list[str]:
    return [tool.get("name") or tool["function"]["name"] for tool in body["tools"]]


@pytest.mark.parametrize("write", [to_chat, to_messages])
def test_what_the_client_runs_is_bridged_and_the_rest_dropped(write: Callable[[Any], dict[str, Any]]) -> None:
    assert names(write(ALL)) == ["local_shell", "tool_search", "f"]


def test_web_search_goes_to_anthropic() -> None:
    tools = to_messages(ALL, native=True)["tools"]
    assert tools[1] == {"type": "web_search_20250305", "name": "web_search", "allowed_domains": ["example.org"]}
    assert "web_search" not in names(to_messages(ALL, native=True, web_search=False))
    assert "web_search" in names(to_messages(ALL, web_search=True))


def test_web_search_goes_to_openai() -> None:
    place = {"type": "approximate", "city": "Bern", "country": "CH"}
    tool = {
        "type": "web_search_20250305",
        "name": "web_search",
        "allowed_domains": ["example.org"],
        "user_location": place,
    }
    body = messages_body(USER, tools=[tool])
    out = sent(body, Dialect.MESSAGES, Dialect.RESPONSES, native=True)
    expected = {"type": "web_search", "filters": {"allowed_domains": ["example.org"]}, "user_location": place}
    assert out["tools"] == [expected]
    assert "tools" not in sent(body, Dialect.MESSAGES, Dialect.RESPONSES)
    assert "tools" not in to_chat(body, native=True)
    options = {"search_context_size": "low", "user_location": {"type": "approximate", "approximate": {"city": "Bern"}}}
    chat = sent(chat_body(USER, web_search_options=options), Dialect.CHAT, Dialect.MESSAGES, native=True)
    assert chat["tools"][0]["user_location"] == {"type": "approximate", "city": "Bern"}


def test_earlier_searches() -> None:
    use = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "news"}}
    found = {
        "type": "web_search_result",
        "url": "https://e.org",
        "title": "E",
        "encrypted_content": "x",
        "page_age": None,
    }
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found]}
    text = {"type": "text", "text": "Nothing new."}
    body = messages_body(USER, {"role": "assistant", "content": [use, result, text]}, USER)
    items = sent(body, Dialect.MESSAGES, Dialect.RESPONSES, native=True)["input"]
    action = {"type": "search", "query": "news"}
    assert items[1] == {"type": "web_search_call", "status": "completed", "action": action}
    assert to_chat(body)["messages"][1] == {"role": "assistant", "content": "Nothing new."}
    call = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action}
    answer = {"role": "assistant", "content": "Nothing new."}
    back = to_messages(responses_body(USER, call, answer, USER), native=True)
    # Its proof is not ours to give.
    assert back["messages"][1]["content"] == [text]


def test_local_shell_is_a_function_elsewhere() -> None:
    action = {"type": "exec", "command": ["ls"], "env": {}, "timeout_ms": 1000}
    body = responses_body(
        USER,
        {"type": "local_shell_call", "id": "lsh_1", "call_id": "c1", "status": "completed", "action": action},
        {"type": "local_shell_call_output", "id": "c1", "call_id": "c1", "output": "a.txt"},
        tools=[{"type": "local_shell"}],
    )
    made = conversion(body, Dialect.RESPONSES, Dialect.CHAT)
    call = made.body["messages"][1]["tool_calls"][0]["function"]
    assert call["name"] == "local_shell"
    assert json.loads(call["arguments"]) == {"command": ["ls"], "env": {}, "timeout_ms": 1000}
    assert made.body["messages"][2]["content"] == "a.txt"
    assert made.way_back.client_tool("local_shell").kind is ToolKind.LOCAL_SHELL


def test_tools_that_a_search_found_can_be_called() -> None:
    found = {"type": "namespace", "name": "mcp__cal", "description": "calendar", "tools": [{**F, "name": "list"}]}
    body = responses_body(
        USER,
        {"type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {"query": "calendar"}},
        {"type": "tool_search_output", "call_id": "c1", "execution": "client", "status": "completed", "tools": [found]},
        tools=[{"type": "tool_search", "execution": "client", "parameters": {"type": "object", "properties": {}}}],
    )
    made = conversion(body, Dialect.RESPONSES, Dialect.CHAT)
    assert names(made.body) == ["tool_search", "mcp__cal__list"]
    assert made.body["messages"][1]["tool_calls"][0]["function"]["arguments"] == '{"query":"calendar"}'
    assert "mcp__cal.list" in made.body["messages"][2]["content"]
    assert made.way_back.client_tool("tool_search").kind is ToolKind.TOOL_SEARCH


def test_items_of_other_hosted_tools_are_left_out() -> None:
    image = {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}
    body = responses_body(USER, image, {"role": "assistant", "content": "There."}, {"type": "item_of_next_year"}, USER)
    assert to_chat(body)["messages"][1] == {"role": "assistant", "content": "There."}
    assert "iVBOR" not in str(to_messages(body))


def test_anthropics_typed_client_tools_are_functions_elsewhere() -> None:
    tools = [
        {"type": "bash_20250124", "name": "bash"},
        {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
        {"type": "web_fetch_20250910", "name": "web_fetch"},
    ]
    assert names(to_chat(messages_body(USER, tools=tools))) == ["bash", "str_replace_based_edit_tool"]


def test_an_endpoint_without_tools_gets_them_as_text() -> None:
    body = messages_body(
        USER,
        {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]},
        tools=[{"name": "f", "input_schema": {"type": "object"}}],
    )
    for upstream in Dialect:
        made = conversion(body, Dialect.MESSAGES, upstream, no_tools=True)
        assert not made.pass_through
        assert "tools" not in made.body
        turns = made.body.get("messages") or made.body["input"]
        assert [turn["role"] for turn in turns] == ["user", "assistant", "user"]
        assert "ok" in str(turns[2]["content"])


@pytest.mark.parametrize(
    ("dialect", "expected"),
    [
        (Dialect.RESPONSES, {"type": "web_search"}),
        (Dialect.MESSAGES, {"type": "tool", "name": "web_search"}),
        (Dialect.CHAT, None),
    ],
)
def test_a_search_that_is_forced(dialect: Dialect, expected: dict[str, Any] | None) -> None:
    """Claude Code's own search asks so."""
    body = {
        "model": "m",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": "Perform a web search for the query: x"}],
        "tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 8}],
        "tool_choice": {"type": "tool", "name": "web_search"},
    }
    facts = Facts(dialect=dialect, model="m", native=True)
    made = convert_request(body, Dialect.MESSAGES, facts).body
    assert made.get("tool_choice") == expected
    assert bool(made.get("tools")) is (expected is not None)
    responses = {"model": "m", "input": "x", "tools": [{"type": "web_search"}], "tool_choice": {"type": "web_search"}}
    assert convert_request(responses, Dialect.RESPONSES, facts).body.get("tool_choice") == expected
