"""Case 19, requests: Responses' custom tools (Codex's apply_patch) at upstreams that know only functions."""

from __future__ import annotations

import json

from codex_gateway.dialect.convert import Dialect, ToolName
from codex_gateway.dialect.neutral import ToolKind

from tests.support.sdk_params import chat_body, conversion, responses_body, sent, to_chat, to_messages, to_responses

PATCH = '*** Begin Patch\n*** Add File: a\n+"hi"\n*** End Patch'
TOOL = {
    "type": "custom",
    "name": "apply_patch",
    "description": "Edits files.",
    "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch"},
}
BODY = responses_body(
    {"role": "user", "content": "go"},
    {"type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": PATCH},
    {"type": "custom_tool_call_output", "call_id": "c1", "output": "Done"},
    tools=[TOOL],
    tool_choice={"type": "custom", "name": "apply_patch"},
)


def test_chat_gets_a_function_with_one_string() -> None:
    made = conversion(BODY, Dialect.RESPONSES, Dialect.CHAT)
    function = made.body["tools"][0]["function"]
    assert function["name"] == "apply_patch"
    assert list(function["parameters"]["properties"]) == ["input"]
    assert function["parameters"]["required"] == ["input"]
    assert "start: begin_patch" in function["description"]
    call = made.body["messages"][1]["tool_calls"][0]["function"]
    assert json.loads(call["arguments"]) == {"input": PATCH}
    assert made.body["messages"][2] == {"role": "tool", "tool_call_id": "c1", "content": "Done"}
    assert made.body["tool_choice"] == {"type": "function", "function": {"name": "apply_patch"}}
    assert made.way_back.client_tool("apply_patch") == ToolName("apply_patch", None, ToolKind.CUSTOM)


def test_messages_gets_a_function_with_one_string() -> None:
    body = to_messages(BODY)
    assert body["tools"][0]["input_schema"]["required"] == ["input"]
    assert body["messages"][1]["content"][0]["input"] == {"input": PATCH}
    assert body["messages"][2]["content"][0]["type"] == "tool_result"


def test_responses_keeps_it_unless_the_endpoint_refuses_it() -> None:
    assert sent(BODY, Dialect.RESPONSES, Dialect.RESPONSES, model="gpt-x") is BODY
    made = conversion(BODY, Dialect.RESPONSES, Dialect.RESPONSES, custom_tools=False)
    assert not made.pass_through
    assert [item["type"] for item in made.body["input"]] == ["message", "function_call", "function_call_output"]
    assert made.body["tools"][0]["type"] == "function"
    assert made.way_back.client_tool("apply_patch").kind is ToolKind.CUSTOM


def test_chats_custom_tools_and_their_grammar() -> None:
    grammar = {"type": "grammar", "grammar": {"syntax": "lark", "definition": "start: begin_patch"}}
    body = chat_body(
        {"role": "user", "content": "go"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": "c1", "type": "custom", "custom": {"name": "apply_patch", "input": PATCH}}],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "Done"},
        tools=[{"type": "custom", "custom": {"name": "apply_patch", "description": "Edits files.", "format": grammar}}],
    )
    native = to_responses(body, native=True)
    assert native["tools"] == [TOOL]
    assert native["input"][1]["input"] == PATCH
    plain = to_responses(body)
    assert plain["tools"][0]["type"] == "function"
    assert json.loads(plain["input"][1]["arguments"]) == {"input": PATCH}


def test_the_history_alone_is_enough() -> None:
    """Codex may send a history with a custom call although the tool itself is gone."""
    made = conversion({**BODY, "tools": [], "tool_choice": "auto"}, Dialect.RESPONSES, Dialect.CHAT)
    assert made.way_back.client_tool("apply_patch").kind is ToolKind.CUSTOM
    assert to_chat({**BODY, "tools": []})["messages"][1]["tool_calls"][0]["function"]["name"] == "apply_patch"
