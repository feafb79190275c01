"""Clients that read slowly, go away, or come by the hundred; and how the gateway ends."""

# ruff: noqa: SIM117 (first a gateway, then requests to it: two steps)

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml
from codex_gateway.record.query import Filter, opened

from tests.integration.gateway.conftest import Start, chat, endpoint, events, messages
from tests.support.stub_answers import Knobs
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for

MIB = 1024 * 1024


def resident_bytes(pid: int) -> int:
    """Memory of a process."""
    fields = Path(f"/proc/{pid}/statm").read_text().split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE")


def request_bytes(path: str, token: str, body: Any) -> bytes:
    data = msgspec.json.encode(body)
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nx-api-key: {token}\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dialect", ["messages", "chat"])
async def test_a_slow_reader_slows_its_endpoint_and_grows_nothing(
    tmp_path: Path, stub: StubUpstream, dialect: str
) -> None:
    # 50 MB of answer; the gateway is a process of its own, so that its memory is its own.
    stub.always = Knobs(events=5000, event_bytes=10_000)
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"listen": {"port": 0}, "endpoints": [endpoint(stub, dialects=(dialect,))]}))
    path.chmod(0o600)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _SERVE, str(tmp_path), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    try:
        address = tmp_path / "run" / "address"
        await wait_for(address.exists, 20)
        host, port = address.read_text().strip().removeprefix("http://").split(":")
        token = (tmp_path / "state" / "tokens" / "other.token").read_text().strip()
        before = resident_bytes(process.pid)
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 * 1024)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, (host, int(port)))
        await loop.sock_sendall(client, request_bytes("/v1/messages", token, messages(stream=True)))
        await wait_for(lambda: stub.requests and stub.requests[0].sent_bytes > 100_000)
        sent = -1
        while sent != stub.requests[0].sent_bytes:  # until everything on the way is full
            sent = stub.requests[0].sent_bytes
            await asyncio.sleep(0.2)
        # What the kernel's socket buffers hold is megabytes; the answer has 50.
        assert sent < 20 * MIB, "the endpoint was not slowed"
        got, most, tail = 0, 0, b""
        while b"message_stop" not in tail:
            data = await asyncio.wait_for(loop.sock_recv(client, 256 * 1024), 10)
            assert data
            got += len(data)
            tail = tail[-200:] + data
            most = max(most, resident_bytes(process.pid))
        client.close()
        assert got > 50_000_000
        assert most - before < 24 * MIB, f"it grew by {(most - before) / MIB:.1f} MiB"
    finally:
        process.send_signal(signal.SIGTERM)
        _, said = await process.communicate()
    assert process.returncode == 0, said


_SERVE = """
import sys
from pathlib import Path
from codex_gateway.gateway import serve
from codex_gateway.paths import GatewayPaths
home = Path(sys.argv[1])
sys.exit(serve(GatewayPaths(home / "config.yaml", home / "state", home / "run")))
"""


async def test_a_client_that_goes_away_cancels_its_request(start: Start, stub: StubUpstream) -> None:
    stub.plan(stalls="head")
    stub.plan(gap_s=0.05, events=10_000)
    async with start(endpoints=[endpoint(stub)]) as running:
        for stream in (False, True):
            reader, writer = await asyncio.open_connection(*running.url.removeprefix("http://").split(":"))
            writer.write(request_bytes("/v1/messages", running.token(), messages(stream=stream)))
            if stream:
                await reader.readuntil(b"content_block_delta")
            else:
                await wait_for(lambda: stub.requests)
            writer.close()
            await writer.wait_closed()
            await wait_for(lambda: stub.requests[-1].cancelled, 2)
        await wait_for(lambda: running.gateway.limits.running == 0)
        assert not running.gateway.forwarder.streams
        # Nobody but the client is to blame.
        assert running.gateway.routes.statuses(0, 0)[0].state == "ready"


async def test_a_client_that_reads_nothing_is_closed(start: Start, stub: StubUpstream) -> None:
    stub.always = Knobs(events=5000, event_bytes=10_000)
    async with start(endpoints=[endpoint(stub)], limits={"slow_reader_timeout": 1}) as running:
        _, writer = await asyncio.open_connection(*running.url.removeprefix("http://").split(":"), limit=1024)
        writer.write(request_bytes("/v1/messages", running.token(), messages(stream=True)))
        await wait_for(lambda: stub.requests)
        await wait_for(lambda: running.gateway.limits.running == 0, 10)
        await wait_for(lambda: stub.requests[0].cancelled)
        writer.transport.abort()


async def test_draining_lets_streams_end_and_takes_no_more(start: Start, stub: StubUpstream) -> None:
    stub.always = Knobs(events=10, gap_s=0.05)
    async with start(endpoints=[endpoint(stub)], drain={"timeout": 10}) as running:
        async with running.post("/v1/messages", messages(stream=True)) as response:
            running.stop.set()
            await wait_for(lambda: running.gateway.ingress.draining)
            async with running.post("/v1/messages", messages()) as refused:
                assert refused.status == 503
                assert "Retry-After" in refused.headers
            async with running.http.get(f"{running.url}/readyz") as ready:
                assert ready.status == 503
            assert events(await response.read())[-1]["type"] == "message_stop"
        await running.task


async def test_the_end_of_the_drain_is_told_in_the_clients_dialect(start: Start, stub: StubUpstream) -> None:
    stub.always = Knobs(events=10_000, gap_s=0.05)
    async with start(endpoints=[endpoint(stub)], drain={"timeout": 0}) as running:
        async with running.post("/v1/messages", messages(stream=True)) as response:
            running.stop.set()
            assert events(await response.read())[-1]["type"] == "error"
        await running.task


async def test_who_waits_for_an_answer_at_the_end_of_the_drain_is_told(start: Start, stub: StubUpstream) -> None:
    stub.always = Knobs(stalls="head")
    async with start(endpoints=[endpoint(stub)], drain={"timeout": 0.2}, records={"enabled": True}) as running:
        asked = [
            asyncio.create_task(running.post("/v1/messages", messages(stream=stream)).__aenter__())
            for stream in (False, True)
        ]
        await wait_for(lambda: len(stub.requests) == 2)
        began = asyncio.get_running_loop().time()
        running.stop.set()
        for response in await asyncio.gather(*asked):
            assert response.status == 503
            assert "Retry-After" in response.headers
            assert "stopping" in (await response.json())["error"]["message"]
            response.release()
        await running.task
        assert asyncio.get_running_loop().time() - began < 5
        with opened(running.gateway.paths.database) as records:
            assert [(one.outcome, one.status) for one in records.requests(Filter())] == [("failed", 503)] * 2


async def test_a_new_configuration_holds_at_once_and_drops_no_stream(
    start: Start, stub: StubUpstream, other: StubUpstream
) -> None:
    stub.plan(events=20, gap_s=0.02)
    async with start(endpoints=[endpoint(stub)]) as running:
        async with running.post("/v1/messages", messages(stream=True)) as response:
            running.write_config(endpoints=[endpoint(other)])
            running.gateway.reload()
            async with running.post("/v1/messages", messages()) as second:
                assert second.status == 200
            assert events(await response.read())[-1]["type"] == "message_stop"
    assert (len(stub.requests), len(other.requests)) == (1, 1)


async def test_a_wrong_configuration_changes_nothing_and_says_so(start: Start, stub: StubUpstream) -> None:
    async with start(endpoints=[endpoint(stub)]) as running:
        running.config_file.write_text("endpoints:\n  - nam: x\n")
        await wait_for(lambda: running.gateway.config_error)
        assert "nam" in running.gateway.config_error
        async with running.post("/v1/chat/completions", chat()) as response:
            assert response.status == 200
        running.write_config(endpoints=[endpoint(stub)])
        await wait_for(lambda: not running.gateway.config_error)


async def test_a_defect_in_reading_a_configuration_ends_no_gateway(
    start: Start, stub: StubUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: Path) -> None:
        raise LookupError("a defect")

    async with start(endpoints=[endpoint(stub)]) as running:
        monkeypatch.setattr("codex_gateway.gateway.load_config", broken)
        running.config_file.write_text("# changed\n")
        await wait_for(lambda: "a defect" in running.gateway.config_error)
        async with running.post("/v1/chat/completions", chat()) as response:
            assert response.status == 200


async def test_hundreds_of_streams_at_once(start: Start, stub: StubUpstream) -> None:
    # The minute with a thousand streams is a benchmark: `make bench ARGS=gateway-load`.
    count = 200
    stub.always = Knobs(events=40, gap_s=0.1)
    async with start(endpoints=[endpoint(stub)]) as running:
        host, port = running.url.removeprefix("http://").split(":")
        request = request_bytes("/v1/messages", running.token(), messages(stream=True))

        async def one() -> bytes:
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(request)
            got = await reader.readuntil(b"\r\n0\r\n\r\n")
            writer.close()
            await writer.wait_closed()
            return got

        async with asyncio.TaskGroup() as group:
            answers = [group.create_task(one()) for _ in range(count)]
            await wait_for(lambda: running.gateway.limits.running == count)
    assert all(answer.result().count(b"text_delta") == 40 for answer in answers)
    assert all(b"message_stop" in answer.result() for answer in answers)
