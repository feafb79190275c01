"""Endpoints that do what no provider should: what their clients get, and what the records keep."""

# ruff: noqa: SIM117 (first a gateway, then requests to it: two steps)

from __future__ import annotations

import asyncio
import gzip
import socket
from pathlib import Path
from typing import Any

import msgspec
import pytest
from codex_gateway.record.query import Filter, opened

from tests.integration.gateway.conftest import BODIES, Running, Start, chat, endpoint, messages
from tests.support.stub_answers import Knobs
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for

RECORDS = {"bodies": "all"}


def completion(**more: Any) -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": "well"}, "finish_reason": "stop"}
    return msgspec.json.encode({"id": "c", "object": "chat.completion", "model": "m", "choices": [choice], **more})


def recorded(running: Running) -> list[Any]:
    with opened(running.gateway.paths.database) as records:
        return records.requests(Filter())


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("status", [301, 307])
async def test_a_redirect_is_nothing_for_the_client(start: Start, stub: StubUpstream, path: str, status: int) -> None:
    # The SDKs follow one, and take the client's token for the gateway along.
    stub.always = Knobs(
        status=status, body=b'{"moved":true}', headers=(("location", "http://127.0.0.1:1/v2?key=secret"),)
    )
    async with start(endpoints=[endpoint(stub, dialects=("chat", "messages", "responses"))]) as running:
        async with running.http.post(
            running.url + path, json=BODIES[path](), headers=running.headers(), allow_redirects=False
        ) as response:
            assert response.status == 502
            assert "location" not in response.headers
            said = await response.text()
    assert "leads elsewhere to http://127.0.0.1:1/v2 (status" in said
    assert "secret" not in said


@pytest.mark.parametrize("stream", [False, True])
async def test_a_packed_answer_is_named_as_one(start: Start, stub: StubUpstream, stream: bool) -> None:
    stub.always = Knobs(body=gzip.compress(completion()), headers=(("content-encoding", "gzip"),))
    async with start(endpoints=[endpoint(stub)]) as running:
        async with running.post("/v1/chat/completions", chat(stream=stream)) as response:
            assert response.status == 502
            assert "it packed its answer (gzip)" in await response.text()
        stub.always = Knobs(status=400, body=gzip.compress(b'{"error":{"message":"bad"}}'), headers=stub.always.headers)
        async with running.post("/v1/chat/completions", chat(stream=stream)) as response:
            assert response.status == 400
            assert (await response.text()).isascii()


@pytest.mark.parametrize("count", ["1" + "0" * 30, "1e400", "-5", "true", '"many"', "[]"])
async def test_a_count_of_tokens_that_is_none_stops_no_records(start: Start, stub: StubUpstream, count: str) -> None:
    usage = msgspec.Raw(f'{{"prompt_tokens":{count},"completion_tokens":2}}'.encode())
    stub.plan(body=completion(usage=usage))
    async with start(endpoints=[endpoint(stub)], records=RECORDS, retries={"attempts": 1}) as running:
        for _ in range(2):
            async with running.post("/v1/chat/completions", chat()) as response:
                await response.read()
            await wait_for(lambda: running.gateway.records and not running.gateway.records._ended)
        await wait_for(lambda: len(recorded(running)) == 2)
        assert running.gateway.records is not None
        await running.gateway.records.ping()


async def test_a_header_that_is_no_text_stops_no_records_and_no_tagger(
    start: Start, stub: StubUpstream, tmp_path: Path
) -> None:
    (tmp_path / "header_rules.py").write_text("def odd(request):\n    return '?' in request['headers']['session_id']\n")
    rules = [{"tags": ["odd"], "python": "header_rules:odd"}]
    tagging = {"python_path": [str(tmp_path)], "rules": rules, "timeout": "5s"}
    async with start(endpoints=[endpoint(stub, tags=["odd"])], records=RECORDS, tagging=tagging) as running:
        host, port = running.url.removeprefix("http://").split(":")
        body = msgspec.json.encode(chat())
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nx-api-key: %b\r\n"
            b"session_id: a\xffb\r\nContent-Length: %d\r\n\r\n%b" % (running.token().encode(), len(body), body)
        )
        assert (await reader.read()).startswith(b"HTTP/1.1 200")
        writer.close()
        await wait_for(lambda: [one.conversation for one in recorded(running)] == ["other|id:a\\udcffb"])


@pytest.mark.parametrize(
    ("path", "last"),
    [("/v1/messages", b"message_stop"), ("/v1/chat/completions", b"[DONE]"), ("/v1/responses", b"response.completed")],
)
@pytest.mark.parametrize("dialect", ["chat", "responses"])
async def test_a_client_that_leaves_with_the_last_event_has_its_answer(
    start: Start, stub: StubUpstream, path: str, last: bytes, dialect: str
) -> None:
    stub.always = Knobs(stalls="end")
    async with start(endpoints=[endpoint(stub, dialects=(dialect,))], records=RECORDS) as running:
        async with running.post(path, BODIES[path](stream=True)) as response:
            while last not in await response.content.readline():
                pass
            response.close()
        await wait_for(lambda: [one.outcome for one in recorded(running)] not in ([], [""]))
        (found,) = recorded(running)
        assert (found.outcome, found.status) == ("ok", 200)


async def test_a_whole_answer_does_not_wait_for_ever_for_its_reader(start: Start, stub: StubUpstream) -> None:
    stub.always = Knobs(body=completion(filler="x" * 20_000_000))
    async with start(endpoints=[endpoint(stub)], records=RECORDS, limits={"slow_reader_timeout": 1}) as running:
        host, port = running.url.removeprefix("http://").split(":")
        body = msgspec.json.encode(chat())
        loop = asyncio.get_running_loop()
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
            client.setblocking(False)
            await loop.sock_connect(client, (host, int(port)))
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nx-api-key: %b\r\nContent-Length: %d\r\n\r\n"
            await loop.sock_sendall(client, head % (running.token().encode(), len(body)) + body)
            await wait_for(lambda: [one.outcome for one in recorded(running)] == ["client_gone"], 20)
        (found,) = recorded(running)
        assert (found.outcome, found.error) == ("client_gone", "the client read nothing for 1 s")
        # Who reads gets it all.
        async with running.post("/v1/chat/completions", chat()) as response:
            assert len(await response.read()) == len(stub.always.body or b"")
        await wait_for(lambda: [one.outcome for one in recorded(running)] == ["ok", "client_gone"])


async def test_a_new_time_for_heads_holds_for_new_connections(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        running.write_config(endpoints=[endpoint(stub)], limits={"header_timeout": 1})
        running.gateway.reload()
        host, port = running.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /v1/mess")
        async with asyncio.timeout(5):
            assert await reader.read() == b""
        writer.close()
        async with running.post("/v1/messages", messages()) as response:
            assert response.status == 200


async def test_a_request_that_takes_long_is_recorded_as_one_that_runs(start: Start, stub: StubUpstream) -> None:
    stub.plan(stalls="middle")
    async with start(endpoints=[endpoint(stub)], records=RECORDS) as running:
        async with running.post("/v1/chat/completions", chat(stream=True)) as response:
            await response.content.readany()
            await wait_for(lambda: recorded(running))
            (found,) = recorded(running)
            assert (found.outcome, found.status) == ("", 0)
        await wait_for(lambda: [one.outcome for one in recorded(running)] == ["client_gone"])


async def test_a_failure_of_the_gateways_own_is_recorded_as_one(
    start: Start, stub: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise LookupError("a defect")

    async with start(endpoints=[endpoint(stub)], records=RECORDS) as running:
        monkeypatch.setattr(running.gateway.routes, "choose", broken)
        async with running.post("/v1/chat/completions", chat()) as response:
            assert response.status == 500
        await wait_for(lambda: [(one.outcome, one.status) for one in recorded(running)] == [("failed", 500)])


@pytest.mark.parametrize("status", [400, 403, 500])
async def test_a_key_that_an_endpoint_repeats_reaches_nobody(start: Start, stub: StubUpstream, status: int) -> None:
    key = "0f-of-no-known-form-0123456789"
    stub.always = Knobs(status=status, body=b'{"error":{"message":"not with %b"}}' % key.encode())
    config = [endpoint(stub, auth={"api_key": key})]
    async with start(endpoints=config, records=RECORDS, retries={"attempts": 1}) as running:
        for path in ("/v1/chat/completions", "/v1/messages"):
            async with running.post(path, BODIES[path]()) as response:
                said = await response.text()
                assert "not with [redacted]" in said
                assert key not in said
        await wait_for(lambda: len(recorded(running)) == 2)
        with opened(running.gateway.paths.database) as records:
            bodies = [body.text for one in records.requests(Filter()) for body in records.bodies(one)]
        assert any("[redacted]" in text for text in bodies)
        assert not any(key in text for text in bodies)


async def test_an_endpoint_whose_first_key_is_refused_is_found_well_with_another(
    start: Start, stub: StubUpstream
) -> None:
    keys = [{"name": name, "api_key": f"sk-{name}-0123456789"} for name in ("first", "second")]
    config = [endpoint(stub, auth={"header": "bearer", "keys": keys})]
    async with start(
        endpoints=config, breaker={"consecutive": 1, "open_for": 200}, health={"interval": 1}, retries={"attempts": 2}
    ) as running:
        stub.plan(status=401, body=b"{}")
        async with running.post("/v1/chat/completions", chat()) as response:
            assert response.status == 200
        refused = stub.requests[0].headers["authorization"]
        stub.plan(status=500, body=b"{}")
        async with running.post("/v1/chat/completions", chat()) as response:
            await response.read()
        await wait_for(lambda: stub.requests[-1].path == "/v1/models")
        assert stub.requests[-1].headers["authorization"] != refused


async def test_a_configuration_that_is_gone_takes_nothing_away(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        running.config_file.unlink()
        await wait_for(lambda: "is gone" in running.gateway.config_error)
        running.gateway.reload()
        async with running.post("/v1/chat/completions", chat()) as response:
            assert response.status == 200
        running.write_config(endpoints=[endpoint(stub)])
        await wait_for(lambda: not running.gateway.config_error)


async def test_a_kind_of_tool_that_is_refused_is_left_out_beside_tools_of_no_kind(
    start: Start, stub: StubUpstream
) -> None:
    stub.plan(status=400, body=b'{"error":{"message":"unsupported tool type: \'odd\'"}}')
    async with start(endpoints=[endpoint(stub)]) as running:
        async with running.post("/v1/chat/completions", chat(tools=[{"type": []}, {"type": "odd"}])) as response:
            assert response.status == 200
    assert [seen.json["tools"] for seen in stub.requests] == [[{"type": []}, {"type": "odd"}], [{"type": []}]]
