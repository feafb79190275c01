"""Contract case 11: tokens. Messages counts its input without the cache, the others with it."""

from __future__ import annotations

from typing import Any

import pytest
from codex_gateway.dialect.chat.usage import read_usage as read_chat
from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import Dialect, Facts, PassThrough, Usage, convert_request
from codex_gateway.dialect.messages.usage import read_usage as read_messages
from codex_gateway.dialect.responses.usage import read_usage as read_responses

from tests.support.converting import DONE, chunk, convert, message_of, way_back
from tests.support.dialect_streams import (
    chat_stream,
    completion,
    message,
    messages_stream,
    output_message,
    response,
    responses_stream,
)

TEXT = {"type": "text", "text": "so"}
STREAMS = {
    Dialect.MESSAGES: messages_stream(message(TEXT)),
    Dialect.CHAT: chat_stream(completion("so")),
    Dialect.RESPONSES: responses_stream(response(output_message("so"))),
}


def last_usage(client: Dialect, events: list[dict[str, Any]]) -> dict[str, Any]:
    match client:
        case Dialect.MESSAGES:
            found = events[-2]["usage"]
        case Dialect.CHAT:
            assert events[-1]["choices"] == []
            found = events[-1]["usage"]
        case Dialect.RESPONSES:
            found = events[-1]["response"]["usage"]
    assert isinstance(found, dict)
    return found


def test_to_openai_the_cache_is_part_of_the_input() -> None:
    chat = last_usage(Dialect.CHAT, convert(STREAMS[Dialect.MESSAGES], Dialect.MESSAGES, Dialect.CHAT).events)
    assert chat["prompt_tokens"] == 125
    assert chat["prompt_tokens_details"] == {"cached_tokens": 100, "cache_write_tokens": 5}
    assert (chat["completion_tokens"], chat["total_tokens"]) == (42, 167)
    seen = convert(STREAMS[Dialect.MESSAGES], Dialect.MESSAGES, Dialect.RESPONSES)
    assert last_usage(Dialect.RESPONSES, seen.events) == {
        "input_tokens": 125,
        "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 5},
        "output_tokens": 42,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 167,
    }


@pytest.mark.parametrize("upstream", [Dialect.CHAT, Dialect.RESPONSES])
def test_to_messages_the_cache_is_taken_out_of_the_input(upstream: Dialect) -> None:
    usage = last_usage(Dialect.MESSAGES, convert(STREAMS[upstream], upstream, Dialect.MESSAGES).events)
    assert (usage["input_tokens"], usage["cache_read_input_tokens"], usage["output_tokens"]) == (20, 100, 42)
    assert usage["output_tokens_details"] == {"thinking_tokens": 7}


def test_the_input_is_never_below_zero() -> None:
    body = completion("so")
    body["usage"]["prompt_tokens_details"]["cached_tokens"] = 500
    usage = convert_answer(body, way_back(Dialect.CHAT, Dialect.MESSAGES))["usage"]
    assert (usage["input_tokens"], usage["cache_read_input_tokens"]) == (0, 500)


def test_a_usage_only_chunk_after_the_finish_counts() -> None:
    stream = (
        chunk({"content": "so"}) + chunk({}, "stop") + chunk(None, usage={"prompt_tokens": 3, "completion_tokens": 4})
    )
    usage = message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["usage"]
    assert (usage["input_tokens"], usage["output_tokens"]) == (3, 4)


@pytest.mark.parametrize("where", ["with the finish", "in each chunk"])
def test_usage_elsewhere_counts_once(where: str) -> None:
    counted: dict[str, Any] = {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}
    early: dict[str, Any] = counted if where == "in each chunk" else {}
    stream = chunk({"content": "so"}, **early) + chunk({}, "stop", **counted) + DONE
    seen = convert(stream, Dialect.CHAT, Dialect.RESPONSES)
    assert last_usage(Dialect.RESPONSES, seen.events)["total_tokens"] == 7
    assert seen.usage == Usage(input=3, output=4)


@pytest.mark.parametrize("client", [Dialect.MESSAGES, Dialect.RESPONSES, Dialect.CHAT])
def test_zero_usage_is_still_sent(client: Dialect) -> None:
    seen = convert(chunk({"content": "so"}) + chunk({}, "stop") + DONE, Dialect.CHAT, client)
    usage = last_usage(client, seen.events)
    for key in {
        Dialect.MESSAGES: ("input_tokens", "output_tokens"),
        Dialect.CHAT: ("prompt_tokens", "completion_tokens", "total_tokens"),
        Dialect.RESPONSES: ("input_tokens", "output_tokens", "total_tokens"),
    }[client]:
        assert usage[key] == 0


def test_messages_start_and_delta_add_up_without_counting_twice() -> None:
    seen = convert(STREAMS[Dialect.MESSAGES], Dialect.MESSAGES, Dialect.CHAT)
    assert seen.usage == Usage(input=20, cache_read=100, cache_write=5, output=42, service_tier="standard")


def test_a_chat_client_that_did_not_ask_gets_no_usage_chunk() -> None:
    seen = convert(STREAMS[Dialect.MESSAGES], Dialect.MESSAGES, Dialect.CHAT, include_usage=False)
    assert all(event["choices"] and "usage" not in event for event in seen.events)
    assert seen.usage.output == 42


def test_deepseeks_cache_hits_count() -> None:
    body = completion("so")
    body["usage"] = {"prompt_tokens": 10, "prompt_cache_hit_tokens": 8, "completion_tokens": 1}
    assert read_chat(body["usage"]) == Usage(input=2, cache_read=8, output=1)


@pytest.mark.parametrize(
    "usage", [None, {}, [], 7, {"input_tokens": None, "prompt_tokens": "many", "output_tokens": -3}]
)
def test_odd_usage_counts_as_nothing(usage: Any) -> None:
    for read in (read_chat(usage), read_responses(usage), read_messages(usage, Usage())):
        assert read is None or read == Usage()


@pytest.mark.parametrize("options", [None, {}, {"include_usage": False, "include_obfuscation": False}])
def test_a_chat_endpoint_is_always_asked_for_usage(options: dict[str, Any] | None) -> None:
    body: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    if options is not None:
        body["stream_options"] = options
    made = convert_request(body, Dialect.CHAT, Facts(dialect=Dialect.CHAT, model="m"))
    assert made.body["stream_options"] == {**(options or {}), "include_usage": True}
    assert body.get("stream_options") == options
    asked = {**body, "stream_options": {"include_usage": True}}
    assert convert_request(asked, Dialect.CHAT, Facts(dialect=Dialect.CHAT, model="m")).untouched
    whole = {**body, "stream": False}
    assert convert_request(whole, Dialect.CHAT, Facts(dialect=Dialect.CHAT, model="m")).untouched
    for client, given in (
        (Dialect.MESSAGES, {"model": "m", "max_tokens": 9, "messages": body["messages"], "stream": True}),
        (Dialect.RESPONSES, {"model": "m", "input": "hi", "stream": True}),
    ):
        converted = convert_request(given, client, Facts(dialect=Dialect.CHAT, model="m"))
        assert converted.body["stream_options"] == {"include_usage": True}


USAGE_ONLY = chunk(None, usage={"prompt_tokens": 3, "completion_tokens": 4})
AZURE_FIRST = chunk(None, prompt_filter_results=[{"prompt_index": 0}], usage=None)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 7, 10_000])
@pytest.mark.parametrize("end", [b"", DONE])
def test_the_chunk_that_only_the_gateway_asked_for_is_dropped_and_no_other_byte(
    line_end: bytes, size: int, end: bytes
) -> None:
    said = [chunk({"content": "so"}, usage=None), chunk({"content": '"choices":[]"usage":{'}), chunk({}, "stop")]
    stream = b"".join([AZURE_FIRST, *said, USAGE_ONLY, end]).replace(b"\n", line_end)
    if not end:
        stream = stream.removesuffix(line_end)
    passed = PassThrough(Dialect.CHAT, drops_usage=True)
    out = b"".join(event for at in range(0, len(stream), size) for event in passed.feed(stream[at : at + size]))
    out += b"".join(passed.end())
    # An event's last line end may stay: an empty line more says nothing.
    expected = b"".join([AZURE_FIRST, *said, DONE])
    assert [line for line in out.splitlines() if line] == [line for line in expected.splitlines() if line]
    assert passed.usage == Usage(input=3, output=4)


def test_usage_beside_a_choice_is_not_dropped() -> None:
    stream = chunk({"content": "so"}) + chunk({}, "stop", usage={"prompt_tokens": 3, "completion_tokens": 4}) + DONE
    passed = PassThrough(Dialect.CHAT, drops_usage=True)
    assert b"".join(passed.feed(stream) + passed.end()) == stream
    assert passed.usage == Usage(input=3, output=4)


@pytest.mark.parametrize("asked", [True, False])
def test_only_who_asked_gets_the_chunk(asked: bool) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
    body |= {"stream_options": {"include_usage": asked}}
    stream = convert_request(body, Dialect.CHAT, Facts(dialect=Dialect.CHAT, model="m")).stream()
    raw = b"".join(stream.feed(chunk({"content": "so"}) + chunk({}, "stop") + USAGE_ONLY + DONE) + stream.end())
    assert (USAGE_ONLY in raw) is asked
