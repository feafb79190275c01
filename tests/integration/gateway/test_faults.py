"""What goes wrong behind the gateway, and what its client sees of it: the faults of an endpoint, one by one."""

# ruff: noqa: SIM117 (first a gateway, then requests to it: two steps)

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import msgspec
import pytest
from codex_gateway.upstream.attempt import MAX_HELD_S

from tests.integration.gateway.conftest import BODIES, Start, chat, endpoint, events, messages, responses
from tests.support.certificates import self_signed
from tests.support.stub_answers import Knobs
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for

ONCE = {"attempts_per_endpoint": 1, "backoff_initial": 0.0, "backoff_max": 0.01}
TWO = ("chat", "messages", "responses")


def both(stub: StubUpstream, other: StubUpstream, **more: Any) -> list[dict[str, Any]]:
    return [
        endpoint(stub, "one", TWO, priority=1, **more),
        endpoint(other, "two", TWO, priority=2),
    ]


BEFORE_THE_FIRST_BYTE = {
    "dies before": Knobs(dies="before"),
    "dies after the head": Knobs(dies="head"),
    "dies in the first event": Knobs(dies="first_byte"),
    "500": Knobs(status=500, body=b'{"error":{"message":"boom"}}'),
    "503 with a page": Knobs(status=503, body=b"<html>no</html>", headers=(("content-type", "text/html"),)),
    "529": Knobs(status=529, body=b'{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}'),
    "429": Knobs(status=429, headers=(("retry-after", "30"),), body=b'{"error":{"message":"slow down"}}'),
    "404, no such model": Knobs(status=404, body=b'{"error":{"message":"model not found"}}'),
    "200 with an overload error": Knobs(overloaded=True),
    "an overload error behind events without content": Knobs(overloaded=True, begins=True),
    "an overload error without its blank line": Knobs(overloaded=True, bare=True),
    "an end behind nothing": Knobs(empty=True),
    "no HTTP": Knobs(garbage=True),
    "stalls": Knobs(stalls="head"),
    "no credit": Knobs(
        status=400,
        body=b'{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to '
        b'access the Anthropic API."}}',
    ),
    "401": Knobs(status=401, body=b'{"error":{"message":"invalid api key"}}'),
}


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("fault", BEFORE_THE_FIRST_BYTE)
async def test_before_the_first_byte_another_endpoint_answers(
    start: Start, stub: StubUpstream, other: StubUpstream, path: str, fault: str
) -> None:
    stub.always = BEFORE_THE_FIRST_BYTE[fault]
    auth = {"api_key": "sk-upstream-000", "header": "bearer"}
    config = both(stub, other, timeouts={"first_byte": 0.3}, auth=auth)
    async with start(endpoints=config, retries=ONCE) as running:
        async with running.post(path, BODIES[path](stream=True)) as response:
            got = await response.read()
    assert response.status == 200, got
    assert got.count(b"x" * 5) >= 4
    assert len(other.requests) == 1
    assert len(stub.requests) == 1


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("convert", [False, True])
async def test_after_the_first_byte_the_client_gets_its_error_and_no_other_endpoint(
    start: Start, stub: StubUpstream, other: StubUpstream, path: str, convert: bool
) -> None:
    own = {"/v1/messages": "messages", "/v1/chat/completions": "chat", "/v1/responses": "responses"}[path]
    spoken = ("messages" if own == "chat" else "chat") if convert else own
    config = [endpoint(stub, "one", (spoken,), priority=1), endpoint(other, "two", (spoken,), priority=2)]
    stub.plan(dies="middle", events=20)
    async with start(endpoints=config, retries=ONCE) as running:
        async with running.post(path, BODIES[path](stream=True)) as response:
            found = events(await response.read())
    assert other.requests == []
    match path:
        case "/v1/messages":
            assert found[-1]["type"] == "error"
            assert not [one for one in found if one["type"] == "message_stop"]
        case "/v1/chat/completions":
            assert "error" in next(one for one in reversed(found) if one != "[DONE]")
        case _:
            assert found[-1]["type"] in ("response.failed", "response.incomplete")


@pytest.mark.parametrize("path", BODIES)
async def test_a_beginning_without_content_is_not_held_for_long(start: Start, stub: StubUpstream, path: str) -> None:
    own = {"/v1/messages": "messages", "/v1/chat/completions": "chat", "/v1/responses": "responses"}[path]
    stub.plan(gap_s=MAX_HELD_S + 5)
    async with start(endpoints=[endpoint(stub, dialects=(own,))]) as running:
        async with running.post(path, BODIES[path](stream=True)) as response:
            async with asyncio.timeout(MAX_HELD_S + 3):
                first = await response.content.readuntil(b"\n\n")
    assert b"created" in first or b"message_start" in first or b"assistant" in first


@pytest.mark.parametrize("path", BODIES)
async def test_an_error_in_mid_stream_counts_against_the_endpoint(start: Start, stub: StubUpstream, path: str) -> None:
    own = {"/v1/messages": "messages", "/v1/chat/completions": "chat", "/v1/responses": "responses"}[path]
    stub.plan(fails_midway=True)
    async with start(endpoints=[endpoint(stub, dialects=(own,))], breaker={"consecutive": 1}) as running:
        async with running.post(path, BODIES[path](stream=True)) as response:
            assert b"verloaded" in await response.read()
        clock = running.gateway.clock
        await wait_for(lambda: running.gateway.routes.statuses(clock.monotonic(), 0)[0].state == "out")


@pytest.mark.parametrize("path", BODIES)
async def test_a_last_event_without_its_blank_line_is_no_failure(start: Start, stub: StubUpstream, path: str) -> None:
    own = {"/v1/messages": "messages", "/v1/chat/completions": "chat", "/v1/responses": "responses"}[path]
    stub.plan(bare=True)
    async with start(endpoints=[endpoint(stub, dialects=(own,))], breaker={"consecutive": 1}) as running:
        async with running.post(path, BODIES[path](stream=True)) as response:
            found = events(await response.read() + b"\n\n")
        assert "error" not in str(found[-1]).replace("'error': None", "")
        clock = running.gateway.clock
        assert running.gateway.routes.statuses(clock.monotonic(), 0)[0].state == "ready"


async def test_a_stream_that_stalls_ends_with_an_error(start: Start, stub: StubUpstream) -> None:
    stub.plan(stalls="middle", events=20)
    async with start(endpoints=[endpoint(stub, dialects=("messages",), timeouts={"idle": 0.3})]) as running:
        async with running.post("/v1/messages", messages(stream=True)) as response:
            found = events(await response.read())
    assert found[-1]["type"] == "error"
    assert stub.requests[0].cancelled


async def test_signs_of_life_go_out_while_the_endpoint_thinks(start: Start, stub: StubUpstream) -> None:
    stub.always = Knobs(gap_s=1.3, events=1)
    limits = {"keep_alive": 1}
    async with start(endpoints=[endpoint(stub, dialects=("chat",))], limits=limits) as running:
        async with running.post("/v1/messages", messages(stream=True)) as response:
            assert b"event: ping" in await response.read()


async def test_a_malformed_event_does_not_hang_or_crash(start: Start, stub: StubUpstream) -> None:
    stub.always = Knobs(malformed=True)
    async with start(endpoints=[endpoint(stub)]) as running:
        async with running.post("/v1/messages", messages(stream=True)) as response:
            found = events(await response.read())
        assert found[-1]["type"] in ("error", "message_stop")
        assert running.gateway.limits.running == 0


async def test_a_wrong_certificate_is_never_accepted(start: Start, other: StubUpstream, tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path, "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with StubUpstream(tls=context) as stub:
        async with start(endpoints=both(stub, other), retries=ONCE) as running:
            async with running.post("/v1/messages", messages()) as response:
                assert response.status == 200
        assert stub.requests == []
        async with start(endpoints=[endpoint(stub)], retries=ONCE) as running:
            async with running.post("/v1/messages", messages()) as response:
                assert response.status == 502
                assert "certificate" in (await response.json())["error"]["message"]


async def test_an_endpoint_that_is_not_there(start: Start) -> None:
    async with StubUpstream() as gone:
        pass
    async with start(endpoints=[endpoint(gone)], retries=ONCE) as running:
        async with running.post("/v1/messages", messages()) as response:
            assert response.status == 502
            assert "one" in (await response.json())["error"]["message"]


@pytest.mark.parametrize("path", BODIES)
async def test_429_goes_to_the_client_with_its_retry_after(start: Start, stub: StubUpstream, path: str) -> None:
    stub.always = Knobs(status=429, headers=(("retry-after", "30"),), body=b'{"error":{"message":"slow down"}}')
    async with start(endpoints=[endpoint(stub)]) as running, running.post(path, BODIES[path]()) as response:
        assert response.status == 429
        assert response.headers["Retry-After"] == "30"
        assert "slow down" in await response.text()
    assert len(stub.requests) == 1


async def test_a_failure_is_tried_again_on_the_same_endpoint(start: Start, stub: StubUpstream) -> None:
    stub.plan(status=500, body=b"{}")
    async with start(endpoints=[endpoint(stub)]) as running:
        async with running.post("/v1/chat/completions", chat()) as response:
            assert response.status == 200
    assert len(stub.requests) == 2


async def test_the_clients_own_mistake_is_not_repeated(start: Start, stub: StubUpstream, other: StubUpstream) -> None:
    error = {"message": "max_tokens is too large", "type": "invalid_request_error", "param": "max_tokens"}
    body = msgspec.json.encode({"error": error})
    stub.plan(status=400, body=body)
    async with start(endpoints=both(stub, other)) as running:
        async with running.post("/v1/chat/completions", chat(max_tokens=10**9)) as response:
            assert response.status == 400
            assert await response.read() == body
    assert (len(stub.requests), other.requests) == (1, [])


async def test_a_refused_parameter_is_left_out_from_then_on(
    start: Start, stub: StubUpstream, other: StubUpstream
) -> None:
    refusal = {"error": {"message": "Unsupported parameter: 'seed' is not supported with this model.", "param": "seed"}}
    stub.plan(status=400, body=msgspec.json.encode(refusal))
    async with start(endpoints=both(stub, other), retries={"attempts": 1}) as running:
        for _ in range(2):
            async with running.post("/v1/chat/completions", chat(seed=1, temperature=0)) as response:
                assert response.status == 200
        facts = running.gateway.routes.learned.all(0)
        assert [(fact.endpoint, fact.topic, fact.detail) for fact in facts] == [("one", "parameter", "seed")]
        assert running.gateway.routes.statuses(0, 0)[0].state == "ready"
    assert ["seed" in seen.json for seen in stub.requests] == [True, False, False]
    assert other.requests == []


async def test_refused_stop_sequences_are_cut_by_the_gateway(start: Start, stub: StubUpstream) -> None:
    refusal = {"message": "Unsupported parameter: 'stop' is not supported with this model.", "param": "stop"}
    stub.plan(status=400, body=msgspec.json.encode({"error": refusal}))
    async with start(endpoints=[endpoint(stub)]) as running:
        for stream in (False, True):
            async with running.post("/v1/chat/completions", chat(stop=["xxxx"], stream=stream)) as response:
                assert response.status == 200
                assert b"xxxx" not in await response.read()
    assert ["stop" in seen.json for seen in stub.requests] == [True, False, False]


async def test_a_refused_signature_is_stripped_once(start: Start, stub: StubUpstream) -> None:
    error = {
        "type": "invalid_request_error",
        "message": "messages.1.content.0: Invalid `signature` in `thinking` block",
    }
    stub.plan(status=400, body=msgspec.json.encode({"type": "error", "error": error}))
    thinking = {"type": "thinking", "thinking": "hm", "signature": "c2ln"}
    turns = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [thinking, {"type": "text", "text": "b"}]},
        {"role": "user", "content": "c"},
    ]
    async with start(endpoints=[endpoint(stub, dialects=("messages",))]) as running:
        async with running.post("/v1/messages", messages(messages=turns)) as response:
            assert response.status == 200
    first, second = (seen.body for seen in stub.requests)
    assert b"c2ln" in first
    assert b"c2ln" not in second


async def test_a_dialect_that_is_missing_is_learned(start: Start, stub: StubUpstream) -> None:
    stub.plan(status=404, body=b'{"detail":"Not Found"}')
    async with start(endpoints=[endpoint(stub, dialects=("responses", "chat"))]) as running:
        for _ in range(2):
            async with running.post("/v1/responses", responses()) as response:
                assert response.status == 200
    assert [seen.path for seen in stub.requests] == ["/v1/responses", "/v1/chat/completions", "/v1/chat/completions"]


async def test_the_other_way_to_send_a_key_is_tried_and_learned(start: Start, stub: StubUpstream) -> None:
    stub.plan(status=401, body=b'{"error":{"message":"missing api key"}}')
    auth = {"api_key": "sk-upstream-000"}
    async with start(endpoints=[endpoint(stub, dialects=("messages",), auth=auth)]) as running:
        for _ in range(2):
            async with running.post("/v1/messages", messages()) as response:
                assert response.status == 200
    assert ["authorization" in seen.headers for seen in stub.requests] == [False, True, True]


async def test_a_refused_key_gives_way_to_the_next(start: Start, stub: StubUpstream) -> None:
    keys = [
        {"name": "first", "api_key": "sk-first-000", "weight": 1000},
        {"name": "second", "api_key": "sk-second-000"},
    ]
    stub.plan(status=402, body=b'{"error":{"message":"Insufficient Balance"}}')
    async with start(endpoints=[endpoint(stub, auth={"header": "bearer", "keys": keys})]) as running:
        for _ in range(3):
            async with running.post("/v1/chat/completions", chat()) as response:
                assert response.status == 200
    used = [seen.headers["authorization"] for seen in stub.requests]
    assert used[0] != used[1]
    assert len(set(used[1:])) == 1


async def test_an_upstream_401_is_not_the_clients(start: Start, stub: StubUpstream) -> None:
    stub.always = Knobs(status=401, body=b'{"error":{"message":"invalid api key sk-upstream-000"}}')
    auth = {"api_key": "sk-upstream-000", "header": "bearer"}
    async with start(endpoints=[endpoint(stub, auth=auth)]) as running:
        async with running.post("/v1/messages", messages()) as response:
            assert response.status == 502
            assert response.headers["x-should-retry"] == "false"
            assert "refused the gateway's key" in await response.text()


async def test_a_breaker_opens_and_says_when_to_come_back(start: Start, stub: StubUpstream) -> None:
    stub.always = Knobs(status=500, body=b"{}")
    async with start(endpoints=[endpoint(stub)], breaker={"consecutive": 2, "open_for": 20}) as running:
        async with running.post("/v1/messages", messages()) as response:
            assert response.status >= 500
        async with running.post("/v1/messages", messages()) as response:
            assert response.status == 503
            assert 15 <= int(response.headers["Retry-After"]) <= 20
    assert len(stub.requests) == 2


async def test_an_endpoint_that_is_back_is_noticed_without_a_client(start: Start, stub: StubUpstream) -> None:
    stub.plan(status=500, body=b"{}")
    stub.plan(status=500, body=b"{}")
    config: dict[str, Any] = {"breaker": {"consecutive": 2, "open_for": 200}, "health": {"interval": 1}}
    async with start(endpoints=[endpoint(stub)], **config) as running:
        async with running.post("/v1/chat/completions", chat()) as response:
            assert response.status >= 500

        def state() -> str:
            clock = running.gateway.clock
            return running.gateway.routes.statuses(clock.monotonic(), 0)[0].state

        assert state() == "out"
        await wait_for(lambda: state() == "ready")
    assert stub.requests[-1].path == "/v1/models"


async def test_one_conversation_stays_with_its_endpoint(start: Start, stub: StubUpstream, other: StubUpstream) -> None:
    config = [endpoint(stub, "one", TWO), endpoint(other, "two", TWO)]
    async with start(endpoints=config) as running:
        for _ in range(8):
            async with running.post("/v1/responses", responses(), session_id="s-1") as response:
                assert response.status == 200
    assert sorted((len(stub.requests), len(other.requests))) == [0, 8]


async def test_tags_lead_to_endpoints(start: Start, stub: StubUpstream, other: StubUpstream) -> None:
    config = [endpoint(stub, "one", TWO), endpoint(other, "two", TWO, tags=["deep"])]
    rules = [{"tags": ["deep"], "user_message": "think (hard|deeply)"}]
    async with start(endpoints=config, tagging={"rules": rules, "timeout": 5}) as running:
        for text in ("hello", "think hard"):
            async with running.post(
                "/v1/chat/completions", chat(messages=[{"role": "user", "content": text}])
            ) as response:
                assert response.status == 200
    assert [seen.json["messages"][0]["content"] for seen in other.requests] == ["think hard"]
    assert len(stub.requests) == 1


TOO_LONG = {"error": {"message": "This model's maximum context length is 8 tokens", "code": "context_length_exceeded"}}


@pytest.mark.parametrize("spoken", ["responses", "chat", "messages"])
async def test_codex_is_told_a_full_context_window_in_its_stream(start: Start, stub: StubUpstream, spoken: str) -> None:
    stub.always = Knobs(status=400, body=msgspec.json.encode(TOO_LONG))
    async with start(endpoints=[endpoint(stub, dialects=(spoken,))]) as running:
        async with running.post("/v1/responses", responses(stream=True), originator="codex_cli_rs") as response:
            found = events(await response.read())
            assert response.status == 200
            assert response.content_type == "text/event-stream"
        assert [one["type"] for one in found] == ["response.created", "response.in_progress", "response.failed"]
        assert found[-1]["response"]["error"]["code"] == "context_length_exceeded"
        # Anybody else, and who does not stream, gets the status.
        for body, headers in ((responses(stream=True), {}), (responses(), {"originator": "codex_cli_rs"})):
            async with running.post("/v1/responses", body, **headers) as response:
                assert response.status == 400
                assert (await response.json())["error"]["code"] == "context_length_exceeded"


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("spoken", ["responses", "chat", "messages"])
async def test_an_endpoint_that_does_not_stream(start: Start, stub: StubUpstream, path: str, spoken: str) -> None:
    stub.always = Knobs(whole=True)
    async with start(endpoints=[endpoint(stub, dialects=(spoken,))]) as running:
        async with running.post(path, BODIES[path](stream=True)) as response:
            assert response.content_type == "text/event-stream"
            got = await response.read()
    assert b"xxxxx" in got
    last = events(got)[-1]
    assert last == "[DONE]" or last["type"] in ("message_stop", "response.completed")
