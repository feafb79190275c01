"""Requests and answers on their way through, in every pair of dialects."""

# ruff: noqa: SIM117 (first a gateway, then requests to it: two steps)

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.gateway.conftest import BODIES, Start, chat, endpoint, events, messages, responses
from tests.support.stub_answers import Knobs, stream_events
from tests.support.stub_upstream import StubUpstream

PATHS = {"chat": "/v1/chat/completions", "messages": "/v1/messages", "responses": "/v1/responses"}


def text_of(path: str, answer: Any) -> str:
    match path:
        case "/v1/chat/completions":
            return str(answer["choices"][0]["message"]["content"])
        case "/v1/messages":
            return "".join(block["text"] for block in answer["content"])
        case _:
            return "".join(part["text"] for item in answer["output"] for part in item["content"])


def streamed_text(path: str, found: list[Any]) -> str:
    match path:
        case "/v1/chat/completions":
            chunks = [one for one in found if one != "[DONE]" and one["choices"]]
            return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks)
        case "/v1/messages":
            return "".join(one["delta"].get("text", "") for one in found if one["type"] == "content_block_delta")
        case _:
            return "".join(one["delta"] for one in found if one["type"] == "response.output_text.delta")


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("dialect", PATHS)
async def test_every_client_gets_an_answer_of_every_endpoint(
    start: Start, stub: StubUpstream, path: str, dialect: str
) -> None:
    async with start(endpoints=[endpoint(stub, dialects=(dialect,))]) as running:
        async with running.post(path, BODIES[path]()) as response:
            assert response.status == 200, await response.text()
            assert text_of(path, await response.json()) == "x" * 20
        async with running.post(path, BODIES[path](stream=True)) as response:
            assert response.status == 200, await response.text()
            assert response.headers["Content-Type"].startswith("text/event-stream")
            assert streamed_text(path, events(await response.read())) == "x" * 20
    assert [seen.path for seen in stub.requests] == [PATHS[dialect]] * 2


@pytest.mark.parametrize(("dialect", "path"), PATHS.items())
async def test_the_same_dialect_passes_byte_for_byte(start: Start, stub: StubUpstream, dialect: str, path: str) -> None:
    raw = (
        b'{ "model":"stub",  "max_tokens": 5, "stream":true, '
        b'"stream_options": {"include_usage":true}, '
        b'"messages":[{"role":"user","content":"\\u00e4"}], "input":"a" }'
    )
    async with start(endpoints=[endpoint(stub, dialects=(dialect,))]) as running:
        async with running.http.post(running.url + path, data=raw, headers=running.headers()) as response:
            got = await response.read()
    assert stub.requests[0].body == raw
    assert got == b"".join(stream_events(path, Knobs(), "stub"))


async def test_headers_go_along_without_secrets(start: Start, stub: StubUpstream) -> None:
    key = {"api_key": "sk-upstream-key-000", "header": "x-api-key"}
    stub.always = Knobs(
        headers=(("request-id", "req_1"), ("set-cookie", "a=b"), ("anthropic-ratelimit-tokens-limit", "9"))
    )
    async with start(endpoints=[endpoint(stub, dialects=("messages",), auth=key)]) as running:
        more = {
            "anthropic-beta": "one,two",
            "Cookie": "c=d",
            "X-Forwarded-For": "1.2.3.4",
            "User-Agent": "claude-cli/2",
        }
        async with running.post("/v1/messages?beta=true", messages(), **more) as response:
            assert response.headers["request-id"] == "req_1"
            assert response.headers["anthropic-ratelimit-tokens-limit"] == "9"
            assert "set-cookie" not in response.headers
        token = running.token()
    seen = stub.requests[0]
    assert seen.path == "/v1/messages?beta=true"
    assert seen.headers["x-api-key"] == "sk-upstream-key-000"
    assert seen.headers["anthropic-beta"] == "one,two"
    assert seen.headers["anthropic-version"] == "2023-06-01"
    assert seen.headers["user-agent"] == "claude-cli/2"
    assert seen.headers["accept-encoding"] == "identity"
    assert not {"cookie", "authorization", "x-forwarded-for"} & seen.headers.keys()
    assert token not in str(seen.headers)


async def test_a_rewritten_model_is_echoed_under_the_clients_name(start: Start, stub: StubUpstream) -> None:
    rewrite = [{"source_pattern": "claude-*", "target_model": "big"}]
    async with start(endpoints=[endpoint(stub, dialects=("messages", "chat"), model_rewrite=rewrite)]) as running:
        async with running.post("/v1/messages", messages(model="claude-x")) as response:
            assert (await response.json())["model"] == "claude-x"
        async with running.post("/v1/messages", messages(model="claude-x", stream=True)) as response:
            assert events(await response.read())[0]["message"]["model"] == "claude-x"
    assert [seen.json["model"] for seen in stub.requests] == ["big", "big"]


async def test_overrides_change_body_and_headers(start: Start, stub: StubUpstream) -> None:
    changed = endpoint(
        stub,
        parameter_overrides={"temperature": 0.5, "user": None, "extra.deep": 1},
        header_overrides={"X-Team": "blue", "User-Agent": None},
    )
    async with (
        start(endpoints=[changed]) as running,
        running.post("/v1/chat/completions", chat(user="me", temperature=1), **{"User-Agent": "u"}) as response,
    ):
        assert response.status == 200
    seen = stub.requests[0]
    assert seen.json["temperature"] == 0.5
    assert seen.json["extra"] == {"deep": 1}
    assert "user" not in seen.json
    assert seen.headers["x-team"] == "blue"


async def test_a_connection_is_used_again(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        for stream in (False, True, False):
            async with running.post("/v1/chat/completions", chat(stream=stream)) as response:
                await response.read()
    assert stub.connections == 1


async def test_the_token_may_stand_in_the_path(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub, dialects=("messages",))]) as running:
        async with running.http.post(f"{running.url}/s/{running.token()}/v1/messages", json=messages()) as response:
            assert response.status == 200
        async with running.http.post(f"{running.url}/s/wrong/v1/messages", json=messages()) as response:
            assert response.status == 401
    assert [seen.path for seen in stub.requests] == ["/v1/messages"]


async def test_count_tokens_is_the_endpoints_or_our_own(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub, dialects=("messages",))]) as running:
        async with running.post("/v1/messages/count_tokens", messages()) as response:
            assert await response.json() == {"input_tokens": 42}
        stub.plan(status=404, body=b'{"error":"not found"}')
        for _ in range(2):
            async with running.post("/v1/messages/count_tokens", messages()) as response:
                assert 5 < (await response.json())["input_tokens"] < 20
    assert len(stub.requests) == 2, "what is missing was asked for again"


async def test_models_are_listed_in_each_form(start: Start, stub: StubUpstream) -> None:
    named = endpoint(stub, name="two", models=["big", "glob-*"])
    async with start(endpoints=[endpoint(stub), named]) as running:
        async with running.http.get(f"{running.url}/v1/models", headers=running.headers()) as response:
            assert [one["id"] for one in (await response.json())["data"]] == ["stub", "big"]
        headers = {**running.headers(), "anthropic-version": "2023-06-01"}
        async with running.http.get(f"{running.url}/models?limit=1", headers=headers) as response:
            page = await response.json()
            assert (page["first_id"], page["has_more"], page["data"][0]["type"]) == ("stub", True, "model")


async def test_earlier_responses_are_kept_for_endpoints_that_keep_none(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        for number in "abc":
            stub.plan(answer_id=number)
        async with running.post("/v1/responses", responses(input="first")) as response:
            first = await response.json()
        async with running.post(
            "/v1/responses", responses(stream=True, previous_response_id=first["id"], input="second")
        ) as response:
            second = events(await response.read())[-1]["response"]
        async with running.post(
            "/v1/responses", responses(previous_response_id=second["id"], input="third")
        ) as response:
            assert response.status == 200, await response.text()
        async with running.post("/v1/responses", responses(previous_response_id="resp_unknown")) as response:
            assert response.status == 400
            assert "previous_response_id" in (await response.json())["error"]["message"]
    said = [one["content"] for one in stub.requests[-1].json["messages"]]
    assert said == ["first", "x" * 20, "second", "x" * 20, "third"]
