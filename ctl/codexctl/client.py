"""The gRPC side: one channel to the supervisor's Unix socket."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol, TypeVar

from google.protobuf.message import Message

from codexctl.failures import decode
from codexctl.light_grpc import ChannelOptions, grpc

Response_co = TypeVar("Response_co", bound=Message, covariant=True)
Answer = TypeVar("Answer", bound=Message)

# A request that only reads or notes something; the service answers within milliseconds.
QUICK_S = 15.0

_OPTIONS: tuple[tuple[str, object], ...] = (
    # The thread that iterates reads the stream itself: no hand-over between threads for each event.
    (ChannelOptions.SingleThreadedUnaryStream, 1),
    # A dead connection's back-off must not be inherited by the channel that replaces it.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    # Limits on answers are the service's to set; the default of 4 MiB here would cut a long one off.
    ("grpc.max_receive_message_length", -1),
)


class Stream(Protocol[Response_co]):
    """A server's stream: iterate, and cancel to leave. Iteration raises `grpc.RpcError`."""

    def __iter__(self) -> Iterator[Response_co]: ...

    def __next__(self) -> Response_co: ...

    def cancel(self) -> bool:
        """Leave the stream."""
        ...


class Client:
    """Calls to the supervisor. Closing it cancels its streams."""

    def __init__(self, socket_path: Path) -> None:
        self._channel = grpc.insecure_channel(f"unix:{socket_path}", options=_OPTIONS)
        # What was imported stays until the end: never look through it, look through what comes after it.
        gc.freeze()
        gc.enable()

    def call(
        self, method: str, request: Message, response: type[Answer], *, timeout_s: float | None = QUICK_S
    ) -> Answer:
        """Call `Service.Method` and return its response; raises the `CodexError` that the service answered with."""
        callable_ = self._channel.unary_unary(
            _full_name(method),
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        try:
            answer: Answer = callable_(request, timeout=timeout_s)
        except grpc.RpcError as error:
            raise decode(error) from error
        return answer

    def stream(self, method: str, request: Message, response: type[Answer]) -> Stream[Answer]:
        """Call `Service.Method` and return its stream."""
        callable_ = self._channel.unary_stream(
            _full_name(method),
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        stream: Stream[Answer] = callable_(request)
        return stream

    def messages(self, method: str, request: Message, response: type[Answer]) -> Iterator[Answer]:
        """Call `Service.Method` and yield what it streams; raises the `CodexError` that it ended with."""
        stream = self.stream(method, request, response)
        try:
            yield from stream
        except grpc.RpcError as error:
            raise decode(error) from error
        finally:
            stream.cancel()

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()


def _full_name(method: str) -> str:
    # Our own services are named without their package.
    service, name = method.rsplit(".", 1)
    return f"/{service}/{name}" if "." in service else f"/codex_control.v1.{service}/{name}"
