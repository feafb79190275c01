"""What Codex needs of a Responses stream, whatever endpoint answers."""

from __future__ import annotations

import re
from itertools import product
from typing import Any

import pytest
from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import Dialect, Facts, convert_request
from codex_gateway.dialect.sse import event_bytes

from tests.support.converting import convert, items_of, read_events, way_back
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

SUMMARY = [{"type": "summary_text", "text": "Let me see."}]
STREAMS = {
    Dialect.MESSAGES: messages_stream(
        message(
            {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln"},
            {"type": "text", "text": "I run it."},
            {"type": "tool_use", "id": "call_1", "name": "shell", "input": {"command": ["ls"]}},
            stop_reason="tool_use",
        )
    ),
    Dialect.CHAT: chat_stream(
        completion(
            "I run it.",
            "tool_calls",
            reasoning_content="Let me see.",
            tool_calls=[call("shell", '{"command":["ls"]}', "call_1")],
        )
    ),
    Dialect.RESPONSES: responses_stream(
        response(
            {"id": "rs_1", "type": "reasoning", "summary": SUMMARY},
            output_message("I run it."),
            function_call("shell", '{"command":["ls"]}'),
        )
    ),
}


@pytest.mark.parametrize("upstream", list(Dialect))
def test_complete_items_in_added_and_done(upstream: Dialect) -> None:
    seen = convert(STREAMS[upstream], upstream, Dialect.RESPONSES)
    reasoning, text, shell = items_of(seen)
    assert reasoning["summary"] == SUMMARY
    assert text["role"] == "assistant"
    assert text["content"][0]["text"] == "I run it."
    assert {key: shell[key] for key in ("type", "call_id", "name", "arguments")} == {
        "type": "function_call",
        "call_id": "call_1",
        "name": "shell",
        "arguments": '{"command":["ls"]}',
    }
    assert [event["item"]["type"] for event in seen.of("response.output_item.added")] == [
        "reasoning",
        "message",
        "function_call",
    ]


@pytest.mark.parametrize("upstream", list(Dialect))
def test_one_item_is_active_at_a_time(upstream: Dialect) -> None:
    active: str | None = None
    for event in convert(STREAMS[upstream], upstream, Dialect.RESPONSES).events:
        if event["type"] == "response.output_item.added":
            assert active is None
            active = event["item"]["id"]
        elif event["type"] == "response.output_item.done":
            assert active == event["item"]["id"]
            active = None
        elif "delta" in event:
            assert event["item_id"] == active


@pytest.mark.parametrize("upstream", list(Dialect))
def test_text_and_summary_deltas(upstream: Dialect) -> None:
    seen = convert(STREAMS[upstream], upstream, Dialect.RESPONSES)
    assert "".join(event["delta"] for event in seen.of("response.output_text.delta")) == "I run it."
    thoughts = seen.of("response.reasoning_summary_text.delta")
    assert "".join(event["delta"] for event in thoughts) == "Let me see."
    assert {event["summary_index"] for event in thoughts} == {0}


@pytest.mark.parametrize("upstream", list(Dialect))
def test_completed_has_id_and_all_of_usage(upstream: Dialect) -> None:
    last = convert(STREAMS[upstream], upstream, Dialect.RESPONSES).events[-1]
    assert last["type"] == "response.completed"
    assert last["response"]["id"]
    usage = last["response"]["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["input_tokens_details"]["cached_tokens"] == 100
    assert "reasoning_tokens" in usage["output_tokens_details"]


FAILURES = [
    ("rate_limit_error", "Too fast. Please try again in 1.5s.", "rate_limit_exceeded"),
    ("invalid_request_error", "prompt is too long: 9 tokens > 8 maximum", "context_length_exceeded"),
    ("invalid_request_error", "Your credit balance is too low", "insufficient_quota"),
    ("overloaded_error", "Overloaded", "server_is_overloaded"),
    ("api_error", "Oops", "server_error"),
]


@pytest.mark.parametrize(("kind", "said", "code"), FAILURES)
def test_failed_carries_the_code_that_drives_codex(kind: str, said: str, code: str) -> None:
    begun = STREAMS[Dialect.MESSAGES].partition(b"event: content_block_stop")[0]
    failure: dict[str, Any] = {"type": "error", "error": {"type": kind, "message": said}}
    last = convert(begun + event_bytes(failure, "error"), Dialect.MESSAGES, Dialect.RESPONSES).events[-1]
    assert last["type"] == "response.failed"
    assert last["response"]["error"]["code"] == code
    assert said in last["response"]["error"]["message"]


def test_an_event_named_error_is_never_all_it_gets() -> None:
    for upstream, cut in product(Dialect, (300, 900)):
        kinds = convert(STREAMS[upstream][:cut], upstream, Dialect.RESPONSES).kinds()
        assert "error" not in kinds
        assert not kinds or kinds[-1] in ("response.failed", "response.incomplete")


def test_phases_and_ids_of_messages_survive_a_conversion() -> None:
    body = response(
        {**output_message("I look.", "msg_a"), "phase": "commentary"},
        {**output_message("It is so.", "msg_b"), "phase": "final_answer"},
    )
    for size in (1, 100):
        items = items_of(convert(responses_stream(body, size), Dialect.RESPONSES, Dialect.RESPONSES))
        assert [(item["id"], item["phase"], item["content"][0]["text"]) for item in items] == [
            ("msg_a", "commentary", "I look."),
            ("msg_b", "final_answer", "It is so."),
        ]
    whole = convert_answer(body, way_back(Dialect.RESPONSES, Dialect.RESPONSES))
    assert [item["phase"] for item in whole["output"]] == ["commentary", "final_answer"]


def test_phases_go_back_to_an_endpoint_of_the_same_dialect() -> None:
    said = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "I look."}]}
    body = {"model": "m", "input": ["", "", ""], "tools": [{"type": "custom", "name": "apply_patch"}]}
    body["input"] = [
        {"type": "message", "role": "user", "content": "hi"},
        {**said, "phase": "commentary"},
        {**said, "phase": "final_answer"},
        {"type": "message", "role": "user", "content": "go on"},
    ]
    facts = Facts(dialect=Dialect.RESPONSES, model="m", custom_tools=False)
    sent = convert_request(body, Dialect.RESPONSES, facts).body["input"]
    assert [item.get("phase") for item in sent] == [None, "commentary", "final_answer", None]


def test_items_under_one_index_are_items_of_their_own() -> None:
    body = response(function_call("look", "{}", 1), output_message("So."), function_call("run", '{"a":1}', 2))
    stream = re.sub(rb'"output_index": \d+', b'"output_index": 0', responses_stream(body))
    call, text, other = items_of(convert(stream, Dialect.RESPONSES, Dialect.RESPONSES))
    assert (call["name"], text["content"][0]["text"], other["arguments"]) == ("look", "So.", '{"a":1}')


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("Too fast, retry after 30 seconds", "Too fast, retry after 30 seconds. Please try again in 30s."),
        ("Please try again in 1.5s.", "Please try again in 1.5s."),
        ("Too fast.", "Too fast."),
    ],
)
def test_a_wait_is_told_in_the_words_that_codex_reads(said: str, told: str) -> None:
    begun = STREAMS[Dialect.MESSAGES].partition(b"event: content_block_stop")[0]
    failure: dict[str, Any] = {"type": "error", "error": {"type": "rate_limit_error", "message": said}}
    last = convert(begun + event_bytes(failure, "error"), Dialect.MESSAGES, Dialect.RESPONSES).events[-1]
    assert last["response"]["error"] == {"code": "rate_limit_exceeded", "message": told}


def test_items_that_never_got_their_done_are_whole_with_the_last_event() -> None:
    stream = responses_stream(response(output_message("So."), function_call("run", '{"a":1}')))
    events = [event for event in read_events(stream) if not event["type"].endswith(".done")]
    events[-1]["response"]["output"] = []
    stream = b"".join(event_bytes(event, event["type"]) for event in events)
    text, run = items_of(convert(stream, Dialect.RESPONSES, Dialect.RESPONSES))
    assert (text["content"][0]["text"], run["arguments"]) == ("So.", '{"a":1}')
