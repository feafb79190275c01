"""Contract case 21 in answers: flattened names and changed ids become the client's own again."""

from __future__ import annotations

import pytest
from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import Dialect, Facts, ToolName, convert_request

from tests.support.converting import convert, items_of, message_of, way_back
from tests.support.dialect_streams import call, chat_stream, completion, message, messages_stream

TOOLS = {"mcp__x__run": ToolName("run", "mcp__x"), "a_b_1a2b": ToolName("a.b")}
CALLS = [call("mcp__x__run", "{}", "c1"), call("a_b_1a2b", "{}", "c_2"), call("plain", "{}", "c3")]


def test_a_responses_client_gets_namespace_and_name() -> None:
    seen = convert(
        chat_stream(completion(None, "tool_calls", tool_calls=CALLS)), Dialect.CHAT, Dialect.RESPONSES, tools=TOOLS
    )
    items = items_of(seen)
    assert [(item.get("namespace"), item["name"]) for item in items] == [
        ("mcp__x", "run"),
        (None, "a.b"),
        (None, "plain"),
    ]
    added = [event["item"] for event in seen.of("response.output_item.added")]
    assert [(item.get("namespace"), item["name"]) for item in added] == [
        ("mcp__x", "run"),
        (None, "a.b"),
        (None, "plain"),
    ]


def test_ids_become_the_clients_own() -> None:
    stream = messages_stream(
        message({"type": "tool_use", "id": "c_2", "name": "plain", "input": {}}, stop_reason="tool_use")
    )
    seen = convert(stream, Dialect.MESSAGES, Dialect.RESPONSES, call_ids={"c_2": "c:2"})
    assert items_of(seen)[0]["call_id"] == "c:2"


@pytest.mark.parametrize("client", list(Dialect))
def test_whole_answers_too(client: Dialect) -> None:
    body = completion(None, "tool_calls", tool_calls=CALLS[1:])
    whole = convert_answer(body, way_back(Dialect.CHAT, client, tools=TOOLS))
    match client:
        case Dialect.MESSAGES:
            names = [block["name"] for block in whole["content"]]
        case Dialect.CHAT:
            names = [one["function"]["name"] for one in whole["choices"][0]["message"]["tool_calls"]]
        case Dialect.RESPONSES:
            names = [item["name"] for item in whole["output"]]
    assert names == ["a.b", "plain"]


def test_there_and_back_through_the_facade() -> None:
    tool = {"type": "function", "name": "run", "parameters": {"type": "object", "properties": {}}}
    body = {
        "model": "gpt-x",
        "stream": True,
        "input": "hi",
        "tools": [
            {"type": "namespace", "name": "mcp__x", "description": "X", "tools": [tool]},
            {**tool, "name": "mcp__x__run"},
        ],
    }
    made = convert_request(body, Dialect.RESPONSES, Facts(dialect=Dialect.CHAT, model="up"))
    sent = [one["function"]["name"] for one in made.body["tools"]]
    assert len(set(sent)) == 2
    stream = made.stream()
    raw = stream.feed(chat_stream(completion(None, "tool_calls", tool_calls=[call(name, "{}", name) for name in sent])))
    seen = b"".join(raw + stream.end())
    assert b'"namespace":"mcp__x"' in seen
    assert b'"name":"mcp__x__run"' in seen


def test_messages_client() -> None:
    stream = chat_stream(completion(None, "tool_calls", tool_calls=CALLS[1:2]))
    assert message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES, tools=TOOLS))["content"][0]["name"] == "a.b"
