"""Contract case 17: an error in mid-stream, and an error as the first event."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from codex_gateway.dialect.conversion import ConvertedStream
from codex_gateway.dialect.convert import Dialect, PassThrough
from codex_gateway.dialect.neutral import ErrorKind
from codex_gateway.dialect.sse import event_bytes

from tests.support.converting import chunk, convert, message_of, read_events, tool_chunk, way_back
from tests.support.dialect_streams import (
    message,
    messages_stream,
    output_message,
    response,
    responses_stream,
)

OVERLOADED = {
    Dialect.MESSAGES: event_bytes(
        {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error"
    ),
    Dialect.CHAT: event_bytes({"error": {"message": "Overloaded", "type": "overloaded_error", "code": 529}}),
    Dialect.RESPONSES: event_bytes(
        {
            "type": "response.failed",
            "response": {
                "id": "r",
                "status": "failed",
                "error": {"code": "server_is_overloaded", "message": "Overloaded"},
            },
        },
        "response.failed",
    ),
}
BEGUN = {
    Dialect.MESSAGES: messages_stream(message({"type": "text", "text": "So it"}), 2).partition(
        b"event: content_block_stop"
    )[0],
    Dialect.CHAT: chunk({"role": "assistant", "content": ""}) + chunk({"content": "So"}) + chunk({"content": " it"}),
    Dialect.RESPONSES: responses_stream(response(output_message("So it")), 2).partition(
        b"event: response.output_text.done"
    )[0],
}


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
def test_blocks_are_closed_the_error_is_told_and_nothing_follows(upstream: Dialect, client: Dialect) -> None:
    seen = convert(BEGUN[upstream] + OVERLOADED[upstream] + BEGUN[upstream], upstream, client)
    assert seen.outcome.error is not None
    assert seen.outcome.error.kind is ErrorKind.OVERLOADED
    assert seen.first_event_error is None
    last = seen.events[-1]
    match client:
        case Dialect.MESSAGES:
            assert message_of(seen)["content"]
            assert last["error"] == {"type": "overloaded_error", "message": "Overloaded"}
        case Dialect.CHAT:
            assert last["error"]["code"] == "server_is_overloaded"
            assert b"[DONE]" not in seen.raw
        case Dialect.RESPONSES:
            assert last["response"]["error"] == {"code": "server_is_overloaded", "message": "Overloaded"}


def test_waiting_calls_are_dropped_with_the_error() -> None:
    stream = b"".join(
        (
            tool_chunk({"index": 0, "id": "a", "name": "run", "arguments": '{"a":1}'}),
            tool_chunk({"index": 1, "id": "b", "name": "run", "arguments": "{}"}),
            OVERLOADED[Dialect.CHAT],
        )
    )
    assert len(message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["content"]) == 1


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
def test_a_first_event_that_is_an_error_gives_no_byte(upstream: Dialect, client: Dialect) -> None:
    for converted in (ConvertedStream(way_back(upstream, client)), PassThrough(upstream)):
        assert converted.feed(b": hello\n\n" + OVERLOADED[upstream] + BEGUN[upstream]) == []
        assert converted.end() == []
        assert converted.first_event_error is not None
        assert converted.first_event_error.kind is ErrorKind.OVERLOADED


WITHOUT_CONTENT = {
    # OpenAI, Anthropic and others begin so before they know whether they can answer.
    Dialect.MESSAGES: messages_stream(message()).partition(b"event: message_delta")[0],
    Dialect.CHAT: chunk(None, prompt_filter_results=[]) + chunk({"role": "assistant", "content": ""}),
    Dialect.RESPONSES: responses_stream(response()).partition(b"event: response.completed")[0],
}


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_an_error_behind_events_without_content_gives_no_byte(upstream: Dialect, client: Dialect, size: int) -> None:
    stream = WITHOUT_CONTENT[upstream] + OVERLOADED[upstream] + BEGUN[upstream]
    assert len(read_events(WITHOUT_CONTENT[upstream])) == 2
    for converted in (ConvertedStream(way_back(upstream, client)), PassThrough(upstream)):
        out = [event for at in range(0, len(stream), size) for event in converted.feed(stream[at : at + size])]
        assert out + converted.end() == []
        assert converted.first_event_error is not None
        assert converted.first_event_error.kind is ErrorKind.OVERLOADED


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
def test_what_was_held_comes_first(upstream: Dialect, client: Dialect) -> None:
    for converted in (ConvertedStream(way_back(upstream, client)), PassThrough(upstream)):
        assert converted.feed(WITHOUT_CONTENT[upstream]) == []
        out = converted.feed(BEGUN[upstream].removeprefix(WITHOUT_CONTENT[upstream]))
        calm = type(converted)(way_back(upstream, client)) if isinstance(converted, ConvertedStream) else None
        if calm is None:
            assert b"".join(out) == WITHOUT_CONTENT[upstream] + BEGUN[upstream].removeprefix(WITHOUT_CONTENT[upstream])
        else:
            assert b"".join(out) == b"".join(calm.feed(BEGUN[upstream]))


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
def test_what_is_held_too_long_is_given_out_and_then_no_other_endpoint_is_asked(
    upstream: Dialect, client: Dialect
) -> None:
    for converted in (ConvertedStream(way_back(upstream, client)), PassThrough(upstream)):
        assert converted.release() == []
        assert converted.feed(WITHOUT_CONTENT[upstream]) == []
        held = b"".join(converted.release())
        assert read_events(held)
        assert converted.release() == []
        told = b"".join(converted.feed(OVERLOADED[upstream]))
        assert converted.first_event_error is None
        assert read_events(told)


def test_what_is_held_is_a_sign_of_life_by_itself() -> None:
    for converted in (
        ConvertedStream(way_back(Dialect.RESPONSES, Dialect.RESPONSES)),
        PassThrough(Dialect.RESPONSES),
    ):
        converted.feed(WITHOUT_CONTENT[Dialect.RESPONSES])
        assert read_events(converted.keep_alive())[0]["type"] == "response.created"
        assert read_events(converted.keep_alive()) == [{"type": "keepalive"}]


TOO_LONG = {
    Dialect.MESSAGES: event_bytes(
        {"type": "error", "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 > 8"}}, "error"
    ),
    Dialect.CHAT: event_bytes({"error": {"message": "too long", "code": "context_length_exceeded"}}),
    Dialect.RESPONSES: OVERLOADED[Dialect.RESPONSES].replace(b"server_is_overloaded", b"context_length_exceeded"),
}


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
def test_a_fault_of_the_request_is_told_to_responses_clients_in_the_stream(upstream: Dialect, client: Dialect) -> None:
    for begin in (b"", WITHOUT_CONTENT[upstream]):
        converted = ConvertedStream(way_back(upstream, client))
        out = converted.feed(begin + TOO_LONG[upstream]) + converted.end()
        if client is Dialect.RESPONSES:
            last = read_events(b"".join(out))[-1]
            assert last["type"] == "response.failed"
            assert last["response"]["error"]["code"] == "context_length_exceeded"
            assert converted.first_event_error is None
        else:
            assert out == []
            assert converted.first_event_error is not None
            assert converted.first_event_error.kind is ErrorKind.CONTEXT_LENGTH
    passed = PassThrough(Dialect.RESPONSES)
    stream = WITHOUT_CONTENT[Dialect.RESPONSES] + TOO_LONG[Dialect.RESPONSES]
    assert b"".join(passed.feed(stream)) == stream


@pytest.mark.parametrize("dialect", list(Dialect))
def test_a_passed_error_stays_as_it_came_and_is_known(dialect: Dialect) -> None:
    passed = PassThrough(dialect)
    stream = BEGUN[dialect] + OVERLOADED[dialect]
    assert b"".join(passed.feed(stream) + passed.end()) == stream
    assert passed.outcome is not None
    assert passed.outcome.error is not None
    assert passed.outcome.error.kind is ErrorKind.OVERLOADED
    assert passed.first_event_error is None


@pytest.mark.parametrize(
    "broken",
    [
        b"data: {not json}\n\n",
        b'data: {"choices": 7}\n\n',
        chunk({"tool_calls": ["?"]}),
        b'data: {"choices": [{"delta": {"content": "cut\n\n',
    ],
)
@pytest.mark.parametrize("client", list(Dialect))
def test_what_cannot_be_read_is_an_error(broken: bytes, client: Dialect) -> None:
    seen = convert(BEGUN[Dialect.CHAT] + broken, Dialect.CHAT, client)
    assert seen.outcome.error is not None
    assert seen.outcome.error.kind is ErrorKind.UNAVAILABLE


def test_an_event_without_end_is_an_error() -> None:
    for converted in (
        ConvertedStream(way_back(Dialect.CHAT, Dialect.MESSAGES), max_event_bytes=1000),
        PassThrough(Dialect.CHAT, max_event_bytes=1000),
    ):
        converted.feed(BEGUN[Dialect.CHAT])
        raw = b"".join(converted.feed(b"data: " + b"x" * 2000))
        assert converted.outcome is not None
        assert converted.outcome.error is not None
        assert "error" in read_events(raw)[-1]


def test_broken_characters_cost_less_than_the_answer() -> None:
    stream = chunk({"content": "A"}).replace(b'"A"', b'"\xff"') + chunk({"content": "B"}).replace(b'"B"', rb'"\ud83d"')
    text = message_of(convert(stream + chunk({}, "stop"), Dialect.CHAT, Dialect.MESSAGES))["content"][0]["text"]
    assert text == "\ufffd\ufffd"


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (
            {"code": "context_length_exceeded", "message": "too long"},
            ErrorKind.CONTEXT_LENGTH,
            "context_length_exceeded",
        ),
        ({"code": "insufficient_quota", "message": "pay"}, ErrorKind.BILLING, "insufficient_quota"),
        (
            {"code": 400, "message": "This model's maximum context length is 8 tokens"},
            ErrorKind.CONTEXT_LENGTH,
            "context_length_exceeded",
        ),
        ({"code": 401, "message": "who?"}, ErrorKind.UNAUTHENTICATED, "invalid_api_key"),
        ({"type": "invalid_request_error", "message": "no"}, ErrorKind.BAD_REQUEST, "invalid_prompt"),
        ("plain text", ErrorKind.INTERNAL, "server_error"),
        ({}, ErrorKind.INTERNAL, "server_error"),
    ],
)
def test_responses_clients_are_told_the_code_that_drives_them(error: Any, kind: ErrorKind, code: str) -> None:
    stream = BEGUN[Dialect.CHAT] + b"data: " + json.dumps({"error": error}).encode() + b"\n\n"
    seen = convert(stream, Dialect.CHAT, Dialect.RESPONSES)
    assert seen.outcome.error is not None
    assert seen.outcome.error.kind is kind
    assert seen.events[-1]["response"]["error"]["code"] == code


def test_a_finish_reason_error_is_an_error() -> None:
    assert convert(BEGUN[Dialect.CHAT] + chunk({}, "error"), Dialect.CHAT, Dialect.MESSAGES).kinds()[-1] == "error"


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
def test_comments_are_no_beginning(upstream: Dialect, client: Dialect) -> None:
    # OpenRouter sends them while it looks for somebody who answers.
    for converted in (ConvertedStream(way_back(upstream, client)), PassThrough(upstream)):
        assert converted.feed(b": PROCESSING\n\n" * 3) == []
        assert converted.release() == []
        assert converted.feed(OVERLOADED[upstream]) == []
        assert converted.first_event_error is not None
