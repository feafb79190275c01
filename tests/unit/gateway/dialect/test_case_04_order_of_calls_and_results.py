"""Case 4: calls and their results in the order that every endpoint accepts."""

from __future__ import annotations

from typing import Any

from codex_gateway.dialect.repair import NO_RESULT

from tests.support.sdk_params import chat_body, messages_body, responses_body, to_chat, to_messages, to_responses


def use(call_id: str) -> dict[str, Any]:
    return {"type": "tool_use", "id": call_id, "name": "f", "input": {}}


def result(call_id: str, text: str) -> dict[str, Any]:
    return {"type": "tool_result", "tool_use_id": call_id, "content": text}


def call(call_id: str) -> dict[str, Any]:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def output(call_id: str, text: str) -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


USER = {"role": "user", "content": "go"}


def test_text_before_a_result_comes_after_the_tool_messages_in_chat() -> None:
    body = messages_body(
        USER,
        {"role": "assistant", "content": [use("a"), use("b")]},
        {"role": "user", "content": [{"type": "text", "text": "and hurry"}, result("b", "B"), result("a", "A")]},
    )
    roles = [(m["role"], m.get("tool_call_id") or m.get("content")) for m in to_chat(body)["messages"]]
    assert roles == [("user", "go"), ("assistant", None), ("tool", "a"), ("tool", "b"), ("user", "and hurry")]


def test_calls_in_a_row_are_one_assistant_message_with_their_outputs_behind() -> None:
    body = responses_body(
        USER, call("a"), call("b"), output("a", "A"), output("b", "B"), {"role": "user", "content": "x"}
    )
    chat = to_chat(body)["messages"]
    assert [m["role"] for m in chat] == ["user", "assistant", "tool", "tool", "user"]
    assert [c["id"] for c in chat[1]["tool_calls"]] == ["a", "b"]
    messages = to_messages(body)["messages"]
    assert [m["role"] for m in messages] == ["user", "assistant", "user"]
    assert [b["type"] for b in messages[2]["content"]] == ["tool_result", "tool_result", "text"]


def test_calls_with_outputs_between_stay_two_turns() -> None:
    body = responses_body(USER, call("a"), output("a", "A"), call("b"), output("b", "B"))
    assert [m["role"] for m in to_chat(body)["messages"]] == ["user", "assistant", "tool", "assistant", "tool"]


def test_words_between_a_call_and_its_result_come_after_it() -> None:
    body = responses_body(USER, call("a"), {"role": "developer", "content": "note"}, output("a", "A"))
    assert [m["role"] for m in to_chat(body)["messages"]] == ["user", "assistant", "tool", "system"]
    content = to_messages(body)["messages"][2]["content"]
    assert [block["type"] for block in content] == ["tool_result", "text"]


def test_a_second_output_of_the_same_call_is_dropped() -> None:
    body = responses_body(USER, call("a"), output("a", "A"), output("a", "again"))
    assert [m.get("content") for m in to_chat(body)["messages"]] == ["go", None, "A"]


def test_an_output_without_a_call_becomes_text() -> None:
    body = responses_body(USER, output("lost", "the answer is 7"))
    message = to_chat(body)["messages"][1]
    assert message["role"] == "user"
    assert "the answer is 7" in str(message["content"])


def test_a_call_without_an_output_gets_one() -> None:
    body = responses_body(USER, call("a"), call("b"), output("b", "B"), {"role": "user", "content": "go on"})
    tools = [(m["tool_call_id"], m["content"]) for m in to_chat(body)["messages"] if m["role"] == "tool"]
    assert tools == [("a", f"Error: {NO_RESULT}"), ("b", "B")]
    block = to_messages(body)["messages"][2]["content"][0]
    assert (block["tool_use_id"], block["is_error"]) == ("a", True)


def test_a_call_id_that_comes_in_every_turn_is_made_unique() -> None:
    def turn(text: str) -> list[dict[str, Any]]:
        function = {"name": "f", "arguments": "{}"}
        return [
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [{"id": "call_0", "type": "function", "function": function}],
            },
            {"role": "tool", "tool_call_id": "call_0", "content": text},
        ]

    messages = to_messages(chat_body(USER, *turn("one"), *turn("two")))["messages"]
    pairs = [(messages[i]["content"][0]["id"], messages[i + 1]["content"][0]) for i in (1, 3)]
    assert [(i, r["tool_use_id"], r["content"][0]["text"]) for i, r in pairs] == [
        ("call_0", "call_0", "one"),
        ("call_0_2", "call_0_2", "two"),
    ]


def test_turns_alternate_in_messages_and_the_user_begins() -> None:
    body = chat_body({"role": "assistant", "content": "hello"}, USER, {"role": "user", "content": "now"})
    assert [m["role"] for m in to_messages(body)["messages"]] == ["user", "assistant", "user"]


def test_a_failed_result_tells_so_where_there_is_no_field_for_it() -> None:
    body = messages_body(
        USER,
        {"role": "assistant", "content": [use("a")]},
        {"role": "user", "content": [{**result("a", "no such file"), "is_error": True}]},
    )
    assert to_chat(body)["messages"][2]["content"] == "Error: no such file"
    assert to_responses(body)["input"][2]["output"] == "Error: no such file"


def test_a_known_and_a_lost_output_together() -> None:
    body = responses_body(USER, call("a"), output("a", "A"), output("lost", "B"))
    rest = to_chat(body)["messages"][2:]
    assert [(m["role"], m.get("tool_call_id")) for m in rest] == [("tool", "a"), ("user", None)]
    assert "B" in str(rest[1]["content"])
