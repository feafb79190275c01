"""Errors in OpenAI's form, which Chat Completions and Responses share."""

from __future__ import annotations

from typing import Any, Final

from codex_gateway.dialect.error_kinds import STATUSES, kind_of, wait_in_message_s
from codex_gateway.dialect.neutral import Error, ErrorKind, JsonObject

_BY_CODE: Final = {
    "context_length_exceeded": ErrorKind.CONTEXT_LENGTH,
    "insufficient_quota": ErrorKind.BILLING,
    "billing_hard_limit_reached": ErrorKind.BILLING,
    "billing_not_active": ErrorKind.BILLING,
    "usage_limit_reached": ErrorKind.BILLING,
    "rate_limit_exceeded": ErrorKind.RATE_LIMIT,
    "rate_limit_error": ErrorKind.RATE_LIMIT,
    "tokens": ErrorKind.RATE_LIMIT,
    "requests": ErrorKind.RATE_LIMIT,
    "server_is_overloaded": ErrorKind.OVERLOADED,
    "slow_down": ErrorKind.OVERLOADED,
    "overloaded_error": ErrorKind.OVERLOADED,
    "invalid_api_key": ErrorKind.UNAUTHENTICATED,
    "authentication_error": ErrorKind.UNAUTHENTICATED,
    "model_not_found": ErrorKind.NOT_FOUND,
    "not_found_error": ErrorKind.NOT_FOUND,
    "permission_error": ErrorKind.PERMISSION,
    "invalid_prompt": ErrorKind.BAD_REQUEST,
    "server_error": ErrorKind.INTERNAL,
    "internal_server_error": ErrorKind.INTERNAL,
    "timeout": ErrorKind.TIMEOUT,
}
"""OpenAI's codes and types that tell more than a status."""

_WORDS: Final = {
    ErrorKind.BAD_REQUEST: ("invalid_request_error", None),
    ErrorKind.UNAUTHENTICATED: ("authentication_error", "invalid_api_key"),
    ErrorKind.BILLING: ("insufficient_quota", "insufficient_quota"),
    ErrorKind.PERMISSION: ("permission_error", None),
    ErrorKind.NOT_FOUND: ("invalid_request_error", "model_not_found"),
    ErrorKind.TOO_LARGE: ("invalid_request_error", "request_too_large"),
    ErrorKind.CONTEXT_LENGTH: ("invalid_request_error", "context_length_exceeded"),
    ErrorKind.RATE_LIMIT: ("rate_limit_error", "rate_limit_exceeded"),
    ErrorKind.OVERLOADED: ("server_error", "server_is_overloaded"),
    ErrorKind.TIMEOUT: ("server_error", "timeout"),
    ErrorKind.UNAVAILABLE: ("server_error", "server_error"),
    ErrorKind.INTERNAL: ("server_error", "server_error"),
}


def read_error_object(error: Any, status: int | None = None) -> Error:
    """The `error` of a body, a chunk or a response: an object of any common shape, or a text."""
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        error = {}
    if isinstance(error.get("error"), dict):
        error = error["error"]
    message = error.get("message") or error.get("detail") or error.get("error")
    message = message if isinstance(message, str) else "The endpoint answered with an error."
    code = error.get("code")
    if status is None and isinstance(code, int) and 400 <= code < 600:
        # OpenRouter and others put the HTTP status there.
        status = code
    words = [word for word in (code, error.get("type")) if isinstance(word, str) and word]
    kind = next((_BY_CODE[word] for word in words if word in _BY_CODE), None)
    if kind is None or (kind is ErrorKind.RATE_LIMIT and kind_of(429, message) is ErrorKind.BILLING):
        kind = kind_of(status, message)
        if status is None and kind is ErrorKind.INTERNAL and "invalid_request_error" in words:
            kind = ErrorKind.BAD_REQUEST
    param = error.get("param")
    return Error(
        kind,
        message,
        status=status,
        retry_after_s=wait_in_message_s(message) if kind is ErrorKind.RATE_LIMIT else None,
        code=words[0] if words else None,
        param=param if isinstance(param, str) else None,
    )


def code_of(kind: ErrorKind) -> str | None:
    """OpenAI's code of a kind."""
    return _WORDS[kind][1]


def write_error(error: Error) -> JsonObject:
    """The body of an error answer, and the data of a chunk that tells one."""
    kind, code = _WORDS[error.kind]
    return {"error": {"message": error.message, "type": kind, "param": error.param, "code": code}}


def status_of(error: Error) -> int:
    """The HTTP status for a client of OpenAI's dialects."""
    if error.kind is ErrorKind.BILLING:
        return 429
    return STATUSES[error.kind]
