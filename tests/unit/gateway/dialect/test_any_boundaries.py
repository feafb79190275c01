"""The property: for any answer, streamed as its maker streams it and cut at any byte boundaries, the message that the
client's own SDK puts together equals the non-streaming conversion of the same answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import pytest
from codex_gateway.dialect.conversion import ConvertedStream, convert_answer
from codex_gateway.dialect.convert import Dialect, PassThrough, ToolName, WayBack
from codex_gateway.dialect.neutral import ToolKind
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
from tests.support.sdk_answers import Sdk

PAIRS = [(upstream, client) for upstream, client in product(Dialect, Dialect) if upstream is not client]
STREAMS: dict[Dialect, Callable[[dict[str, Any], int], bytes]] = {
    Dialect.MESSAGES: messages_stream,
    Dialect.CHAT: chat_stream,
    Dialect.RESPONSES: responses_stream,
}


@pytest.fixture(scope="module")
def sdk() -> Iterator[Sdk]:
    made = Sdk()
    yield made
    made.close()


def way_back(upstream: Dialect, client: Dialect) -> WayBack:
    return WayBack(
        client=client,
        upstream=upstream,
        model="the-client's-model",
        endpoint="there",
        include_usage=True,
        tools={
            "mcp__x__run": ToolName("run", "mcp__x") if client is Dialect.RESPONSES else ToolName("mcp.x.run"),
            "apply_patch": ToolName(
                "apply_patch", kind=ToolKind.CUSTOM if client is Dialect.RESPONSES else ToolKind.FUNCTION
            ),
        },
    )


# Texts hold what breaks conversions: surrogate pairs, line ends of every kind, escapes, what looks like SSE or a tag.
TEXTS = st.text(
    st.one_of(st.characters(codec="utf-8"), st.sampled_from(list('\n\r"\\<>{}[]:,😀界\u2028\u0000'))),
    min_size=1,
    max_size=30,
).filter(lambda text: "<think" not in text) | st.sampled_from(
    ["data: x\n\n", "[DONE]", "a</think>b", "\r\n\r\n", "Hello, world!", '{"json": "\\u0041"}', "über 漢字 👩‍👩‍👧"]
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(TEXTS, JSON_VALUES, max_size=3)
CALLS = st.lists(st.tuples(st.sampled_from(["get_weather", "mcp__x__run", "shell"]), ARGUMENTS), max_size=3)
PATCHES = st.none() | TEXTS


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@st.composite
def messages_answers(draw: st.DrawFn) -> dict[str, Any]:
    content: list[dict[str, Any]] = []
    if draw(st.booleans()):
        content.append({"type": "thinking", "thinking": draw(TEXTS), "signature": "c2lnbmF0dXJl"})
    if draw(st.booleans()):
        content.append({"type": "redacted_thinking", "data": "cmVkYWN0ZWQ="})
    content += [{"type": "text", "text": text} for text in draw(st.lists(TEXTS, max_size=2))]
    content += [
        {"type": "tool_use", "id": f"toolu_{number}", "name": name, "input": given}
        for number, (name, given) in enumerate(draw(CALLS))
    ]
    patch = draw(PATCHES)
    if patch is not None:
        content.append({"type": "tool_use", "id": "toolu_p", "name": "apply_patch", "input": {"input": patch}})
    reasons = ["tool_use", "max_tokens"] if any(one["type"] == "tool_use" for one in content) else _MESSAGES_REASONS
    reason = draw(st.sampled_from(reasons))
    return message(*content, stop_reason=reason, stop_sequence="END" if reason == "stop_sequence" else None)


_MESSAGES_REASONS = [
    "end_turn",
    "max_tokens",
    "stop_sequence",
    "refusal",
    "model_context_window_exceeded",
    "pause_turn",
]


@st.composite
def chat_answers(draw: st.DrawFn) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if draw(st.booleans()):
        fields["reasoning_content"] = draw(TEXTS)
    calls = [call(name, compact(given), f"call_{at}") for at, (name, given) in enumerate(draw(CALLS))]
    patch = draw(PATCHES)
    if patch is not None:
        calls.append(call("apply_patch", compact({"input": patch}), "call_p"))
    if calls:
        fields["tool_calls"] = calls
    content = draw(st.none() | TEXTS)
    if content is None and not fields:
        fields["refusal"] = draw(TEXTS)
    return completion(content, draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"])), **fields)


@st.composite
def responses_answers(draw: st.DrawFn) -> dict[str, Any]:
    output: list[dict[str, Any]] = []
    if draw(st.booleans()):
        summary = [{"type": "summary_text", "text": text} for text in draw(st.lists(TEXTS, max_size=2))]
        secret = {"encrypted_content": "gAAAAB=="} if draw(st.booleans()) else {}
        output.append({"id": "rs_1", "type": "reasoning", "summary": summary, **secret})
    texts = draw(st.lists(TEXTS, max_size=2))
    output += [output_message(text, f"msg_{number}") for number, text in enumerate(texts)]
    output += [function_call(name, compact(given), at) for at, (name, given) in enumerate(draw(CALLS))]
    patch = draw(PATCHES)
    if patch is not None:
        output.append(function_call("apply_patch", compact({"input": patch}), 9))
    status = draw(st.sampled_from(["completed", "incomplete"]))
    details = {"reason": draw(st.sampled_from(["max_output_tokens", "content_filter"]))}
    return response(*output, status=status, incomplete_details=details if status == "incomplete" else None)


ANSWERS = {
    Dialect.MESSAGES: messages_answers(),
    Dialect.CHAT: chat_answers(),
    Dialect.RESPONSES: responses_answers(),
}


def cut(data: st.DataObject, stream: bytes) -> list[bytes]:
    """`stream` at any boundaries: everywhere, or at a few places."""
    if data.draw(st.integers(0, 4), label="everywhere") == 0:
        return [stream[at : at + 1] for at in range(len(stream))]
    cuts = sorted(data.draw(st.sets(st.integers(0, len(stream)), max_size=40), label="cuts"))
    return [stream[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


@pytest.mark.parametrize(("upstream", "client"), PAIRS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_converted_stream_equals_the_whole_answer(
    upstream: Dialect, client: Dialect, sdk: Sdk, data: st.DataObject
) -> None:
    body = data.draw(ANSWERS[upstream])
    stream = STREAMS[upstream](body, data.draw(st.integers(1, 12), label="size"))
    if data.draw(st.booleans(), label="CRLF"):
        stream = stream.replace(b"\n", b"\r\n")
    back = way_back(upstream, client)
    converted = ConvertedStream(back)
    given_out = [event for piece in cut(data, stream) for event in converted.feed(piece)] + converted.end()
    assert converted.outcome is not None
    assert converted.outcome.error is None
    assert sdk.of_stream(client, given_out) == sdk.of_whole(client, convert_answer(body, back))


@pytest.mark.parametrize("dialect", list(Dialect))
@pytest.mark.parametrize("echo", [None, "the client's \\model"])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_passed_stream_equals_the_whole_answer(
    dialect: Dialect, echo: str | None, sdk: Sdk, data: st.DataObject
) -> None:
    body = data.draw(ANSWERS[dialect])
    stream = STREAMS[dialect](body, data.draw(st.integers(1, 12), label="size"))
    if data.draw(st.booleans(), label="CRLF"):
        stream = stream.replace(b"\n", b"\r\n")
    passed = PassThrough(dialect, echo)
    given_out = [event for piece in cut(data, stream) for event in passed.feed(piece)] + passed.end()
    if echo is None:
        assert b"".join(given_out) == stream
    assert passed.outcome is not None
    assert passed.outcome.error is None
    seen = sdk.of_stream(dialect, given_out)
    assert seen == sdk.of_whole(dialect, {**body, "model": body["model"] if echo is None else echo})
    assert passed.usage.whole_input in (120, 125)


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_cuts_change_no_byte(upstream: Dialect, client: Dialect, data: st.DataObject) -> None:
    body = data.draw(ANSWERS[upstream])
    stream = STREAMS[upstream](body, 3)
    at_once, piecemeal = ConvertedStream(way_back(upstream, client)), ConvertedStream(way_back(upstream, client))
    pieces = [event for piece in cut(data, stream) for event in piecemeal.feed(piece)] + piecemeal.end()
    assert b"".join(pieces) == b"".join(at_once.feed(stream) + at_once.end())
