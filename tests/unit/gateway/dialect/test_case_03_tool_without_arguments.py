"""Case 3, requests: a tool without arguments is `{}`, never an empty text."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.sdk_params import chat_body, messages_body, responses_body, to_chat, to_messages, to_responses

CHAT_CALL = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": ""}}
CHAT = chat_body(
    {"role": "user", "content": "time?"},
    {"role": "assistant", "content": None, "tool_calls": [CHAT_CALL]},
    {"role": "tool", "tool_call_id": "c1", "content": "noon"},
)
RESPONSES = responses_body(
    {"role": "user", "content": "time?"},
    {"type": "function_call", "call_id": "c1", "name": "now", "arguments": ""},
    {"type": "function_call_output", "call_id": "c1", "output": "noon"},
)
MESSAGES = messages_body(
    {"role": "user", "content": "time?"},
    {"role": "assistant", "content": [{"type": "tool_use", "id": "c1", "name": "now", "input": {}}]},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "c1", "content": "noon"}]},
)


@pytest.mark.parametrize("body", [CHAT, RESPONSES])
def test_messages_gets_an_empty_object(body: dict[str, Any]) -> None:
    assert to_messages(body)["messages"][1]["content"] == [{"type": "tool_use", "id": "c1", "name": "now", "input": {}}]


@pytest.mark.parametrize("body", [MESSAGES, RESPONSES])
def test_chat_gets_the_text_of_an_empty_object(body: dict[str, Any]) -> None:
    assert to_chat(body)["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"


@pytest.mark.parametrize("body", [MESSAGES, CHAT])
def test_responses_gets_the_text_of_an_empty_object(body: dict[str, Any]) -> None:
    assert to_responses(body)["input"][1]["arguments"] == "{}"


def test_arguments_that_are_no_json_are_kept_readable() -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "now", "arguments": '{"zone": "UT'}}
    body = chat_body({"role": "user", "content": "time?"}, {"role": "assistant", "tool_calls": [call]})
    assert to_messages(body)["messages"][1]["content"][0]["input"] == {"input": '{"zone": "UT'}
