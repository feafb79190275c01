"""From errors to rich gRPC statuses: what, why, and what to do next, as a `google.rpc.ErrorInfo`."""

from __future__ import annotations

import grpc
from codex_control.errors import ERROR_DOMAIN, CodexError
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2

# The key under which gRPC carries a google.rpc.Status (https://grpc.io/docs/guides/error/#richer-error-model).
_DETAILS_KEY = "grpc-status-details-bin"

# HTTP/2 headers are small: gRPC's default bound on all metadata is 8 KiB.
_MAX_FIELD_CHARACTERS = 1000


def status_code(error: CodexError) -> grpc.StatusCode:
    """Return the gRPC status code of an error."""
    return grpc.StatusCode[error.status]


def trailing_metadata(error: CodexError) -> tuple[tuple[str, bytes], ...]:
    """Return the metadata that carries the error's details."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=ERROR_DOMAIN,
        metadata={
            "what": error.what[:_MAX_FIELD_CHARACTERS],
            "why": error.why[:_MAX_FIELD_CHARACTERS],
            "next": error.next_step[:_MAX_FIELD_CHARACTERS],
        },
    )
    detail = Any()
    detail.Pack(info)
    status = status_pb2.Status(code=status_code(error).value[0], message=sentence(error), details=[detail])
    return ((_DETAILS_KEY, status.SerializeToString()),)


def sentence(error: CodexError) -> str:
    """Return the error as the status message: one bounded piece of text."""
    return str(error)[: 2 * _MAX_FIELD_CHARACTERS]
