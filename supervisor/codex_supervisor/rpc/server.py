"""The gRPC server on its private Unix socket, with health and reflection."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
from codex_control.errors import ServiceUnavailable
from codex_control.paths import checked_socket_path
from codex_control.v1 import admin_pb2, claude_pb2, history_pb2, instances_pb2, tasks_pb2, turns_pb2
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

_log = logging.getLogger(__name__)

SERVICES: tuple[str, ...] = tuple(
    descriptor.services_by_name[name].full_name
    for descriptor, name in (
        (instances_pb2.DESCRIPTOR, "Instances"),
        (turns_pb2.DESCRIPTOR, "Turns"),
        (history_pb2.DESCRIPTOR, "History"),
        (claude_pb2.DESCRIPTOR, "Claude"),
        (tasks_pb2.DESCRIPTOR, "Tasks"),
        (admin_pb2.DESCRIPTOR, "Admin"),
    )
)
"""Full names of our services."""

_OPTIONS: tuple[tuple[str, int], ...] = (
    # Prompts are bounded by turns.prompt_limit (characters of up to 4 bytes): 8 MiB holds the largest.
    ("grpc.max_receive_message_length", 8 * 1024 * 1024),
    # A recorded answer may be as long as turns.answer_limit allows.
    ("grpc.max_send_message_length", -1),
    # Two servers on one port would share its connections; ours is a socket, and it is the only one.
    ("grpc.so_reuseport", 0),
)


_REFLECTION = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"].full_name


class _Reflection(reflection_pb2_grpc.ServerReflectionServicer):
    """gRPC's own reflection, loaded by its first call: it is for developers, and costs 0.9 MB."""

    async def ServerReflectionInfo(
        self, request_iterator: AsyncIterator[Any], context: grpc.aio.ServicerContext[Any, Any]
    ) -> AsyncIterator[Any]:
        from grpc_reflection.v1alpha import reflection

        servicer: Any = reflection.aio.ReflectionServicer((*SERVICES, health.SERVICE_NAME, _REFLECTION))
        async for response in servicer.ServerReflectionInfo(request_iterator, context):
            yield response


class _VanishedClients(logging.Filter):
    """Makes one quiet line of the traceback that gRPC logs where a client goes in the middle of an answer.

    Seen in grpcio 1.85's `_handle_exceptions` (aio/server.pyx.pxi). Nothing is wrong then.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Take the record out where it is one of these."""
        if record.exc_info and record.exc_info[0] is not None and record.exc_info[0].__name__ == "ExecuteBatchError":
            _log.debug("client_vanished", extra={"grpc": record.getMessage()})
            return False
        return True


_VANISHED_CLIENTS = _VanishedClients()


class ControlServer:
    """The server; `start` binds it, `stop` ends it after a grace period."""

    def __init__(self, socket: Path, interceptors: Sequence[grpc.aio.ServerInterceptor]) -> None:
        self.socket = socket
        self._bound: os.stat_result | None = None
        logging.getLogger("grpc._cython.cygrpc").addFilter(_VANISHED_CLIENTS)
        self.grpc = grpc.aio.server(interceptors=list(interceptors), options=list(_OPTIONS))
        self._health = health.aio.HealthServicer()
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self.grpc)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(_Reflection(), self.grpc)  # type: ignore[no-untyped-call]

    async def start(self) -> None:
        """Bind the socket with mode 0600 and serve. The caller holds the lock: gRPC would steal a live socket.

        Raises `BadConfig` for a path that is too long, `ServiceUnavailable` where it cannot be bound.
        """
        path = checked_socket_path(self.socket)
        self.socket.unlink(missing_ok=True)
        before = os.umask(0o177)
        try:
            # gRPC binds inside this call, so the mask holds for the socket.
            bound = self.grpc.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise ServiceUnavailable(
                what=f"the control socket {path} cannot be bound", why=str(error), next_step="check its directory"
            ) from error
        finally:
            os.umask(before)
        if not bound:
            raise ServiceUnavailable(what=f"the control socket {path} cannot be bound", next_step="check its directory")
        self._bound = self.socket.lstat()
        await self.grpc.start()

    @property
    def is_removed(self) -> bool:
        """Whether nobody's socket is in the place of ours any more."""
        return not os.path.lexists(self.socket)

    async def set_serving(self, serving: bool) -> None:
        """Answer health checks, for the whole and for each service."""
        state = health_pb2.HealthCheckResponse.SERVING if serving else health_pb2.HealthCheckResponse.NOT_SERVING
        for service in ("", *SERVICES):
            await self._health.set(service, state)

    async def stop(self, grace_s: float) -> None:
        """Take no new calls, give those under way `grace_s` seconds, and remove the socket."""
        await self._health.enter_graceful_shutdown()
        await self.grpc.stop(grace_s)
        with contextlib.suppress(OSError):
            # Another server may be bound there since ours was removed.
            if self._bound is not None and os.path.samestat(self._bound, self.socket.lstat()):
                self.socket.unlink()
