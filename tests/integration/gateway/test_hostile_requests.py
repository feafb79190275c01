"""What a program that means no good may send to the door, or have sent by a web page."""

# ruff: noqa: SIM117 (first a gateway, then requests to it: two steps)

from __future__ import annotations

import asyncio
import contextlib
import gzip
import logging
import socket
import threading
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.integration.gateway.conftest import BODIES, Running, Start, chat, endpoint, messages
from tests.support.stub_answers import Knobs, stream_events
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for

BODY = msgspec.json.encode(messages())


async def said(running: Running, request: bytes, *, until: bytes = b"") -> bytes:
    """What comes back for the bytes of a request, until the gateway closes the connection or has said `until`."""
    host, port = running.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    got = b""
    try:
        writer.write(request)
        async with asyncio.timeout(10):
            while not until or until not in got:
                data = await reader.read(65_536)
                if not data:
                    break
                got += data
    finally:
        writer.close()
    return got


def request(
    running: Running, *, line: bytes = b"POST /v1/messages HTTP/1.1", more: bytes = b"", body: bytes = BODY
) -> bytes:
    """A good request that closes its connection, plus `more` headers."""
    return b"%b\r\nHost: x\r\nConnection: close\r\nx-api-key: %b\r\n%bContent-Length: %d\r\n\r\n%b" % (
        line,
        running.token().encode(),
        more,
        len(body),
        body,
    )


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


async def test_lines_that_are_no_http_are_refused(start: Start, stub: StubUpstream, caplog: Any) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        token = running.token()
        good = request(running)
        under_token = f"POST /s/{token}/v1/messages".encode()
        for bad in (
            request(running, more=b"X-A: a\r\n b: folded\r\n"),
            request(running, more=b"X-A: a\rX-B: b\r\n"),
            request(running, more=b"X-A: a\0b\r\n"),
            request(running, more=b"X-A : b\r\n"),
            request(running, more=b"Content-Length: 79\r\n"),
            request(running, more=b"Host: y\r\n"),
            request(running, more=b"Transfer-Encoding: chunked, identity\r\n"),
            request(running, more=b"".join(b"X-%d: 1\r\n" % number for number in range(1000))),
            request(running, line=b"POST /v1/messages HTTP/3.0"),
            request(running, line=b"POST /v1/\xc3\xa9 HTTP/1.1"),
            request(running, line=under_token + b"/\xc3\xa9 HTTP/1.1"),
            request(running, line=under_token + b"?" + b"a" * 20_000 + b" HTTP/1.1"),
            good.replace(b"\r\n", b"\n"),
            good.replace(b"Host: x\r\n", b""),
        ):
            answer = await said(running, bad)
            assert status(answer) == 400, bad
            assert answer.count(b"HTTP/1.") == 1
            assert b"cannot be read" in answer or b"Content-Type: application/json" in answer
            assert token.encode() not in answer
        assert status(await said(running, good)) == 200
    assert len(stub.requests) == 1
    assert token not in caplog.text


async def test_tricks_with_the_path_open_nothing(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        token = running.token()
        for path, expected in (
            (f"/s/{token}/v1/messages", 200),
            (f"http://elsewhere.example/s/{token}/v1/messages", 200),
            (f"/s/{token}/../admin/state", 404),
            (f"/s/{token}/%2e%2e/admin/state", 404),
            (f"/s/{token}/s/{token}/v1/messages", 404),
            (f"/s/{token}/v1/messages%00", 404),
            (f"//s/{token}/v1/messages", 401),
            ("/s/wrong/v1/messages", 401),
            ("/s/wrong%2F../v1/messages", 401),
            ("/s/%2e%2e/v1/messages", 401),
            ("/s/healthz/../v1/messages", 401),
            ("/healthz/../v1/messages", 401),
            ("/v1/messages", 401),
        ):
            head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(BODY)}\r\n\r\n"
            assert status(await said(running, head.encode() + BODY)) == expected, path
        for path in (f"/s/{token}/admin/state", f"/s/{token}/metrics"):
            answer = await said(running, request(running, line=f"GET {path} HTTP/1.1".encode()))
            assert status(answer) == 403, path
    assert {seen.path for seen in stub.requests} == {"/v1/chat/completions"}


async def test_a_token_in_the_path_is_kept_nowhere(start: Start, stub: StubUpstream, caplog: Any) -> None:
    caplog.set_level(logging.DEBUG)
    stub.plan(Knobs())
    stub.plan(status=400, body=b'{"error":{"message":"no"}}')
    async with start(endpoints=[endpoint(stub)], records={"enabled": True, "bodies": "all"}) as running:
        token = running.token()
        for _ in range(2):
            async with running.http.post(f"{running.url}/s/{token}/v1/messages", json=messages()) as response:
                await response.read()
        assert token not in running.gateway.metrics.page().decode()
        state = running.gateway.paths.state_dir
    assert len(stub.requests) == 2
    for seen in stub.requests:
        assert token not in seen.path
        assert token not in str(seen.headers)
    files = [file for file in state.rglob("*") if file.is_file() and file.suffix != ".token"]
    assert any(file.suffix != ".json" for file in files)
    assert [file.name for file in files if token.encode() in file.read_bytes()] == []
    ours = [record for record in caplog.records if record.name.startswith(("codex_", "aiohttp"))]
    assert ours
    assert [record for record in ours if token in str(record.__dict__)] == []


async def test_a_web_page_learns_nothing(start: Start, stub: StubUpstream) -> None:
    """One that reaches the port, even under a name of its own, has no token, and no answer lets it read."""
    allowing = tuple(
        (f"access-control-{name}", "*")
        for name in ("allow-origin", "allow-credentials", "allow-headers", "allow-methods", "expose-headers", "max-age")
    )
    stub.always = Knobs(headers=allowing)
    page = {"Host": "rebound.example", "Origin": "http://rebound.example"}
    async with start(endpoints=[endpoint(stub, dialects=("messages",))]) as running:
        async with running.post("/v1/messages", messages(), **page) as response:
            assert response.status == 200
            assert [name for name in response.headers if name.lower().startswith("access-control-")] == []
        asks = {**page, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "x-api-key"}
        for method, path, expected in (
            ("OPTIONS", "/v1/messages", 401),
            ("POST", "/v1/messages", 401),
            ("GET", "/v1/models", 401),
            ("GET", "/metrics", 401),
            ("GET", "/healthz", 200),
        ):
            async with running.http.request(method, running.url + path, headers=asks) as response:
                assert response.status == expected
                assert [name for name in response.headers if name.lower().startswith("access-control-")] == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_packed_bodies(start: Start, stub: StubUpstream, encoding: str) -> None:
    pack = gzip.compress if encoding == "gzip" else zlib.compress
    packed = f"Content-Encoding: {encoding}\r\n".encode()
    async with start(endpoints=[endpoint(stub)], limits={"body": 100_000}) as running:
        assert status(await said(running, request(running, more=packed, body=pack(BODY)))) == 200
        assert status(await said(running, request(running, more=packed, body=pack(b" " * 10_000_000)))) == 413
        answer = await said(running, request(running, more=packed, body=b"no such thing"))
        assert status(answer) == 400
        assert b'"type":"error"' in answer
    assert len(stub.requests) == 1


async def test_a_connection_with_a_body_over_the_bound_ends(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)], limits={"body": 2048}) as running:
        packed = gzip.compress(b" " * 1_000_000)
        for body, more in ((b" " * 4000, b""), (packed, b"Content-Encoding: gzip\r\n")):
            sent = request(running, more=more, body=body).replace(b"Connection: close\r\n", b"")
            answer = await said(running, sent)
            assert status(answer) == 413
            assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("path", BODIES)
@pytest.mark.parametrize("depth", [100, 300, 480, 700, 950, 5000, 200_000])
async def test_nested_bodies(start: Start, stub: StubUpstream, path: str, depth: int) -> None:
    """Whatever cannot be taken apart any more is the client's mistake, never a failure of the gateway."""
    nested = b"[" * depth + b"]" * depth
    objects = b'{"properties":{"a":' * (depth // 2) + b"{}" + b"}}" * (depth // 2)
    schema = {"type": "function", "name": "t", "input_schema": "@", "parameters": "@"}
    tool: dict[str, Any] = {**schema, "function": {"name": "t", "parameters": "@"}}
    if path == "/v1/messages":
        tool = {"name": "t", "input_schema": "@"}
    turns = "input" if path == "/v1/responses" else "messages"
    bodies = [
        msgspec.json.encode(BODIES[path](**{turns: [{"role": "user", "content": "@"}]})).replace(b'"@"', nested),
        msgspec.json.encode(BODIES[path](metadata={"a": "@"})).replace(b'"@"', nested),
        msgspec.json.encode(BODIES[path](tools=[tool])).replace(b'"@"', objects),
    ]
    for dialect in ("messages", "chat", "responses"):
        async with start(endpoints=[endpoint(stub, dialects=(dialect,))]) as running:
            for body in bodies:
                line = f"POST {path} HTTP/1.1".encode()
                assert status(await said(running, request(running, line=line, body=body))) in (200, 400)
            async with running.post(path, BODIES[path]()) as response:
                assert response.status == 200


async def test_a_models_name_is_bounded(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        for length, expected in ((500, 200), (501, 400)):
            async with running.post("/v1/chat/completions", chat(model="m" * length)) as response:
                assert response.status == expected
    assert len(stub.requests) == 1


async def test_who_waits_to_be_asked_for_the_body_is(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        host, port = running.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request(running, more=b"Expect: 100-continue\r\n").removesuffix(BODY))
        async with asyncio.timeout(5):
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(BODY)
            assert status(await reader.read()) == 200
        writer.close()
        # Without a token nobody is asked.
        head = b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n"
        assert status(await said(running, head, until=b"\r\n\r\n")) == 401


async def test_a_head_or_body_that_comes_in_drops_is_not_waited_for(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)], limits={"header_timeout": 1}) as running:
        whole = request(running)
        host, port = running.url.removeprefix("http://").split(":")
        for at_once, expected in ((10, b""), (len(whole) - 60, b"HTTP/1.1 408")):
            reader, writer = await asyncio.open_connection(host, int(port))
            answer = asyncio.get_running_loop().create_task(_all_of(reader))
            writer.write(whole[:at_once])
            began = asyncio.get_running_loop().time()
            for number in range(at_once, len(whole)):
                writer.write(whole[number : number + 1])
                done, _ = await asyncio.wait({answer}, timeout=0.05)
                if done:
                    break
            assert answer.done()
            assert asyncio.get_running_loop().time() - began < 4
            assert answer.result()[:12] == expected
            writer.close()
    assert stub.requests == []


async def _all_of(reader: asyncio.StreamReader) -> bytes:
    """What came before the end; drops that are still on their way then are answered with a reset."""
    got = b""
    with contextlib.suppress(ConnectionResetError):
        while data := await reader.read(1024):
            got += data
    return got


async def test_headers_of_the_clients_connection_stay_here(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub, dialects=("messages",))]) as running:
        more = b"X-Before: 1\r\nX-Goes: 1\r\nConnection: X-Before , x-after\r\nX-After: 1\r\n"
        assert status(await said(running, request(running, more=more))) == 200
    seen = stub.requests[0].headers
    assert seen["x-goes"] == "1"
    assert not {"x-before", "x-after", "connection"} & set(seen)


async def test_the_watchdog_is_fed_only_while_the_records_answer(
    start: Start, stub: StubUpstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as manager:
        manager.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "150000")
        monkeypatch.delenv("WATCHDOG_PID", raising=False)

        def fed() -> int:
            count = 0
            while True:
                try:
                    count += manager.recv(4096) == b"WATCHDOG=1"
                except BlockingIOError:
                    return count

        go_on = threading.Event()
        async with start(endpoints=[endpoint(stub)]) as running:
            await wait_for(fed)
            records = running.gateway.records
            assert records is not None
            stuck = asyncio.get_running_loop().create_task(records._writer.call(lambda _: go_on.wait(20)))
            await wait_for(lambda: "watchdog_ping_left_out" in caplog.text)
            fed()
            caplog.clear()
            await wait_for(lambda: caplog.text.count("watchdog_ping_left_out") >= 2)
            assert fed() == 0
            go_on.set()
            assert await stuck
            await wait_for(fed)


async def test_overridden_headers_are_sent_once(start: Start, stub: StubUpstream) -> None:
    overrides = {"Host": "virtual.example", "content-type": "application/x", "user-agent": "me", "x-goes": None}
    async with start(endpoints=[endpoint(stub, dialects=("messages",), header_overrides=overrides)]) as running:
        assert status(await said(running, request(running, more=b"X-Goes: 1\r\nUser-Agent: you\r\n"))) == 200
    seen = stub.requests[0].headers
    assert (seen["host"], seen["content-type"], seen["user-agent"]) == ("virtual.example", "application/x", "me")
    assert "x-goes" not in seen


async def test_a_key_that_no_header_may_hold_is_the_endpoints_failure(
    start: Start, stub: StubUpstream, other: StubUpstream, tmp_path: Path
) -> None:
    key = tmp_path / "key"
    key.write_text("sk-one\r\nx-evil: 1")
    key.chmod(0o600)
    one = endpoint(stub, auth={"file": str(key)}, priority=1)
    async with start(endpoints=[one, endpoint(other, "two", priority=2)]) as running:
        async with running.post("/v1/messages", messages()) as response:
            assert response.status == 200
    assert stub.requests == []
    async with start(endpoints=[one]) as running:
        async with running.post("/v1/messages", messages()) as response:
            assert response.status == 502
            assert "sk-one" not in await response.text()


@pytest.mark.parametrize("path", BODIES)
async def test_a_chat_stream_without_its_last_line_is_whole(start: Start, stub: StubUpstream, path: str) -> None:
    """Contract case 16: the reason of the end was told, and that is what counts."""
    chunks = stream_events("/v1/chat/completions", Knobs(), "stub")
    assert chunks[-1] == b"data: [DONE]\n\n"
    for body in (b"".join(chunks[:-1]), b"".join(chunks[:-1]).rstrip(b"\n")):
        stub.always = Knobs(body=body, headers=(("content-type", "text/event-stream"),))
        async with start(endpoints=[endpoint(stub)]) as running:
            async with running.post(path, BODIES[path](stream=True)) as response:
                assert response.status == 200
                assert b"error" not in (data := await response.read()).replace(b'"error":null', b"")
                assert any(end in data for end in (b"[DONE]", b"message_stop", b"response.completed"))
            page = running.gateway.metrics.page().decode()
        assert 'codex_gateway_attempts_total{endpoint="one",outcome="ok"} 1.0' in page
        assert 'outcome="failed"' not in page
