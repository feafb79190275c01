"""Around every call: its count and latency by method and code, and errors as rich statuses."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import grpc
import grpc.aio
from codex_control.errors import CodexError

from codex_supervisor.clock import Clock
from codex_supervisor.rpc.statuses import sentence, status_code, trailing_metadata

_log = logging.getLogger(__name__)

# Called with (method, status code name, seconds) at the end of every call.
OnCall = Callable[[str, str, float], None]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of our own services; health and reflection pass through it too."""

    def __init__(self, clock: Clock, on_call: OnCall) -> None:
        self._clock = clock
        self._on_call = on_call

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Return the method's handler, wrapped."""
        handler = await continuation(handler_call_details)
        # An unknown method has no handler; gRPC answers UNIMPLEMENTED by itself. Its name stays out of the metrics:
        # a client could make up any number of them.
        if handler is None or handler.request_streaming:
            return handler
        method: str = handler_call_details.method
        if handler.response_streaming:
            return grpc.unary_stream_rpc_method_handler(
                self._streaming(method, handler.unary_stream),
                request_deserializer=handler.request_deserializer,
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )

    def _unary(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            with _Timed(self, method) as timed:
                try:
                    return await behaviour(request, context)
                except CodexError as error:
                    await timed.abort(context, error)
                except Exception as error:
                    await timed.abort_unexpected(context, error)

        return call

    def _streaming(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            with _Timed(self, method) as timed:
                try:
                    async for response in behaviour(request, context):
                        yield response
                except CodexError as error:
                    await timed.abort(context, error)
                except Exception as error:
                    await timed.abort_unexpected(context, error)

        return call

    def ended(self, method: str, code: str, seconds: float) -> None:
        """Report one call."""
        self._on_call(method, code, seconds)

    def now(self) -> float:
        """Return the monotonic time."""
        return self._clock.monotonic()


class _Timed:
    def __init__(self, interceptor: CallInterceptor, method: str) -> None:
        self._interceptor = interceptor
        self._method = method
        self._code = "OK"
        self._started = interceptor.now()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._code == "OK":
            cancelled = issubclass(kind, (asyncio.CancelledError, GeneratorExit))
            self._code = "CANCELLED" if cancelled else "UNKNOWN"
        self._interceptor.ended(self._method, self._code, self._interceptor.now() - self._started)

    async def abort(self, context: grpc.aio.ServicerContext[Any, Any], error: CodexError) -> None:
        code = status_code(error)
        self._code = code.name
        await context.abort(code, sentence(error), trailing_metadata(error))

    async def abort_unexpected(self, context: grpc.aio.ServicerContext[Any, Any], error: Exception) -> None:
        if isinstance(error, grpc.aio.AbortError):  # a handler of gRPC's own services ended the call itself
            self._code = "UNKNOWN"
            raise error
        _log.error("call_failed", exc_info=error, extra={"method": self._method})
        await self.abort(
            context,
            CodexError(
                f"{self._method} failed inside the supervisor",
                why=type(error).__name__,
                next_step="see `codexctl logs`, and report it with that record",
            ),
        )
