"""Errors in Messages' form."""

from __future__ import annotations

from typing import Any, Final

from codex_gateway.dialect.error_kinds import STATUSES, kind_of, wait_in_message_s
from codex_gateway.dialect.neutral import Error, ErrorKind, JsonObject

_BY_TYPE: Final = {
    "invalid_request_error": ErrorKind.BAD_REQUEST,
    "authentication_error": ErrorKind.UNAUTHENTICATED,
    "billing_error": ErrorKind.BILLING,
    "permission_error": ErrorKind.PERMISSION,
    "not_found_error": ErrorKind.NOT_FOUND,
    "request_too_large": ErrorKind.TOO_LARGE,
    "rate_limit_error": ErrorKind.RATE_LIMIT,
    "timeout_error": ErrorKind.TIMEOUT,
    "overloaded_error": ErrorKind.OVERLOADED,
    "api_error": ErrorKind.INTERNAL,
}

_TYPES: Final = {
    ErrorKind.BAD_REQUEST: "invalid_request_error",
    ErrorKind.UNAUTHENTICATED: "authentication_error",
    ErrorKind.BILLING: "billing_error",
    ErrorKind.PERMISSION: "permission_error",
    ErrorKind.NOT_FOUND: "not_found_error",
    ErrorKind.TOO_LARGE: "request_too_large",
    ErrorKind.CONTEXT_LENGTH: "invalid_request_error",
    ErrorKind.RATE_LIMIT: "rate_limit_error",
    ErrorKind.OVERLOADED: "overloaded_error",
    ErrorKind.TIMEOUT: "timeout_error",
    ErrorKind.UNAVAILABLE: "api_error",
    ErrorKind.INTERNAL: "api_error",
}

TOO_LONG: Final = "prompt is too long"
"""By these words Claude Code knows that it has to compact the conversation."""


def read_error_object(error: Any, status: int | None = None) -> Error:
    """The `error` of a body or of an error event."""
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        error = {}
    if isinstance(error.get("error"), dict):
        error = error["error"]
    message = error.get("message")
    message = message if isinstance(message, str) else "The endpoint answered with an error."
    word = error.get("type")
    kind = _BY_TYPE.get(word) if isinstance(word, str) else None
    if kind is None or kind is ErrorKind.BAD_REQUEST:
        told = kind_of(400 if kind is not None else status, message)
        kind = told if kind is None or told is not ErrorKind.BAD_REQUEST else kind
    return Error(
        kind,
        message,
        status=status,
        retry_after_s=wait_in_message_s(message) if kind is ErrorKind.RATE_LIMIT else None,
        code=word if isinstance(word, str) else None,
    )


def write_error(error: Error) -> JsonObject:
    """The body of an error answer, and the data of an error event."""
    message = error.message
    if error.kind is ErrorKind.CONTEXT_LENGTH and TOO_LONG not in message.lower():
        message = f"{TOO_LONG}: {message}"
    return {
        "type": "error",
        "error": {"type": _TYPES[error.kind], "message": message},
        **({"request_id": error.request_id} if error.request_id else {}),
    }


def status_of(error: Error) -> int:
    """The HTTP status for a client of Messages."""
    return 529 if error.kind is ErrorKind.OVERLOADED else STATUSES[error.kind]
