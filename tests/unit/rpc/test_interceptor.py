"""Around every call: counted once by method and code, and every error a rich status."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
import pytest
from codex_control.errors import BadInput, LimitExceeded
from codex_control.v1 import admin_pb2
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from tests.support.waiting import wait_for
from tests.unit.rpc.conftest import Served

CHECK = "/grpc.health.v1.Health/Check"
VERSION, LOGS = "/codex_control.v1.Admin/Version", "/codex_control.v1.Admin/Logs"


def info_of(error: grpc.aio.AioRpcError) -> error_details_pb2.ErrorInfo:
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info


async def wait_for_calls(served: Served, *calls: tuple[str, str]) -> None:
    """A call may be counted a moment after its client has the answer. Each took one look at the clock to the next."""
    await wait_for(lambda: served.calls == [(*call, 1.0) for call in calls], 2.0, f"{calls} to be counted")


def line(message: str) -> admin_pb2.LogsResponse:
    return admin_pb2.LogsResponse(message=message)


async def test_a_call_is_counted_with_its_time(served: Served) -> None:
    async def version(_: object) -> admin_pb2.VersionResponse:
        return admin_pb2.VersionResponse(version="1")

    served.service.version = version
    assert (await served.client.Version(admin_pb2.VersionRequest())).version == "1"
    await wait_for_calls(served, (VERSION, "OK"))


async def test_an_error_of_ours_is_a_rich_status(served: Served) -> None:
    async def version(_: object) -> admin_pb2.VersionResponse:
        raise LimitExceeded("the queue is full", why="32 turns wait", next_step="wait")

    served.service.version = version
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.client.Version(admin_pb2.VersionRequest())
    assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.details() == "the queue is full: 32 turns wait. Wait."
    info = info_of(raised.value)
    assert (info.reason, dict(info.metadata)) == (
        "LIMIT_EXCEEDED",
        {"what": "the queue is full", "why": "32 turns wait", "next": "wait"},
    )
    await wait_for_calls(served, (VERSION, "RESOURCE_EXHAUSTED"))


async def test_a_fault_of_ours_is_logged_and_says_nothing_of_its_insides(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    async def version(_: object) -> admin_pb2.VersionResponse:
        raise RuntimeError("the secret is 42")

    served.service.version = version
    with caplog.at_level(logging.ERROR), pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.client.Version(admin_pb2.VersionRequest())
    assert raised.value.code() is grpc.StatusCode.INTERNAL
    assert "RuntimeError" in (raised.value.details() or "")
    assert "42" not in (raised.value.details() or "")
    (record,) = [record for record in caplog.records if record.getMessage() == "call_failed"]
    assert record.exc_info is not None
    await wait_for_calls(served, (VERSION, "INTERNAL"))


async def test_a_stream_is_counted_at_its_end(served: Served) -> None:
    async def logs() -> AsyncIterator[admin_pb2.LogsResponse]:
        yield line("one")
        assert served.calls == []
        yield line("two")

    served.service.logs = logs
    assert [found.message async for found in served.client.Logs(admin_pb2.LogsRequest())] == ["one", "two"]
    await wait_for_calls(served, (LOGS, "OK"))


async def test_a_stream_that_fails_keeps_what_it_gave(served: Served) -> None:
    async def logs() -> AsyncIterator[admin_pb2.LogsResponse]:
        yield line("one")
        raise BadInput("that line is bad")

    served.service.logs = logs
    found: list[str] = []

    async def read() -> None:
        async for response in served.client.Logs(admin_pb2.LogsRequest()):
            found.append(response.message)

    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await read()
    assert (found, raised.value.code()) == (["one"], grpc.StatusCode.INVALID_ARGUMENT)
    await wait_for_calls(served, (LOGS, "INVALID_ARGUMENT"))


async def test_a_client_that_leaves_ends_the_stream_at_once(served: Served) -> None:
    left = asyncio.Event()

    async def logs() -> AsyncIterator[admin_pb2.LogsResponse]:
        try:
            yield line("one")
            await asyncio.Event().wait()
        finally:
            left.set()

    served.service.logs = logs
    call = served.client.Logs(admin_pb2.LogsRequest())
    assert (await call.read()).message == "one"
    call.cancel()
    await asyncio.wait_for(left.wait(), 5)
    await wait_for_calls(served, (LOGS, "CANCELLED"))


async def test_a_deadline_that_passes_is_counted_as_cancelled(served: Served) -> None:
    async def version(_: object) -> admin_pb2.VersionResponse:
        await asyncio.Event().wait()
        raise AssertionError

    served.service.version = version
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await served.client.Version(admin_pb2.VersionRequest(), timeout=0.05)
    assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    await wait_for_calls(served, (VERSION, "CANCELLED"))


async def test_names_that_a_client_makes_up_are_not_counted(served: Served) -> None:
    for name in ("/codex_control.v1.Admin/Explode", "/no.such.Service/Method", "/x"):
        call: Any = served.channel.unary_unary(name)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await call(b"")
        assert raised.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert served.calls == []


async def test_bytes_that_are_no_request_are_bad_input(served: Served) -> None:
    call: Any = served.channel.unary_unary(VERSION)
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call(b"\xff\xff\xff")
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert info_of(raised.value).reason == "BAD_INPUT"
    await wait_for_calls(served, (VERSION, "INVALID_ARGUMENT"))


async def test_grpcs_own_services_pass_through_and_keep_their_codes(served: Served) -> None:
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    await stub.Check(health_pb2.HealthCheckRequest())
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await stub.Check(health_pb2.HealthCheckRequest(service="unknown"))
    assert raised.value.code() is grpc.StatusCode.NOT_FOUND
    await wait_for_calls(served, (CHECK, "OK"), (CHECK, "NOT_FOUND"))


async def test_a_watch_of_the_health_service_works(served: Served) -> None:
    stub: Any = health_pb2_grpc.HealthStub(served.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
    watch.cancel()
    await wait_for(lambda: [code for _, code, _ in served.calls] == ["CANCELLED"], 2.0, "the call to be counted")
