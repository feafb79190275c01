"""Case 6, both ways: what an endpoint signed or encrypted comes back to it through a client of another dialect."""

from __future__ import annotations

from typing import Any

from codex_gateway.dialect.convert import Dialect

from tests.support.sdk_params import conversion, messages_body, responses_body

TOOLS = [{"name": "f", "input_schema": {"type": "object", "properties": {}}}]
USER = {"role": "user", "content": "go"}


def test_responses_behind_a_messages_client() -> None:
    asked = messages_body(USER, tools=TOOLS, thinking={"type": "adaptive"})
    facts = {"native": True, "endpoint": "one"}
    first = conversion(asked, Dialect.MESSAGES, Dialect.RESPONSES, **facts)
    reasoning = {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "I think"}],
        "encrypted_content": "gAAAAA==",
    }
    call = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
    answer = first.answer(
        {
            "id": "resp_1",
            "object": "response",
            "model": "m",
            "status": "completed",
            "output": [reasoning, call],
            "usage": None,
        }
    )
    assert [block["type"] for block in answer["content"]] == ["thinking", "tool_use"]
    result = {"type": "tool_result", "tool_use_id": "call_1", "content": "ok"}
    turns = [USER, {"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [result]}]
    again = conversion({**asked, "messages": turns}, Dialect.MESSAGES, Dialect.RESPONSES, **facts)
    assert again.body["input"][1] == reasoning
    moved = conversion({**asked, "messages": turns}, Dialect.MESSAGES, Dialect.RESPONSES, native=True, endpoint="two")
    assert [item["type"] for item in moved.body["input"]] == ["message", "function_call", "function_call_output"]


def test_messages_behind_a_responses_client() -> None:
    tools = [{"type": "function", "name": "f", "parameters": TOOLS[0]["input_schema"], "strict": False}]
    asked = responses_body(
        USER, tools=tools, reasoning={"effort": "high"}, include=["reasoning.encrypted_content"], store=False
    )
    facts = {"native": True, "model": "claude-sonnet-4-5"}
    first = conversion(asked, Dialect.RESPONSES, Dialect.MESSAGES, **facts)
    assert first.body["thinking"]["type"] == "enabled"
    content = [
        {"type": "thinking", "thinking": "I think\n\nmore", "signature": "EqQB+/=="},
        {"type": "redacted_thinking", "data": "AAA="},
        {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {}},
    ]
    usage = {"input_tokens": 1, "output_tokens": 1}
    answer = first.answer(
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m",
            "content": content,
            "stop_reason": "tool_use",
            "stop_sequence": None,
            "usage": usage,
        }
    )
    output: list[dict[str, Any]] = [as_codex_replays(item) for item in answer["output"]]
    result = {"type": "function_call_output", "call_id": "toolu_1", "output": "ok"}
    again = conversion({**asked, "input": [USER, *output, result]}, Dialect.RESPONSES, Dialect.MESSAGES, **facts)
    assert again.body["messages"][1]["content"] == content
    assert again.body["thinking"]["type"] == "enabled"


def as_codex_replays(item: dict[str, Any]) -> dict[str, Any]:
    """Without ids, as Codex does."""
    return {key: value for key, value in item.items() if key not in ("id", "status")}


def test_reasoning_is_left_out_for_a_client_that_forbade_it_and_has_no_tools() -> None:
    message = {"role": "assistant", "content": "yes", "reasoning_content": "hm"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    given = {"id": "x", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice]}
    disabled = {"thinking": {"type": "disabled"}}
    for more, kinds in (
        (disabled, ["text"]),
        ({}, ["thinking", "text"]),
        ({**disabled, "tools": TOOLS}, ["thinking", "text"]),
    ):
        answer = conversion(messages_body(USER, **more), Dialect.MESSAGES, Dialect.CHAT).answer(given)
        assert [block["type"] for block in answer["content"]] == kinds
