"""Contract case 16: an endpoint that ends early is never a success."""

from __future__ import annotations

from itertools import product

import pytest
from codex_gateway.dialect.conversion import ConvertedStream, convert_answer
from codex_gateway.dialect.convert import AnswerFailed, Dialect, PassThrough, UpstreamEnd
from codex_gateway.dialect.neutral import ErrorKind, StopReason

from tests.support.converting import chunk, convert, message_of, read_events, way_back
from tests.support.dialect_streams import (
    chat_stream,
    completion,
    message,
    messages_stream,
    output_message,
    response,
    responses_stream,
)

WHOLE = {
    Dialect.MESSAGES: messages_stream(message({"type": "text", "text": "A longer answer."}), 3),
    Dialect.CHAT: chat_stream(completion("A longer answer."), 3),
    Dialect.RESPONSES: responses_stream(response(output_message("A longer answer.")), 3),
}
ENOUGH = {
    Dialect.MESSAGES: b"event: message_delta",
    Dialect.CHAT: b'"stop"',
    Dialect.RESPONSES: b"event: response.comp",
}
"""From here on the end is known."""


def cut_off(dialect: Dialect) -> bytes:
    """The stream up to the event that would tell its end, and half of that."""
    return WHOLE[dialect][: WHOLE[dialect].index(ENOUGH[dialect]) + 5]


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
@pytest.mark.parametrize("end", [UpstreamEnd.BROKEN, UpstreamEnd.TIMED_OUT, UpstreamEnd.DRAINING])
def test_a_broken_stream_is_an_error_in_the_clients_dialect(
    upstream: Dialect, client: Dialect, end: UpstreamEnd
) -> None:
    seen = convert(cut_off(upstream), upstream, client, end=end)
    assert seen.outcome.error is not None
    assert seen.first_event_error is None
    last = seen.events[-1]
    match client:
        case Dialect.MESSAGES:
            assert last["type"] == "error"
            assert message_of(seen)["content"][0]["text"].startswith("A longer")
        case Dialect.CHAT:
            assert last["error"]["message"] == seen.outcome.error.message
            assert b"[DONE]" not in seen.raw
            assert seen.finish_reason() is None
        case Dialect.RESPONSES:
            assert last["type"] == "response.failed"
            assert last["response"]["error"]["message"] == seen.outcome.error.message
            assert last["response"]["output"][0]["status"] == "incomplete"


@pytest.mark.parametrize(("upstream", "client"), list(product([Dialect.MESSAGES, Dialect.RESPONSES], Dialect)))
def test_an_end_without_the_last_event_is_an_error(upstream: Dialect, client: Dialect) -> None:
    seen = convert(cut_off(upstream), upstream, client)
    assert seen.outcome.error is not None
    assert seen.outcome.error.kind is ErrorKind.UNAVAILABLE


def test_chat_output_without_finish_reason_is_incomplete() -> None:
    stream = chunk({"content": "so"})
    seen = convert(stream, Dialect.CHAT, Dialect.RESPONSES)
    assert seen.kinds()[-1] == "response.incomplete"
    assert seen.of("response.output_item.done") == []
    assert seen.outcome.reason is StopReason.INCOMPLETE
    assert convert(stream, Dialect.CHAT, Dialect.MESSAGES).kinds()[-1] == "error"
    assert "error" in convert(stream, Dialect.CHAT, Dialect.CHAT).events[-1]
    assert convert(stream + b"data: [DONE]\n\n", Dialect.CHAT, Dialect.MESSAGES).kinds()[-1] == "error"


@pytest.mark.parametrize(
    "stream", [chunk({"role": "assistant", "content": ""}), chunk({"role": "assistant"}) + b"data: [DONE]\n\n"]
)
def test_chat_without_output_has_failed(stream: bytes) -> None:
    for client in Dialect:
        # Nothing was said, so another endpoint may still be asked …
        seen = convert(stream, Dialect.CHAT, client)
        assert seen.raw == b""
        assert seen.first_event_error is not None
    for client, last in ((Dialect.RESPONSES, "response.failed"), (Dialect.MESSAGES, "error")):
        # … unless the client has got the beginning already.
        converted = ConvertedStream(way_back(Dialect.CHAT, client))
        out = converted.feed(stream.split(b"\n\n")[0] + b"\n\n") + converted.release()
        out += converted.feed(stream.partition(b"\n\n")[2]) + converted.end()
        assert read_events(b"".join(out))[-1]["type"] == last


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
@pytest.mark.parametrize("stream", [b"", b": ping\n\n", b"\n\n"])
def test_nothing_at_all_is_an_error_before_the_first_byte(upstream: Dialect, client: Dialect, stream: bytes) -> None:
    converted = ConvertedStream(way_back(upstream, client))
    assert converted.feed(stream) + converted.end() == []
    assert converted.first_event_error is not None
    passed = PassThrough(upstream)
    assert passed.feed(stream) + passed.end() == []
    assert passed.first_event_error is not None


@pytest.mark.parametrize("client", list(Dialect))
def test_responses_need_no_done(client: Dialect) -> None:
    assert convert(WHOLE[Dialect.RESPONSES], Dialect.RESPONSES, client).outcome.error is None


@pytest.mark.parametrize("end", [None, UpstreamEnd.BROKEN, UpstreamEnd.TIMED_OUT])
@pytest.mark.parametrize("client", list(Dialect))
def test_an_answer_whose_end_is_known_is_whole_without_the_last_bytes(client: Dialect, end: UpstreamEnd | None) -> None:
    chat = WHOLE[Dialect.CHAT].removesuffix(b"data: [DONE]\n\n")
    assert convert(chat, Dialect.CHAT, client, end=end).outcome.error is None
    messages = WHOLE[Dialect.MESSAGES][: WHOLE[Dialect.MESSAGES].index(b"event: message_stop")]
    assert convert(messages, Dialect.MESSAGES, client, end=end).outcome.error is None


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("end", [None, UpstreamEnd.BROKEN])
def test_a_passed_stream_gets_its_error_behind_the_last_whole_event(dialect: Dialect, end: UpstreamEnd | None) -> None:
    passed = PassThrough(dialect)
    # A read ends in the middle of an event.
    begun = cut_off(dialect).rpartition(b"\n\n")[0] + b"\n\nevent: x\nda"
    raw = b"".join(passed.feed(begun) + passed.end(end or UpstreamEnd.BROKEN))
    assert passed.outcome is not None
    assert passed.outcome.error is not None
    last = read_events(raw)[-1]
    assert last.get("type", "chunk") in ("error", "response.failed", "chunk")
    assert dialect is not Dialect.CHAT or "error" in last
    assert dialect is not Dialect.RESPONSES or last["response"]["id"] == "resp_77"


def test_a_passed_stream_without_its_last_bytes_is_completed() -> None:
    chat = PassThrough(Dialect.CHAT)
    raw = b"".join(chat.feed(WHOLE[Dialect.CHAT].removesuffix(b"data: [DONE]\n\n")) + chat.end())
    assert raw == WHOLE[Dialect.CHAT]
    stream = WHOLE[Dialect.MESSAGES]
    messages = PassThrough(Dialect.MESSAGES)
    raw = b"".join(messages.feed(stream[: stream.index(b"event: message_stop")]) + messages.end())
    assert read_events(raw)[-1] == {"type": "message_stop"}


@pytest.mark.parametrize("client", [Dialect.MESSAGES, Dialect.CHAT])
def test_a_whole_answer_that_failed_raises_its_error(client: Dialect) -> None:
    failed = response(status="failed", error={"code": "rate_limit_exceeded", "message": "Slow down."})
    with pytest.raises(AnswerFailed) as raised:
        convert_answer(failed, way_back(Dialect.RESPONSES, client))
    assert raised.value.error.kind is ErrorKind.RATE_LIMIT
    with pytest.raises(AnswerFailed):
        convert_answer(
            response(status="incomplete", incomplete_details={"reason": "steered"}), way_back(Dialect.RESPONSES, client)
        )


@pytest.mark.parametrize(
    ("upstream", "body"),
    [
        (Dialect.CHAT, {"choices": []}),
        (Dialect.CHAT, {"error": {"message": "no"}}),
        (Dialect.CHAT, {"choices": [{"message": {"tool_calls": [{"id": "c"}]}, "finish_reason": "stop"}]}),
        (Dialect.MESSAGES, {"content": None}),
        (Dialect.MESSAGES, {"type": "error", "error": {"type": "overloaded_error", "message": "no"}}),
        (Dialect.RESPONSES, {"status": "cancelled"}),
    ],
)
def test_a_whole_answer_that_is_none_is_an_error(upstream: Dialect, body: dict[str, object]) -> None:
    with pytest.raises(AnswerFailed):
        convert_answer(
            body, way_back(upstream, Dialect.RESPONSES if upstream is not Dialect.RESPONSES else Dialect.CHAT)
        )
