"""Errors of endpoints and of the gateway: read from an HTTP answer, and written in the client's dialect."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec

from codex_gateway.dialect.chat import errors as openai
from codex_gateway.dialect.error_kinds import retry_after_s
from codex_gateway.dialect.malformed import MISSHAPEN
from codex_gateway.dialect.messages import errors as messages
from codex_gateway.dialect.neutral import Dialect, Error, ErrorKind, JsonObject

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_TEXT = 500
"""Characters of a body without JSON (a proxy's page) that are shown."""

_WAITS_HELP = frozenset((ErrorKind.RATE_LIMIT, ErrorKind.OVERLOADED, ErrorKind.UNAVAILABLE, ErrorKind.TIMEOUT))


def read_error(dialect: Dialect, status: int, headers: Mapping[str, str], body: bytes) -> Error:
    """What an endpoint's error answer means. `headers` must be looked up case-insensitively by the caller's mapping."""
    try:
        found = _error_in(body)
    except MISSHAPEN:
        found = None
    if found is None or not found.get("message"):
        text = body.decode("utf-8", "replace").strip()
        told = "" if not text or text.startswith("<") else f": {text[:_MAX_TEXT]}"
        found = {"message": f"The endpoint answered with status {status}{told}"}
    read = messages.read_error_object if dialect is Dialect.MESSAGES else openai.read_error_object
    try:
        error = read(found, status)
    except MISSHAPEN:
        error = read({"message": f"The endpoint answered with status {status}"}, status)
    wait_s = retry_after_s(headers)
    return msgspec.structs.replace(
        error,
        retry_after_s=error.retry_after_s if wait_s is None else wait_s,
        request_id=headers.get("request-id") or headers.get("x-request-id"),
    )


def _error_in(body: bytes) -> JsonObject | None:
    """The error object of a body in any common shape; None where there is none."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return None
    if isinstance(value, list) and value:
        # Google's OpenAI-compatible endpoint wraps it in a list.
        value = value[0]
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict) and error.get("message"):
        return error
    if isinstance(error, str):
        return {**value, "message": value.get("message") or error, "type": value.get("type") or error}
    detail = value.get("detail")
    if isinstance(detail, list):
        # FastAPI's validation errors.
        told = [
            f"{'.'.join(str(step) for step in one.get('loc', ()))}: {one.get('msg')}"
            for one in detail
            if isinstance(one, dict)
        ]
        return {"message": "; ".join(told), "param": _param_of(detail)}
    message = value.get("message") or detail or value.get("error_msg") or value.get("msg")
    return {**value, "message": message} if isinstance(message, str) else None


def _param_of(detail: list[Any]) -> str | None:
    place = detail[0].get("loc") if detail and isinstance(detail[0], dict) else None
    return ".".join(str(step) for step in place if step != "body") if isinstance(place, list) else None


def error_answer(dialect: Dialect, status: int, error: Error) -> tuple[int, dict[str, str], JsonObject]:
    """Status, headers and body of an error in the client's dialect.

    :param status: the status to give; 0: the one that fits the error in this dialect
    """
    written = messages if dialect is Dialect.MESSAGES else openai
    headers = {"content-type": "application/json"}
    if error.retry_after_s is not None and error.kind in _WAITS_HELP:
        # Whole seconds for everybody, milliseconds for the vendors' own clients.
        headers["retry-after"] = str(math.ceil(error.retry_after_s))
        headers["retry-after-ms"] = str(math.ceil(error.retry_after_s * 1000))
    if error.kind is ErrorKind.BILLING:
        # Clients retry a 429; here no wait helps.
        headers["x-should-retry"] = "false"
    if error.request_id:
        headers["request-id" if dialect is Dialect.MESSAGES else "x-request-id"] = error.request_id
    return status or written.status_of(error), headers, written.write_error(error)
