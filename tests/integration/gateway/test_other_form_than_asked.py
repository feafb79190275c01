"""Endpoints that stream although they were not asked to, and that answer whole although they were."""

# ruff: noqa: SIM117 (first a gateway, then requests to it: two steps)

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from tests.integration.gateway.conftest import BODIES, Start, endpoint, events, messages
from tests.support.stub_answers import Knobs, Seen, stream_events, whole_answer
from tests.support.stub_upstream import StubUpstream

PATHS = {"messages": "/v1/messages", "chat": "/v1/chat/completions", "responses": "/v1/responses"}
ENDS = {
    "/v1/messages": lambda last: last["type"] == "message_stop",
    "/v1/chat/completions": lambda last: last == "[DONE]",
    "/v1/responses": lambda last: last["type"] == "response.completed",
}
SSE = (("content-type", "text/event-stream; charset=utf-8"),)


def text_of(path: str, answer: Any) -> str:
    if path == "/v1/messages":
        return "".join(block["text"] for block in answer["content"])
    if path == "/v1/responses":
        return "".join(part["text"] for item in answer["output"] for part in item["content"])
    return str(answer["choices"][0]["message"]["content"])


def streamed_text(path: str, given: list[Any]) -> str:
    if path == "/v1/messages":
        return "".join(one["delta"]["text"] for one in given if one["type"] == "content_block_delta")
    if path == "/v1/responses":
        return "".join(one["delta"] for one in given if one["type"] == "response.output_text.delta")
    chunks = [one for one in given if one != "[DONE]"]
    return "".join(choice["delta"].get("content") or "" for chunk in chunks for choice in chunk["choices"])


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("dialect", PATHS)
async def test_a_whole_answer_to_a_streaming_request_becomes_a_stream(
    start: Start, stub: StubUpstream, dialect: str, path: str
) -> None:
    asked = Seen("POST", PATHS[dialect], {}, b'{"model":"other"}')
    stub.always = Knobs(body=whole_answer(asked, Knobs()))
    rewrite = [{"source_pattern": "stub", "target_model": "other"}]
    async with start(endpoints=[endpoint(stub, dialects=(dialect,), model_rewrite=rewrite)]) as running:
        async with running.post(path, BODIES[path](stream=True)) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "text/event-stream"
            data = await response.read()
        ended = running.gateway.metrics.page().decode()
    given = events(data)
    assert ENDS[path](given[-1])
    assert streamed_text(path, given) == "x" * 20
    assert b'"other"' not in data
    assert 'outcome="ok"' in ended
    assert 'outcome="failed"' not in ended
    assert 'codex_gateway_tokens_total{endpoint="one",kind="output"} 12.0' in ended


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("dialect", PATHS)
async def test_a_stream_to_a_request_that_does_not_stream_becomes_whole(
    start: Start, stub: StubUpstream, dialect: str, path: str
) -> None:
    stream = b"".join(stream_events(PATHS[dialect], Knobs(), "other"))
    stub.always = Knobs(body=stream, headers=SSE, chunk_bytes=50)
    rewrite = [{"source_pattern": "stub", "target_model": "other"}]
    async with start(endpoints=[endpoint(stub, dialects=(dialect,), model_rewrite=rewrite)]) as running:
        async with running.post(path, BODIES[path]()) as response:
            assert response.status == 200
            assert response.headers["Content-Type"] == "application/json"
            answer = await response.json()
        ended = running.gateway.metrics.page().decode()
    assert text_of(path, answer) == "x" * 20
    assert answer["model"] == "stub"
    assert 'codex_gateway_tokens_total{endpoint="one",kind="output"} 12.0' in ended


@pytest.mark.parametrize("path", BODIES)
async def test_a_stream_that_ends_early_is_no_whole_answer(
    start: Start, stub: StubUpstream, other: StubUpstream, path: str
) -> None:
    """The next endpoint is asked, for nothing has gone to the client."""
    for dialect in PATHS:
        events_of = stream_events(PATHS[dialect], Knobs(no_end=True), "stub")
        stub.always = Knobs(body=b"".join(events_of), headers=SSE)
        endpoints = [endpoint(stub, dialects=(dialect,), priority=1), endpoint(other, "two", priority=2)]
        async with start(endpoints=endpoints) as running:
            async with running.post(path, BODIES[path]()) as response:
                assert response.status == 200
                assert text_of(path, await response.json()) == "x" * 20
        assert len(other.requests) == 1
        other.requests.clear()


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("stream", [False, True])
async def test_an_error_with_status_200_goes_to_the_next_endpoint(
    start: Start, stub: StubUpstream, other: StubUpstream, path: str, stream: bool
) -> None:
    overloaded = {"type": "overloaded_error", "message": "busy"}
    for dialect, body in (
        ("messages", {"type": "error", "error": overloaded}),
        ("chat", {"error": {"message": "busy", "code": 503}}),
    ):
        stub.always = Knobs(body=msgspec.json.encode(body))
        endpoints = [endpoint(stub, dialects=(dialect,), priority=1), endpoint(other, "two", priority=2)]
        async with start(endpoints=endpoints) as running:
            async with running.post(path, BODIES[path](stream=stream)) as response:
                assert response.status == 200
                assert b"xxxxx" in await response.read()
        assert len(other.requests) == 1
        other.requests.clear()


async def test_what_every_endpoint_would_refuse_is_the_clients(
    start: Start, stub: StubUpstream, other: StubUpstream
) -> None:
    error = {"type": "invalid_request_error", "message": "`temperature` is out of range"}
    stub.always = Knobs(body=msgspec.json.encode({"type": "error", "error": error}))
    endpoints = [endpoint(stub, dialects=("messages",), priority=1), endpoint(other, "two", priority=2)]
    async with start(endpoints=endpoints) as running:
        async with running.post("/v1/messages", messages()) as response:
            assert response.status == 400
            assert "out of range" in (await response.json())["error"]["message"]
    assert other.requests == []
