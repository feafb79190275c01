"""Contract case 18: keep-alive, unknown events, reads that end anywhere."""

from __future__ import annotations

from itertools import product

import pytest
from codex_gateway.dialect.conversion import ConvertedStream
from codex_gateway.dialect.convert import Dialect, PassThrough
from codex_gateway.dialect.sse import event_bytes

from tests.support.converting import convert, items_of, message_of, read_events, way_back
from tests.support.dialect_streams import (
    chat_stream,
    completion,
    message,
    messages_stream,
    output_message,
    response,
    responses_stream,
)
from tests.support.sdk_answers import Sdk

TEXT = "Grüß dich, 世界 🌍"
STREAMS = {
    Dialect.MESSAGES: messages_stream(message({"type": "text", "text": TEXT})),
    Dialect.CHAT: chat_stream(completion(TEXT)),
    Dialect.RESPONSES: responses_stream(response(output_message(TEXT))),
}


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
def test_keep_alive_between_all_events_disturbs_no_client(upstream: Dialect, client: Dialect) -> None:
    sdk = Sdk()
    converted = PassThrough(client) if upstream is client else ConvertedStream(way_back(upstream, client))
    out = [converted.keep_alive()]
    for event in STREAMS[upstream].split(b"\n\n")[:-1]:
        out += [*converted.feed(event + b"\n\n"), converted.keep_alive()]
    out += converted.end()
    assert converted.keep_alive() == b""
    calm = ConvertedStream(way_back(upstream, client)) if upstream is not client else PassThrough(client)
    assert sdk.of_stream(client, out) == sdk.of_stream(client, calm.feed(STREAMS[upstream]) + calm.end())
    sdk.close()


def test_each_client_gets_what_keeps_it_waiting() -> None:
    def keep_alive(client: Dialect) -> bytes:
        converted = ConvertedStream(way_back(Dialect.CHAT, client))
        converted.feed(STREAMS[Dialect.CHAT][:300])
        converted.release()
        return converted.keep_alive()

    assert keep_alive(Dialect.MESSAGES) == b'event: ping\ndata: {"type":"ping"}\n\n'
    assert keep_alive(Dialect.CHAT).startswith(b": ")
    # A data event of a type that no client knows: comments do not reset Codex's idle timer.
    assert read_events(keep_alive(Dialect.RESPONSES)) == [{"type": "keepalive"}]


def test_keep_alive_never_cuts_an_event_in_two() -> None:
    passed = PassThrough(Dialect.MESSAGES)
    stream = STREAMS[Dialect.MESSAGES]
    out = b""
    for at in range(0, len(stream), 7):
        out += b"".join(passed.feed(stream[at : at + 7])) + passed.keep_alive()
    assert [event for event in read_events(out) if event["type"] != "ping"] == [
        event for event in read_events(stream) if event["type"] != "ping"
    ]


def test_an_endpoints_ping_reaches_a_messages_client() -> None:
    stream = STREAMS[Dialect.MESSAGES]
    assert "ping" in convert(stream, Dialect.MESSAGES, Dialect.MESSAGES).kinds()
    first = ConvertedStream(way_back(Dialect.MESSAGES, Dialect.MESSAGES))
    # Before the first event it is held back: another endpoint may still be asked.
    assert first.feed(b'event: ping\ndata: {"type":"ping"}\n\n') == []


@pytest.mark.parametrize("client", list(Dialect))
@pytest.mark.parametrize("upstream", list(Dialect))
def test_unknown_events_are_ignored(upstream: Dialect, client: Dialect) -> None:
    unknown = event_bytes({"type": "a.new.event", "delta": {"x": 1}, "choices": None}, "a.new.event") + b"data: [1]\n\n"
    first, blank, rest = STREAMS[upstream].partition(b"\n\n")
    seen = convert(first + blank + unknown + rest, upstream, client)
    assert seen.raw == convert(STREAMS[upstream], upstream, client).raw


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r", b"\n"])
def test_a_last_event_without_its_blank_line_counts(line_end: bytes) -> None:
    for upstream in (Dialect.MESSAGES, Dialect.RESPONSES):
        stream = STREAMS[upstream].removesuffix(b"\n\n").replace(b"\n", line_end)
        converted = ConvertedStream(way_back(upstream, Dialect.CHAT))
        converted.feed(stream)
        assert converted.end()[-1].endswith(b"data: [DONE]\n\n")
    passed = PassThrough(Dialect.RESPONSES)
    out = passed.feed(STREAMS[Dialect.RESPONSES].removesuffix(b"\n\n")) + passed.end()
    assert read_events(b"".join(out))[-1]["type"] == "response.completed"


def test_characters_cut_in_two_come_out_whole() -> None:
    converted = ConvertedStream(way_back(Dialect.CHAT, Dialect.RESPONSES))
    raw = STREAMS[Dialect.CHAT]
    out = b"".join([*(b"".join(converted.feed(raw[at : at + 1])) for at in range(len(raw))), *converted.end()])
    assert TEXT in out.decode()
    assert items_of(convert(raw, Dialect.CHAT, Dialect.RESPONSES))[0]["content"][0]["text"] == TEXT
    assert message_of(convert(raw, Dialect.CHAT, Dialect.MESSAGES))["content"][0]["text"] == TEXT
