"""Case 14: schemas of tools and answers, names and ids."""

from __future__ import annotations

import re
from typing import Any

import pytest
from codex_gateway.dialect.convert import Dialect
from codex_gateway.dialect.schemas import plain_root

from tests.support.sdk_params import (
    chat_body,
    conversion,
    messages_body,
    responses_body,
    to_chat,
    to_messages,
    to_responses,
)

USER = {"role": "user", "content": "hi"}
SCHEMA = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False}


def function(name: str = "f", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, **more}}


def test_strict_is_kept() -> None:
    body = chat_body(USER, tools=[function(parameters=SCHEMA, strict=True)])
    assert to_responses(body)["tools"][0]["strict"] is True
    assert to_messages(body)["tools"][0]["strict"] is True
    assert to_chat(messages_body(USER, tools=to_messages(body)["tools"]))["tools"][0]["function"]["strict"] is True


def test_responses_is_not_strict_unless_told() -> None:
    assert (
        to_responses(messages_body(USER, tools=[{"name": "f", "input_schema": SCHEMA}]))["tools"][0]["strict"] is False
    )


def test_missing_parameters_are_an_empty_object() -> None:
    empty = {"type": "object", "properties": {}}
    body = chat_body(USER, tools=[function()])
    assert to_messages(body)["tools"][0]["input_schema"] == empty
    assert to_responses(body)["tools"][0]["parameters"] == empty
    bare = responses_body(USER, tools=[{"type": "function", "name": "f", "parameters": None, "strict": False}])
    assert to_chat(bare)["tools"][0]["function"]["parameters"] == empty
    odd = chat_body(USER, tools=[function(parameters={"type": "object"})])
    assert to_messages(odd)["tools"][0]["input_schema"] == empty


A = {"type": "object", "properties": {"kind": {"const": "a"}, "x": {"type": "string"}}, "required": ["kind", "x"]}
B = {"type": "object", "properties": {"kind": {"const": "b"}, "y": {"type": "number"}}, "required": ["kind"]}


@pytest.mark.parametrize("join", ["anyOf", "oneOf"])
def test_alternatives_at_the_root_become_one_object_for_messages(join: str) -> None:
    body = chat_body(USER, tools=[function(parameters={join: [A, B], "description": "either"})])
    assert to_messages(body)["tools"][0]["input_schema"] == {
        "type": "object",
        "description": "either",
        "properties": {
            "kind": {"anyOf": [{"const": "a"}, {"const": "b"}]},
            "x": {"type": "string"},
            "y": {"type": "number"},
        },
        "required": ["kind"],
    }


def test_all_of_and_references_at_the_root() -> None:
    schema = {"$defs": {"A": A}, "allOf": [{"$ref": "#/$defs/A"}, B]}
    plain = plain_root(schema)
    assert plain["required"] == ["kind", "x"]
    assert set(plain["properties"]) == {"kind", "x", "y"}
    assert plain["$defs"] == {"A": A}
    assert plain_root({"$ref": "#/$defs/A", "$defs": {"A": A}})["properties"] == A["properties"]


def test_a_circle_of_references_ends() -> None:
    circle = {"$defs": {"A": {"anyOf": [{"$ref": "#/$defs/A"}, A]}}, "$ref": "#/$defs/A"}
    assert plain_root(circle)["properties"]["x"] == {"type": "string"}
    assert plain_root({"$ref": "#/$defs/B", "$defs": {"B": {"$ref": "#/$defs/B"}}})["type"] == "object"


def test_the_form_of_the_answer_in_all_three() -> None:
    chat = chat_body(
        USER, response_format={"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}}
    )
    flat = {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}
    assert to_responses(chat)["text"]["format"] == flat
    assert to_messages(chat)["output_config"]["format"] == {"type": "json_schema", "schema": SCHEMA}
    responses = responses_body(USER, text={"format": flat})
    assert to_chat(responses)["response_format"] == chat["response_format"]
    assert to_messages(responses)["output_config"]["format"]["schema"] == SCHEMA
    messages = messages_body(USER, output_config={"format": {"type": "json_schema", "schema": SCHEMA}})
    assert to_chat(messages)["response_format"]["json_schema"]["schema"] == SCHEMA
    assert to_responses(messages)["text"]["format"]["schema"] == SCHEMA


def test_a_json_object_without_schema() -> None:
    chat = chat_body(USER, response_format={"type": "json_object"})
    assert to_responses(chat)["text"]["format"] == {"type": "json_object"}
    assert "JSON object" in to_messages(chat)["system"][0]["text"]
    assert "response_format" not in to_chat(responses_body(USER, text={"format": {"type": "text"}}))


def test_call_ids_are_made_clean_for_messages_and_stay_apart() -> None:
    calls = [
        {"id": f"functions.f:{n}", "type": "function", "function": {"name": "f", "arguments": "{}"}} for n in (0, 1)
    ]
    body = chat_body(
        USER,
        {"role": "assistant", "content": None, "tool_calls": calls},
        {"role": "tool", "tool_call_id": "functions.f:0", "content": "A"},
        {"role": "tool", "tool_call_id": "functions.f:1", "content": "B"},
    )
    made = conversion(body, Dialect.CHAT, Dialect.MESSAGES)
    uses = made.body["messages"][1]["content"]
    results = made.body["messages"][2]["content"]
    assert [u["id"] for u in uses] == [r["tool_use_id"] for r in results]
    assert len({u["id"] for u in uses}) == 2
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", u["id"]) for u in uses)
    assert [made.way_back.call_ids[u["id"]] for u in uses] == ["functions.f:0", "functions.f:1"]
    again = conversion(body, Dialect.CHAT, Dialect.MESSAGES)
    assert again.body == made.body


def test_long_call_ids_are_cut_for_openai_alone() -> None:
    long = "toolu_" + "x" * 60
    body = messages_body(
        USER,
        {"role": "assistant", "content": [{"type": "tool_use", "id": long, "name": "f", "input": {}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": long, "content": "ok"}]},
    )
    assert to_chat(body)["messages"][2]["tool_call_id"] == long
    native = to_chat(body, native=True)["messages"]
    assert native[1]["tool_calls"][0]["id"] == native[2]["tool_call_id"]
    assert len(native[2]["tool_call_id"]) <= 40


def test_names_of_tools_are_made_clean_and_come_back() -> None:
    names = ["mcp.server/tool", "mcp.server:tool", "x" * 80, "ok"]
    tools = [{"name": name, "input_schema": SCHEMA} for name in names]
    uses = [{"type": "tool_use", "id": f"t{n}", "name": name, "input": {}} for n, name in enumerate(names)]
    results = [{"type": "tool_result", "tool_use_id": f"t{n}", "content": "ok"} for n in range(4)]
    body = messages_body(
        USER, {"role": "assistant", "content": uses}, {"role": "user", "content": results}, tools=tools
    )
    made = conversion({**body, "tool_choice": {"type": "tool", "name": "x" * 80}}, Dialect.MESSAGES, Dialect.CHAT)
    given = [tool["function"]["name"] for tool in made.body["tools"]]
    assert all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in given)
    assert len(set(given)) == 4
    assert [call["function"]["name"] for call in made.body["messages"][1]["tool_calls"]] == given
    assert made.body["tool_choice"]["function"]["name"] == given[2]
    assert [made.way_back.client_tool(name).name for name in given] == names
    assert "ok" not in made.way_back.tools


def test_nothing_is_required_where_an_alternative_is_no_object() -> None:
    a = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    assert plain_root({"anyOf": [a, {"type": "null"}]}).get("required") is None
    assert plain_root({"anyOf": [a, a]})["required"] == ["a"]
