"""A gRPC server in this process, with the interceptor around a service that does what the test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import pytest
from codex_control.v1 import admin_pb2, admin_pb2_grpc
from codex_supervisor.rpc.interceptor import CallInterceptor
from grpc_health.v1 import health, health_pb2_grpc

Version = Callable[[grpc.aio.ServicerContext], Awaitable[admin_pb2.VersionResponse]]  # type: ignore[type-arg]
Logs = Callable[[], AsyncIterator[admin_pb2.LogsResponse]]


class TurnedClock:
    """Each look at it is one second later."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def monotonic(self) -> float:
        self.seconds += 1.0
        return self.seconds

    def wall_ns(self) -> int:
        raise AssertionError("durations are not measured with the wall clock")


class Service(admin_pb2_grpc.AdminServicer):
    """Admin, of which one unary and one streaming method do what the test says."""

    version: Version
    logs: Logs

    async def Version(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        return await self.version(context)

    async def Logs(self, request, context):  # type: ignore[no-untyped-def]  # noqa: N802
        async for response in self.logs():
            yield response


@dataclass
class Served:
    """The service, a client of it, and what the interceptor counted: (method, code, seconds)."""

    service: Service
    channel: grpc.aio.Channel
    calls: list[tuple[str, str, float]] = field(default_factory=list)

    @property
    def client(self) -> admin_pb2_grpc.AdminStub:
        return admin_pb2_grpc.AdminStub(self.channel)


@pytest.fixture
async def served(short_runtime_dir: Path) -> AsyncIterator[Served]:
    calls: list[tuple[str, str, float]] = []
    server = grpc.aio.server(interceptors=[CallInterceptor(TurnedClock(), lambda *call: calls.append(call))])
    service = Service()
    admin_pb2_grpc.add_AdminServicer_to_server(service, server)
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    address = f"unix:{short_runtime_dir / 'rpc.sock'}"
    server.add_insecure_port(address)
    await server.start()
    async with grpc.aio.insecure_channel(address) as channel:
        yield Served(service, channel, calls)
    await server.stop(0)
