"""Endpoints behind HTTP and SOCKS proxies."""

# ruff: noqa: SIM117 (first a gateway, then requests to it: two steps)

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.integration.gateway.conftest import Start, endpoint, messages
from tests.support.stub_upstream import StubUpstream


@asynccontextmanager
async def proxy(scheme: str, asked: list[str]) -> AsyncIterator[str]:
    """A proxy that knows CONNECT (http) or SOCKS 5, and notes what it was asked for."""
    tasks: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.CancelledError):
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        if scheme == "http":
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            place = head.split(" ")[1]
            answer = b"HTTP/1.1 200 Connection established\r\n\r\n"
        else:
            count = (await reader.readexactly(2))[1]
            await reader.readexactly(count)
            writer.write(b"\x05\x00")
            kind = (await reader.readexactly(4))[3]
            size = 4 if kind == 1 else (await reader.readexactly(1))[0]
            raw = await reader.readexactly(size)
            host = ".".join(map(str, raw)) if kind == 1 else raw.decode()
            place = f"{host}:{int.from_bytes(await reader.readexactly(2), 'big')}"
            answer = b"\x05\x00\x00\x01" + bytes(6)
        asked.append(place)
        host, _, port = place.rpartition(":")
        far_reader, far_writer = await asyncio.open_connection(host, int(port))
        writer.write(answer)
        await asyncio.gather(pump(reader, far_writer), pump(far_reader, writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@pytest.mark.parametrize("scheme", ["http", "socks5", "socks5h"])
async def test_requests_go_through_the_proxy(start: Start, stub: StubUpstream, scheme: str) -> None:
    asked: list[str] = []
    async with proxy("http" if scheme == "http" else "socks5", asked) as place:
        async with start(endpoints=[endpoint(stub, proxy=f"{scheme}://{place}")]) as running:
            for stream in (False, True):
                async with running.post("/v1/messages", messages(stream=stream)) as response:
                    assert response.status == 200, await response.text()
                    await response.read()
    assert asked == [f"127.0.0.1:{stub.port}"]


async def test_a_proxy_that_is_not_there_is_the_endpoints_failure(start: Start, stub: StubUpstream) -> None:
    for url in ("http://127.0.0.1:9", "socks5://127.0.0.1:9"):
        async with start(endpoints=[endpoint(stub, proxy=url)]) as running:
            async with running.post("/v1/messages", messages()) as response:
                assert response.status == 502
                assert "prox" in await response.text()
