"""Case 9: system text at the head and in mid-conversation."""

from __future__ import annotations

from typing import Any

import pytest
from codex_gateway.dialect.convert import Dialect
from codex_gateway.dialect.repair import GO_ON

from tests.support.sdk_params import chat_body, messages_body, responses_body, sent, to_chat, to_messages, to_responses

USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "yes"}


@pytest.mark.parametrize(
    "body",
    [
        messages_body(USER, system="One.\n\nTwo."),
        messages_body(USER, system=[{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]),
        chat_body({"role": "system", "content": "One."}, {"role": "developer", "content": "Two."}, USER),
        chat_body(
            {"role": "system", "content": [{"type": "text", "text": "One."}, {"type": "text", "text": "Two."}]}, USER
        ),
        responses_body(USER, instructions="One.\n\nTwo."),
        responses_body({"role": "developer", "content": "Two."}, USER, instructions="One."),
        responses_body(
            {"type": "message", "role": "developer", "content": [{"type": "input_text", "text": "One."}]},
            {"role": "system", "content": "Two."},
            USER,
        ),
    ],
)
def test_every_form_of_the_head_becomes_the_form_of_the_dialect(body: dict[str, Any]) -> None:
    client = Dialect.RESPONSES if "input" in body else Dialect.MESSAGES if "max_tokens" in body else Dialect.CHAT
    if client is not Dialect.CHAT:
        chat = to_chat(body)["messages"]
        assert chat == [{"role": "system", "content": "One.\n\nTwo."}, {"role": "user", "content": "hi"}]
    if client is not Dialect.RESPONSES:
        responses = to_responses(body)
        assert responses["instructions"] == "One.\n\nTwo."
        assert [item["role"] for item in responses["input"]] == ["user"]
    if client is not Dialect.MESSAGES:
        messages = to_messages(body)
        assert "\n\n".join(block["text"] for block in messages["system"]) == "One.\n\nTwo."
        assert [message["role"] for message in messages["messages"]] == ["user"]


MIDWAY = [
    messages_body(USER, ANSWER, {"role": "system", "content": "Now in French."}, USER),
    chat_body(USER, ANSWER, {"role": "developer", "content": "Now in French."}, USER),
    responses_body(USER, ANSWER, {"role": "developer", "content": "Now in French."}, USER),
]
AS_USER = "<system>\nNow in French.\n</system>"


def test_midway_it_keeps_its_place_in_chat() -> None:
    for body in (MIDWAY[0], MIDWAY[2]):
        assert to_chat(body)["messages"][2] == {"role": "system", "content": "Now in French."}
        refused = to_chat(body, refuses_system_midway=True)["messages"]
        assert refused[2] == {"role": "user", "content": AS_USER}


def test_midway_it_keeps_its_place_in_responses() -> None:
    for body in MIDWAY[:2]:
        item = to_responses(body)["input"][2]
        assert (item["role"], item["content"][0]["text"]) == ("developer", "Now in French.")
        refused = to_responses(body, refuses_system_midway=True)["input"][2]
        assert (refused["role"], refused["content"][0]["text"]) == ("user", AS_USER)


def test_midway_it_is_a_marked_user_turn_in_messages() -> None:
    for body in MIDWAY[1:]:
        blocks = to_messages(body)["messages"][2]["content"]
        assert [block["text"] for block in blocks] == [AS_USER, "hi"]


def test_within_a_dialect_only_a_refusal_changes_it() -> None:
    for body, dialect, key in zip(MIDWAY, Dialect, ("messages", "messages", "input"), strict=True):
        assert sent(body, dialect, dialect, model=body["model"]) is body
        changed = sent(body, dialect, dialect, model=body["model"], refuses_system_midway=True)
        assert [turn["role"] for turn in changed[key]] == ["user", "assistant", "user", "user"]
        assert AS_USER in str(changed[key][2]).replace("\\n", "\n")


def test_a_head_alone_gets_a_user_turn() -> None:
    chat = chat_body({"role": "system", "content": "Say hello."})
    assert to_messages(chat)["messages"] == [{"role": "user", "content": [{"type": "text", "text": GO_ON}]}]
    assert to_responses(chat)["input"][0]["role"] == "user"
    only = responses_body(instructions="Say hello.")
    assert [message["role"] for message in to_chat(only)["messages"]] == ["system", "user"]


def test_empty_texts_are_left_out_of_messages() -> None:
    body = chat_body({"role": "system", "content": ""}, USER, {"role": "assistant", "content": ""}, USER)
    messages = to_messages(body)
    assert "system" not in messages
    assert [message["role"] for message in messages["messages"]] == ["user"]


def test_white_space_alone_is_left_out_of_messages() -> None:
    # Models write it before calls, and Anthropic refuses it.
    call = {"id": "a", "type": "function", "function": {"name": "run", "arguments": "{}"}}
    said = {"role": "assistant", "content": "\n\n", "tool_calls": [call]}
    body = chat_body(
        {"role": "system", "content": " "}, USER, said, {"role": "tool", "tool_call_id": "a", "content": "x"}
    )
    messages = to_messages(body)
    assert "system" not in messages
    assert [block["type"] for block in messages["messages"][1]["content"]] == ["tool_use"]
