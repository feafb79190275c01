"""Server-sent events, however the network cuts them."""

from __future__ import annotations

import pytest
from codex_gateway.dialect.sse import Event, EventTooLarge, SseReader, comment_bytes, event_bytes
from hypothesis import given
from hypothesis import strategies as st


def read(*pieces: bytes) -> list[Event]:
    reader = SseReader()
    events = [event for piece in pieces for event in reader.feed(piece)]
    return events + reader.finish()


STREAM = (
    b"\xef\xbb\xbfevent: one\ndata: {}\n\n"
    b": a comment\n\n"
    b"data:no space\n\n"
    b"id: 7\nretry: 10\nevent:two\ndata: a\ndata: b\ndata\n\n\n\n"
    b"event: no data\n\n" + 'data: {"t":"🌍 grüß dich, 世界"}\n\n'.encode() + b"other: field\ndata:  two spaces\n\n"
    b"data: last, without its blank line"
)
EVENTS = [
    Event("one", b"{}"),
    Event("", b"no space"),
    Event("two", b"a\nb\n"),
    Event("", '{"t":"🌍 grüß dich, 世界"}'.encode()),
    Event("", b" two spaces"),
    Event("", b"last, without its blank line"),
]


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_pieces_of_any_size_give_the_same_events(line_end: bytes, size: int) -> None:
    stream = STREAM.replace(b"\n", line_end)
    assert read(*(stream[at : at + size] for at in range(0, len(stream), size))) == EVENTS


@given(st.data(), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_any_cuts_give_the_same_events(data: st.DataObject, line_end: bytes) -> None:
    stream = STREAM.replace(b"\n", line_end)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)))))
    assert read(*(stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True))) == EVENTS


def test_line_ends_may_be_mixed() -> None:
    assert read(b"data: a\r\n\ndata: b\r\r\ndata: c\n\r\n") == [Event("", b"a"), Event("", b"b"), Event("", b"c")]


def test_an_empty_stream_has_no_events() -> None:
    assert read() == []
    assert read(b"", b"\n", b"\r\n\r\n", b": ping\n\n") == []


def test_an_event_is_given_as_soon_as_it_is_whole() -> None:
    reader = SseReader()
    assert reader.feed(b"data: 1\n") == []
    assert reader.feed(b"\ndata: 2") == [Event("", b"1")]
    assert reader.feed(b"\r\n\r") == [Event("", b"2")]
    assert reader.feed(b"\ndata: 3\n\n") == [Event("", b"3")]
    assert reader.finish() == []


@pytest.mark.parametrize("piece", [10, 200])
def test_an_event_beyond_the_bound_is_refused(piece: int) -> None:
    reader = SseReader(max_event_bytes=100)
    stream = b"data: fits\n\n" + b"data: " + b"x" * 200 + b"\n\n"

    def feed_all() -> None:
        for at in range(0, len(stream), piece):
            reader.feed(stream[at : at + piece])

    with pytest.raises(EventTooLarge, match="100"):
        feed_all()
    assert len(reader._held) <= 100 + piece


def test_a_large_event_in_small_pieces_takes_time_in_proportion() -> None:
    reader = SseReader()
    for _ in range(20_000):
        assert reader.feed(b"x" * 100) == []
    assert reader.feed(b"\n\n") == []


def test_what_is_written_is_read_again() -> None:
    stream = event_bytes({"a": "ü\n"}, "name") + comment_bytes("keep\nalive") + event_bytes([1])
    assert read(stream) == [Event("name", '{"a":"ü\\n"}'.encode()), Event("", b"[1]")]
