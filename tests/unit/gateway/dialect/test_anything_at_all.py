"""Whatever an endpoint sends, a conversion never raises, ends with an outcome, and gives the client whole events."""

from __future__ import annotations

import json
from contextlib import suppress
from itertools import product
from typing import Any

import pytest
from codex_gateway.dialect.conversion import ConvertedStream, convert_answer
from codex_gateway.dialect.convert import AnswerFailed, Dialect, PassThrough, ToolName, read_error
from codex_gateway.dialect.neutral import ToolKind
from codex_gateway.dialect.sse import event_bytes
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.converting import read_events, way_back
from tests.unit.gateway.dialect.test_any_boundaries import ANSWERS, STREAMS

ODD = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=5),
    st.just([]), st.just({}), st.just([None]), st.just([{}]), st.just({"type": 7}), st.just({"type": "text"}),
)  # fmt: skip
BACK: dict[str, Any] = {
    "tools": {
        "shell": ToolName("shell", kind=ToolKind.CUSTOM),
        "get_weather": ToolName("ls", kind=ToolKind.LOCAL_SHELL),
    },
    "cut_at": ("x",),
}


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Where something stands in `value`."""
    found = [path] if path else []
    if isinstance(value, dict):
        for key, one in value.items():
            found += paths(one, (*path, key))
    elif isinstance(value, list):
        for at, one in enumerate(value):
            found += paths(one, (*path, at))
    return found


def spoil(data: st.DataObject, value: Any) -> None:
    """Put something odd somewhere, or take something out."""
    places = paths(value)
    if not places:
        return
    *way, last = data.draw(st.sampled_from(places))
    for step in way:
        value = value[step]
    if isinstance(value, dict) and data.draw(st.booleans()):
        del value[last]
    else:
        value[last] = json.loads(json.dumps(data.draw(ODD)))


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_spoilt_events(upstream: Dialect, client: Dialect, data: st.DataObject) -> None:
    events = read_events(STREAMS[upstream](data.draw(ANSWERS[upstream]), 9))
    for _ in range(data.draw(st.integers(1, 3))):
        event = data.draw(st.sampled_from(events))
        match data.draw(st.integers(0, 3)):
            case 0:
                events.remove(event)
            case 1:
                events.insert(data.draw(st.integers(0, len(events))), json.loads(json.dumps(event)))
            case _:
                spoil(data, event)
        if not events:
            break
    for converted in (ConvertedStream(way_back(upstream, client, **BACK)), PassThrough(upstream, "m")):
        out = [piece for event in events for piece in converted.feed(event_bytes(event, ""))] + converted.end()
        assert converted.outcome is not None
        assert out or converted.first_event_error is not None
        if isinstance(converted, ConvertedStream):
            seen = read_events(b"".join(out))
            assert all(isinstance(event, dict) for event in seen)


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_spoilt_whole_answers(upstream: Dialect, client: Dialect, data: st.DataObject) -> None:
    body = json.loads(json.dumps(data.draw(ANSWERS[upstream])))
    for _ in range(data.draw(st.integers(1, 3))):
        spoil(data, body)
    with suppress(AnswerFailed):
        json.dumps(convert_answer(body, way_back(upstream, client, **BACK)))


@pytest.mark.parametrize("dialect", list(Dialect))
@given(st.binary(max_size=60), st.sampled_from([b"data: ", b"event: error\ndata: ", b""]))
def test_any_bytes(dialect: Dialect, raw: bytes, head: bytes) -> None:
    for converted in (ConvertedStream(way_back(dialect, Dialect.MESSAGES)), PassThrough(dialect, "m")):
        converted.feed(head + raw)
        converted.feed(raw + b"\n\n")
        converted.end()
        assert converted.outcome is not None
    assert read_error(dialect, 500, {}, raw).message


@pytest.mark.parametrize("dialect", list(Dialect))
@settings(max_examples=50)
@given(data=st.data())
def test_spoilt_error_bodies(dialect: Dialect, data: st.DataObject) -> None:
    body: Any = {
        "error": {"type": "x", "message": "m", "code": 5, "param": "p"},
        "detail": [{"loc": ["a"], "msg": "m"}],
    }
    spoil(data, body)
    spoil(data, body)
    assert read_error(dialect, 400, {}, json.dumps(body).encode()).message
