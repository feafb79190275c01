"""The metrics page over a real socket."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import AsyncIterator

import pytest
from codex_control.errors import BadConfig
from codex_supervisor import metrics_server
from codex_supervisor.metrics import Metrics
from codex_supervisor.metrics_server import MAX_CONNECTIONS, MAX_HEAD_BYTES, MetricsServer, start_metrics_server
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

DEADLINE_S = 10.0


class Health:
    wrong = ""


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def server(health: Health) -> AsyncIterator[MetricsServer]:
    metrics = Metrics()
    metrics.set_build("1", "0.163.0")
    started = await start_metrics_server(metrics, 0, healthy=lambda: health.wrong)
    yield started
    await started.close()


async def exchange(server: MetricsServer, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send raw bytes; return status, headers and body."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        try:
            writer.write(request)
            head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        finally:
            writer.close()
            await writer.wait_closed()
    status, *lines = head.decode().split("\r\n")
    return int(status.split(" ")[1]), dict(line.lower().split(": ", 1) for line in lines), body


async def rest(reader: asyncio.StreamReader) -> bytes:
    """What still comes until the connection ends, in whichever way."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def get(
    server: MetricsServer, path: str, *headers: str, method: str = "GET", host: str = "127.0.0.1"
) -> tuple[int, dict[str, str], bytes]:
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", *headers, "", ""]
    return await exchange(server, "\r\n".join(lines).encode())


def openmetrics_names(page: str) -> set[str]:
    return {family.name for family in parse_openmetrics(page)}  # type: ignore[no-untyped-call]


async def test_the_page_is_prometheus_text(server: MetricsServer) -> None:
    status, headers, body = await get(server, "/metrics?x=1")
    assert status == 200
    assert headers["content-type"].startswith("text/plain; version=")
    assert int(headers["content-length"]) == len(body)
    names = {family.name for family in parse_text(body.decode())}
    assert "codex_supervisor_build_info" in names
    assert server.url == f"http://127.0.0.1:{server.port}/metrics"


async def test_the_page_is_openmetrics_where_asked(server: MetricsServer) -> None:
    _, headers, body = await get(
        server, "/metrics", "Accept: application/openmetrics-text;version=1.0.0,text/plain;q=0.5"
    )
    assert headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    assert "codex_supervisor_turns" in openmetrics_names(body.decode())


async def test_the_page_is_packed_where_asked(server: MetricsServer) -> None:
    _, headers, body = await get(server, "/metrics", "Accept-Encoding: gzip")
    assert headers["content-encoding"] == "gzip"
    assert b"codex_supervisor_build_info" in gzip.decompress(body)
    _, _, plain = await get(server, "/metrics")
    assert len(body) < len(plain) / 4


async def test_head_sends_no_body(server: MetricsServer) -> None:
    status, headers, body = await get(server, "/metrics", method="HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) > 1000


async def test_health_is_told(server: MetricsServer, health: Health) -> None:
    assert (await get(server, "/healthz"))[::2] == (200, b"ok\n")
    health.wrong = "the store was damaged"
    assert (await get(server, "/healthz"))[::2] == (503, b"the store was damaged\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS", "get", "X" * 100])
async def test_nothing_but_get_and_head_is_served(server: MetricsServer, method: str) -> None:
    status, headers, _ = await get(server, "/metrics", method=method)
    assert (status, headers["allow"]) == (405, "get, head")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1:9476", "LOCALHOST:1"])
async def test_our_own_names_are_served(server: MetricsServer, host: str) -> None:
    assert (await get(server, "/metrics", host=host))[0] == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "localhost:x", "", "127.0.0.1@evil", "0.0.0.0"]
)
async def test_a_name_that_is_not_ours_is_refused(server: MetricsServer, host: str) -> None:
    status, _, body = await get(server, "/metrics", host=host)
    assert status == 421
    assert b"codex_supervisor" not in body


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /metrics HTTP/1.1\r\n\r\n", 421),
        (b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n", 421),
        (b"nonsense\r\n\r\n", 400),
        (b"\xff\xfe\x00 / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
        (b"GET /none HTTP/1.1\r\nHost: localhost\r\n\r\n", 404),
        (b"GET /" + b"a" * (2 * MAX_HEAD_BYTES) + b" HTTP/1.1\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\n" + b"".join(b"H%d: x\r\n" % n for n in range(500)) + b"\r\n", 400),
    ],
)
async def test_a_bad_request_gets_its_status(server: MetricsServer, request_bytes: bytes, status: int) -> None:
    assert (await exchange(server, request_bytes))[0] == status


async def test_a_client_that_hangs_is_cut_off(server: MetricsServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_server, "REQUEST_TIMEOUT_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET /metrics HTTP/1.1\r\n")
    async with asyncio.timeout(DEADLINE_S):
        assert await rest(reader) == b""
    writer.close()


async def test_connections_past_the_limit_are_cut_off_and_places_become_free_again(server: MetricsServer) -> None:
    held = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(MAX_CONNECTIONS)]
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    async with asyncio.timeout(DEADLINE_S):
        assert await rest(reader) == b""
    writer.close()
    reader, writer = held.pop()
    writer.write(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    async with asyncio.timeout(DEADLINE_S):
        assert (await rest(reader)).endswith(b"ok\n")
    writer.close()
    assert (await get(server, "/healthz"))[0] == 200
    for _, writer in held:
        writer.close()


async def test_closing_ends_open_connections(health: Health) -> None:
    server = await start_metrics_server(Metrics(), 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"GET ")
    async with asyncio.timeout(DEADLINE_S):
        await server.close()
        assert await rest(reader) == b""
    writer.close()


async def test_a_taken_port_is_told_with_the_fix() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(BadConfig, match=rf"port {port} of 127.0.0.1 is taken.*Set metrics.port in config.yaml"):
            await start_metrics_server(Metrics(), port)


async def test_an_address_that_others_reach_is_refused() -> None:
    with pytest.raises(BadConfig, match="can be reached from outside"):
        await start_metrics_server(Metrics(), 0, address="0.0.0.0")
