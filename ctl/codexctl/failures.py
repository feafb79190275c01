"""Turns a gRPC error back into the `CodexError` that the service raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from codex_control.errors import (
    ERROR_DOMAIN,
    BadInput,
    CodexError,
    LimitExceeded,
    NotFound,
    ServiceUnavailable,
    TimedOut,
    WrongState,
    all_errors,
)

from codexctl.light_grpc import grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

_DETAILS_KEY = "grpc-status-details-bin"

# What grpc reports, without our details, when the other end went away under a call: a stopping server cancels its
# calls, a cut connection is UNAVAILABLE, a reset stream INTERNAL or UNKNOWN (which are bugs of the service otherwise).
_LOST = frozenset({grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED})
_RESET_MARKS = ("RST_STREAM", "Stream removed")
_LOOK = "`codexctl logs` shows what happened there"


def decode(error: grpc.RpcError) -> CodexError:
    """The error with its what, why and next step; the nearest class where the service did not say."""
    return _from_details(error) or _from_code(error.code(), error.details() or "")


def is_lost_connection(error: grpc.RpcError) -> bool:
    """Whether the connection broke, as opposed to the service having answered with an error."""
    if _from_details(error) is not None:
        return False
    return error.code() in _LOST or any(mark in (error.details() or "") for mark in _RESET_MARKS)


def lost_text(error: grpc.RpcError) -> str:
    """Why the connection broke, without what gRPC says of addresses that it tried."""
    details = error.details() or error.code().name
    return "the service does not answer" if "failed to connect" in details.lower() else details


def _from_details(error: grpc.RpcError) -> CodexError | None:
    metadata = cast("Iterable[tuple[str, bytes]]", error.trailing_metadata() or ())
    packed = next((value for key, value in metadata if key == _DETAILS_KEY), None)
    if packed is None:
        return None
    from google.protobuf.message import DecodeError
    from google.rpc.error_details_pb2 import ErrorInfo
    from google.rpc.status_pb2 import Status

    info = ErrorInfo()
    try:
        details = Status.FromString(packed).details
        if not any(detail.Unpack(info) and info.domain == ERROR_DOMAIN for detail in details):
            return None
    except DecodeError:
        return None
    said = info.metadata
    # An error of the service's own goes by its status.
    kind = all_errors().get(info.reason) or type(_from_code(error.code(), ""))
    return kind(said.get("what", ""), why=said.get("why", ""), next_step=said.get("next", ""))


def _from_code(code: grpc.StatusCode, details: str) -> CodexError:
    match code:
        case grpc.StatusCode.UNAVAILABLE:
            # What gRPC says of the connection helps nobody.
            return ServiceUnavailable("the service does not answer", next_step="`codexctl doctor` shows what is wrong")
        case grpc.StatusCode.DEADLINE_EXCEEDED:
            return TimedOut(
                "the service did not answer in time",
                next_step="`codexctl health` and `codexctl logs` show what it does",
            )
        case grpc.StatusCode.UNIMPLEMENTED:
            return WrongState(
                "the running service does not know this request",
                why="it is of another version than codexctl",
                next_step="`codexctl reload --exec` starts the installed version",
            )
        case grpc.StatusCode.INVALID_ARGUMENT:
            return BadInput(details, next_step=_LOOK)
        case grpc.StatusCode.NOT_FOUND:
            return NotFound(details, next_step=_LOOK)
        case grpc.StatusCode.RESOURCE_EXHAUSTED:
            return LimitExceeded(details, next_step=_LOOK)
        case grpc.StatusCode.FAILED_PRECONDITION | grpc.StatusCode.ALREADY_EXISTS | grpc.StatusCode.ABORTED:
            return WrongState(details, next_step=_LOOK)
        case _:
            pass
    return CodexError("the service failed", why=f"{code.name}: {details}", next_step=_LOOK)
