"""Around every call: its count and latency by method and code, and errors as rich statuses."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, Self

import grpc
import grpc.aio
from codex_control.errors import BadInput, CodexError
from codex_control.service.clock import Clock
from google.protobuf.message import DecodeError

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
            streaming = self._streaming if inspect.isasyncgenfunction(handler.unary_stream) else self._unary
            return grpc.unary_stream_rpc_method_handler(
                streaming(method, handler.unary_stream),
                request_deserializer=_careful(handler.request_deserializer),
                response_serializer=handler.response_serializer,
            )
        return grpc.unary_unary_rpc_method_handler(
            self._unary(method, handler.unary_unary),
            request_deserializer=_careful(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    # A streaming behaviour that is no generator writes to its context by itself: gRPC's own health service.
    def _unary(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> Any:
            with _Timed(self, method) as timed:
                try:
                    return await behaviour(_readable(request), context)
                except CodexError as error:
                    await timed.abort(context, error)
                except Exception as error:
                    await timed.abort_unexpected(context, error)

        return call

    def _streaming(self, method: str, behaviour: Any) -> Any:
        async def call(request: Any, context: grpc.aio.ServicerContext[Any, Any]) -> AsyncIterator[Any]:
            with _Timed(self, method) as timed:
                try:
                    # Closed at once where the client leaves, not when the collector comes by.
                    async with contextlib.aclosing(behaviour(_readable(request), context)) as responses:
                        async for response in responses:
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


class _Unreadable:
    """Stands in for a request that is not a message of the API: text that is not UTF-8, bytes that mean nothing."""


def _careful(decode: Callable[[bytes], Any] | None) -> Callable[[bytes], Any] | None:
    if decode is None:
        return None

    # gRPC answers INTERNAL by itself where this raises, and says nothing of what is wrong.
    def decoded(data: bytes) -> Any:
        try:
            return decode(data)
        except DecodeError:
            return _Unreadable()

    return decoded


def _readable(request: Any) -> Any:
    if isinstance(request, _Unreadable):
        raise BadInput(
            what="the request cannot be read",
            why="it is no message of this API, or a text in it is not UTF-8",
            next_step="send text as UTF-8",
        )
    return request


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
            self._code = context.code().name
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
