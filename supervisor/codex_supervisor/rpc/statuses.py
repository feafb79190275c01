"""From errors to rich gRPC statuses: what, why, and what to do next, as a `google.rpc.ErrorInfo`."""

from __future__ import annotations

import grpc
from codex_control.errors import ERROR_DOMAIN, CodexError
from google.protobuf.any_pb2 import Any
from google.rpc import error_details_pb2, status_pb2

# The key under which gRPC carries a google.rpc.Status (https://grpc.io/docs/guides/error/#richer-error-model).
_DETAILS_KEY = "grpc-status-details-bin"

# HTTP/2 headers are small: gRPC refuses metadata past 16 KiB, and some of it from 8 KiB on. On the wire the details
# grow by a third (base64), and the message, which is in them too, up to three times (percent-encoding).
_MAX_FIELD_BYTES = 1000
_MAX_SENTENCE_BYTES = 800


def status_code(error: CodexError) -> grpc.StatusCode:
    """Return the gRPC status code of an error."""
    return grpc.StatusCode[error.status]


def trailing_metadata(error: CodexError) -> tuple[tuple[str, bytes], ...]:
    """Return the metadata that carries the error's details."""
    info = error_details_pb2.ErrorInfo(
        reason=error.reason,
        domain=ERROR_DOMAIN,
        metadata={
            "what": _bounded(error.what, _MAX_FIELD_BYTES),
            "why": _bounded(error.why, _MAX_FIELD_BYTES),
            "next": _bounded(error.next_step, _MAX_FIELD_BYTES),
        },
    )
    detail = Any()
    detail.Pack(info)
    status = status_pb2.Status(code=status_code(error).value[0], message=sentence(error), details=[detail])
    return ((_DETAILS_KEY, status.SerializeToString()),)


def sentence(error: CodexError) -> str:
    """Return the error as the status message: one bounded piece of text."""
    return _bounded(str(error), _MAX_SENTENCE_BYTES)


def _bounded(text: str, limit_bytes: int) -> str:
    # The name of a file may hold bytes that are no text.
    return text.encode(errors="replace")[:limit_bytes].decode(errors="ignore")
