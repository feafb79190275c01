"""Contract case 10: stop reasons, all of them, both ways."""

from __future__ import annotations

import json
from typing import Any

import pytest
from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import AnswerFailed, Dialect, PassThrough
from codex_gateway.dialect.neutral import ErrorKind

from tests.support.converting import chunk, convert, message_of, way_back
from tests.support.dialect_streams import (
    call,
    chat_stream,
    completion,
    function_call,
    message,
    messages_stream,
    output_message,
    response,
    responses_stream,
)

TEXT = {"type": "text", "text": "so"}
USE = {"type": "tool_use", "id": "t1", "name": "run", "input": {}}

# Messages' reason, what Chat calls it, and what Responses calls it.
FROM_MESSAGES = [
    ("end_turn", "stop", ("completed", None)),
    ("max_tokens", "length", ("incomplete", "max_output_tokens")),
    ("stop_sequence", "stop", ("completed", None)),
    ("tool_use", "tool_calls", ("completed", None)),
    ("pause_turn", "length", ("incomplete", "pause_turn")),
    ("refusal", "content_filter", ("completed", None)),
    ("model_context_window_exceeded", "length", ("incomplete", "max_output_tokens")),
    ("compaction", "length", ("incomplete", "compaction")),
    ("a_new_word", "stop", ("completed", None)),
]


def responses_end(body: dict[str, Any]) -> tuple[str, str | None]:
    return body["status"], (body["incomplete_details"] or {}).get("reason")


@pytest.mark.parametrize(("reason", "chat", "responses"), FROM_MESSAGES)
def test_from_messages(reason: str, chat: str, responses: tuple[str, str | None]) -> None:
    body = message(TEXT, *([USE] if reason == "tool_use" else []), stop_reason=reason)
    stream = messages_stream(body)
    assert convert(stream, Dialect.MESSAGES, Dialect.CHAT).finish_reason() == chat
    last = convert(stream, Dialect.MESSAGES, Dialect.RESPONSES).events[-1]
    assert responses_end(last["response"]) == responses
    assert last["type"] == f"response.{responses[0]}"
    whole = convert_answer(body, way_back(Dialect.MESSAGES, Dialect.RESPONSES))
    assert responses_end(whole) == responses


FROM_CHAT = [
    ("stop", "end_turn", ("completed", None)),
    ("length", "max_tokens", ("incomplete", "max_output_tokens")),
    ("tool_calls", "tool_use", ("completed", None)),
    ("function_call", "tool_use", ("completed", None)),
    ("content_filter", "refusal", ("incomplete", "content_filter")),
    ("model_length", "model_context_window_exceeded", ("incomplete", "max_output_tokens")),
    ("STOP", "end_turn", ("completed", None)),
    ("eos_token", "end_turn", ("completed", None)),
    ("sensitive", "refusal", ("incomplete", "content_filter")),
    ("content_filter: PROHIBITED_CONTENT", "refusal", ("incomplete", "content_filter")),
    ("model_context_window_exceeded", "model_context_window_exceeded", ("incomplete", "max_output_tokens")),
    ("MAX_TOKENS", "max_tokens", ("incomplete", "max_output_tokens")),
    ("a_new_word", "end_turn", ("completed", None)),
]


@pytest.mark.parametrize(("reason", "messages", "responses"), FROM_CHAT)
def test_from_chat(reason: str, messages: str, responses: tuple[str, str | None]) -> None:
    calls = {"tool_calls": [call("run", "{}", "c1")]} if "call" in reason else {}
    body = completion("so", reason, **calls)
    stream = chat_stream(body)
    assert message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["stop_reason"] == messages
    last = convert(stream, Dialect.CHAT, Dialect.RESPONSES).events[-1]
    assert responses_end(last["response"]) == responses
    assert convert_answer(body, way_back(Dialect.CHAT, Dialect.MESSAGES))["stop_reason"] == messages


@pytest.mark.parametrize(
    ("status", "reason", "messages", "chat"),
    [
        ("completed", None, "end_turn", "stop"),
        ("incomplete", "max_output_tokens", "max_tokens", "length"),
        ("incomplete", "content_filter", "refusal", "content_filter"),
    ],
)
def test_from_responses(status: str, reason: str | None, messages: str, chat: str) -> None:
    details = {"incomplete_details": {"reason": reason}} if reason else {}
    body = response(output_message("so"), status=status, **details)
    stream = responses_stream(body)
    assert message_of(convert(stream, Dialect.RESPONSES, Dialect.MESSAGES))["stop_reason"] == messages
    assert convert(stream, Dialect.RESPONSES, Dialect.CHAT).finish_reason() == chat
    whole = convert_answer(body, way_back(Dialect.RESPONSES, Dialect.CHAT))
    assert whole["choices"][0]["finish_reason"] == chat


def test_stop_with_tool_calls_still_means_tool_use() -> None:
    chat = chat_stream(completion("so", "stop", tool_calls=[call("run", "{}", "c1")]))
    assert message_of(convert(chat, Dialect.CHAT, Dialect.MESSAGES))["stop_reason"] == "tool_use"
    responses = responses_stream(response(function_call("run", "{}")))
    assert message_of(convert(responses, Dialect.RESPONSES, Dialect.MESSAGES))["stop_reason"] == "tool_use"
    assert convert(responses, Dialect.RESPONSES, Dialect.CHAT).finish_reason() == "tool_calls"
    messages = messages_stream(message(TEXT, USE, stop_reason="end_turn"))
    assert convert(messages, Dialect.MESSAGES, Dialect.CHAT).finish_reason() == "tool_calls"


def test_tool_use_without_a_call_is_an_end() -> None:
    stream = chat_stream(completion("so", "tool_calls"))
    assert message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["stop_reason"] == "end_turn"


def test_a_limit_stays_a_limit_beside_tool_calls() -> None:
    stream = chat_stream(completion("so", "length", tool_calls=[call("run", "{}", "c1")]))
    assert message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["stop_reason"] == "max_tokens"


def test_the_stop_sequence_is_told_where_the_endpoint_names_it() -> None:
    body = completion("so")
    body["choices"][0]["stop_reason"] = "###"
    message_ = message_of(convert(chat_stream(body), Dialect.CHAT, Dialect.MESSAGES))
    assert (message_["stop_reason"], message_["stop_sequence"]) == ("stop_sequence", "###")


@pytest.mark.parametrize(
    "reason",
    [
        "error",
        "insufficient_system_resource",
        "network_error",
        "abort",
        "function_call_filter: MALFORMED_FUNCTION_CALL",
    ],
)
@pytest.mark.parametrize("client", list(Dialect))
def test_reasons_that_tell_a_failure_are_no_success(reason: str, client: Dialect) -> None:
    begun = convert(chat_stream(completion("so", reason)), Dialect.CHAT, client)
    assert begun.outcome.error is not None
    assert begun.outcome.error.kind in (ErrorKind.INTERNAL, ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE)
    assert "error" in json.dumps(begun.events[-1])
    with pytest.raises(AnswerFailed):
        convert_answer(completion("so", reason), way_back(Dialect.CHAT, client))
    passed = PassThrough(Dialect.CHAT)
    stream = chat_stream(completion("so", reason))
    assert b"".join(passed.feed(stream) + passed.end()) == stream
    assert passed.outcome is not None
    assert passed.outcome.error is not None
    # Nothing was said: another endpoint may be asked.
    assert convert(chunk({}, reason), Dialect.CHAT, client).first_event_error is not None
    assert PassThrough(Dialect.CHAT).feed(chunk({}, reason)) == []
