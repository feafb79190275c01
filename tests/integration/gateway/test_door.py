"""What a request meets at the door: tokens, roles, routes, bounds; every refusal in the client's own dialect."""

# ruff: noqa: SIM117 (first a gateway, then requests to it: two steps)

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from codex_gateway.ingress.routes import ROUTES, Page
from codex_gateway.ingress.tokens import Role

from tests.integration.gateway.conftest import BODIES, Start, chat, endpoint, messages
from tests.support.stub_answers import Knobs
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for

OPEN = {Page.ROOT, Page.HEALTH, Page.READY}


def is_error_of(path: str, body: Any) -> bool:
    if path.startswith(("/v1/messages", "/messages")):
        return body["type"] == "error" and bool(body["error"]["type"]) and bool(body["error"]["message"])
    return bool(body["error"]["message"]) and "type" in body["error"]


async def test_every_route_demands_a_token(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        for route in ROUTES:
            for headers in (
                {},
                {"Authorization": "Bearer sk-cgw-wrong"},
                {"x-api-key": ""},
                {"Authorization": "Basic eA=="},
            ):
                async with running.http.request(route.method, running.url + route.path, headers=headers) as response:
                    if route.page in OPEN:
                        assert response.status == 200, route
                    else:
                        assert response.status == 401, route
                        assert is_error_of(route.path, await response.json()), route
        assert {route.page for route in ROUTES if route.role is None} == OPEN
    assert stub.requests == []


async def test_a_role_opens_its_own_routes_alone(start: Start, stub: StubUpstream) -> None:
    names = {Role.CLIENT: "other", Role.VIEWER: "metrics", Role.ADMIN: "admin"}
    async with start(endpoints=[endpoint(stub)]) as running:
        for route in ROUTES:
            for role, name in names.items():
                headers = running.headers(name)
                async with running.http.request(route.method, running.url + route.path, headers=headers) as response:
                    allowed = route.role is None or role in (route.role, Role.ADMIN)
                    assert (response.status not in (401, 403)) == allowed, (route, role)


async def test_a_revoked_token_is_worth_nothing(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        headers = running.headers("codex")
        async with running.http.get(f"{running.url}/v1/models", headers=headers) as response:
            assert response.status == 200
        running.gateway.tokens.revoke("codex")
        async with running.http.get(f"{running.url}/v1/models", headers=headers) as response:
            assert response.status == 401


async def test_tokens_are_kept_as_hashes_and_private_files(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        directory = running.gateway.paths.token_dir
        assert {file.stat().st_mode & 0o777 for file in directory.iterdir()} == {0o600}
        assert running.token() not in running.gateway.tokens.file.read_text()


@pytest.mark.parametrize(
    ("path", "body", "named"),
    [
        ("/v1/messages", b"{", "JSON"),
        ("/v1/messages", b"[]", "object"),
        ("/v1/messages", b'{"messages":[]}', "`model` is missing"),
        ("/v1/messages", b'{"model":"m"}', "`messages` is missing"),
        ("/v1/messages", b'{"model":"m","messages":[7]}', "messages[0]"),
        ("/v1/chat/completions", b'{"model":"m","messages":{}}', "`messages` must be a list"),
        ("/v1/chat/completions", b'{"model":7,"messages":[]}', "`model` must be a text"),
        ("/v1/responses", b'{"model":"m","input":7}', "`input` must be a text or a list"),
        ("/v1/responses", b'{"model":"m","input":"a","stream":"yes"}', "`stream` must be true or false"),
        ("/v1/messages", b'{"model":"m","messages":' + b"[" * 100_000, "JSON"),
    ],
)
async def test_a_wrong_body_is_told_by_its_path(
    start: Start, stub: StubUpstream, path: str, body: bytes, named: str
) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        async with running.http.post(running.url + path, data=body, headers=running.headers()) as response:
            answer = await response.json()
    assert response.status == 400
    assert is_error_of(path, answer)
    assert named in answer["error"]["message"] or "nested" in answer["error"]["message"]
    assert stub.requests == []


async def test_unknown_paths_and_methods(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        async with running.http.get(f"{running.url}/v1/messages", headers=running.headers()) as response:
            assert (response.status, response.headers["Allow"]) == (405, "POST")
            assert is_error_of("/v1/messages", await response.json())
        async with running.http.get(f"{running.url}/nothing", headers=running.headers()) as response:
            assert response.status == 404
            assert is_error_of("/nothing", await response.json())
        upgrade = {**running.headers("codex"), "Upgrade": "websocket", "Connection": "Upgrade"}
        async with running.http.get(f"{running.url}/v1/responses", headers=upgrade) as response:
            assert response.status == 426


@pytest.mark.parametrize("path", BODIES)
async def test_a_body_over_the_bound_is_refused(start: Start, stub: StubUpstream, path: str) -> None:
    async with start(endpoints=[endpoint(stub)], limits={"body": 2048}) as running:

        async def pieces() -> Any:
            for _ in range(100):
                yield b" " * 1000

        for data in (b" " * 5000, pieces()):
            async with running.http.post(running.url + path, data=data, headers=running.headers()) as response:
                assert response.status == 413
                assert is_error_of(path, await response.json())


async def test_a_body_that_does_not_come_is_not_waited_for(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)], limits={"header_timeout": 1}) as running:
        host, port = running.url.removeprefix("http://").split(":")
        head = f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: {running.token()}\r\nContent-Length: 9\r\n\r\n"
        for sent, expected in ((head.encode(), b"HTTP/1.1 408"), (head.encode()[:30], b"")):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(sent)
            async with asyncio.timeout(5):
                got = await reader.read()
            writer.close()
            await writer.wait_closed()
            assert got[:12] == expected


@pytest.mark.parametrize(
    "head",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: +3\r\n",
        b"Transfer-Encoding: xchunked\r\n",
        b"X-Long: " + b"a" * 70_000 + b"\r\n",
        b"Bad Header: x\r\n",
    ],
)
async def test_smuggled_requests_are_refused(start: Start, stub: StubUpstream, head: bytes) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        host, port = running.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        token = running.token().encode()
        writer.write(b"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: " + token + b"\r\n" + head + b"\r\n{}\n")
        async with asyncio.timeout(5):
            got = await reader.read()
        writer.close()
        await writer.wait_closed()
    assert got.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400")), got[:100]
    assert got.count(b"HTTP/1.") == 1
    assert stub.requests == []


@pytest.mark.parametrize("path", BODIES)
async def test_a_tokens_limits_hold(start: Start, stub: StubUpstream, path: str) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        one = running.gateway.tokens.add("one", Role.CLIENT, requests_per_minute=1)
        day = running.gateway.tokens.add("day", Role.CLIENT, tokens_per_day=10)
        for token in (one, day):
            for status in (200, 429):
                headers = {"x-api-key": token}
                async with running.http.post(running.url + path, json=BODIES[path](), headers=headers) as response:
                    assert response.status == status
                    if status == 429:
                        assert int(response.headers["Retry-After"]) >= 1
                        assert is_error_of(path, await response.json())


async def test_requests_at_once_are_bounded(start: Start, stub: StubUpstream) -> None:
    stub.plan(stalls="head")
    async with start(endpoints=[endpoint(stub)], limits={"concurrent": 1}) as running:
        hanging = asyncio.get_running_loop().create_task(running.post("/v1/chat/completions", chat()).__aenter__())
        await wait_for(lambda: stub.requests)
        async with running.post("/v1/messages", messages()) as response:
            assert response.status == 503
            assert response.headers["Retry-After"] == "1"
            assert (await response.json())["error"]["type"] == "overloaded_error"
        hanging.cancel()
        await wait_for(lambda: running.gateway.limits.running == 0)
        async with running.post("/v1/chat/completions", chat()) as response:
            assert response.status == 200


async def test_metrics_tell_requests_by_endpoint_client_and_outcome(start: Start, stub: StubUpstream) -> None:
    stub.plan(Knobs())
    stub.plan(Knobs(status=400, body=b'{"error":{"message":"no"}}'))
    async with start(endpoints=[endpoint(stub)]) as running:
        for _ in range(2):
            async with running.post("/v1/chat/completions", chat(), **{"User-Agent": "codex_exec/1"}) as response:
                await response.read()
        async with running.http.get(f"{running.url}/metrics", headers=running.headers("metrics")) as response:
            page = await response.text()
    labels = 'client="codex",dialect="chat",endpoint="one",outcome='
    assert f'codex_gateway_requests_total{{{labels}"ok"}} 1.0' in page
    assert f'codex_gateway_requests_total{{{labels}"failed"}} 1.0' in page
    assert 'codex_gateway_tokens_total{endpoint="one",kind="output"} 12.0' in page
    assert 'codex_gateway_endpoint_up{endpoint="one"} 1.0' in page
    assert "codex_gateway_first_byte_seconds_bucket" in page
