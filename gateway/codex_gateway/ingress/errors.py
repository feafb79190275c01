"""Errors as the client's own dialect has them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from codex_gateway.config.endpoint import ClientKind
from codex_gateway.dialect.convert import error_answer, error_stream
from codex_gateway.dialect.neutral import Dialect, Error, ErrorKind
from codex_gateway.ingress.routes import dialect_of
from codex_gateway.upstream.call import Call, Unanswered

_encode = msgspec.json.Encoder().encode

_KINDS = {
    400: ErrorKind.BAD_REQUEST,
    401: ErrorKind.UNAUTHENTICATED,
    403: ErrorKind.PERMISSION,
    404: ErrorKind.NOT_FOUND,
    405: ErrorKind.BAD_REQUEST,
    408: ErrorKind.TIMEOUT,
    413: ErrorKind.TOO_LARGE,
    426: ErrorKind.BAD_REQUEST,
    429: ErrorKind.RATE_LIMIT,
    500: ErrorKind.INTERNAL,
    503: ErrorKind.OVERLOADED,
}


def error_dialect(path: str, headers: Mapping[str, str]) -> Dialect:
    """Whose form an error has: by the path, else by what only Anthropic's clients send."""
    return dialect_of(path) or (Dialect.MESSAGES if "anthropic-version" in headers else Dialect.CHAT)


def refuse(
    dialect: Dialect,
    status: int,
    message: str,
    *,
    retry_after_s: float | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> web.Response:
    """The gateway's own refusal."""
    return _response(
        dialect, status, Error(_KINDS[status], message, status=status, retry_after_s=retry_after_s), headers
    )


def unanswered(call: Call, error: Unanswered) -> web.Response:
    """What a client gets where no endpoint answered it."""
    dialect = call.dialect
    if call.stream and call.kind is ClientKind.CODEX and error.error.kind is ErrorKind.CONTEXT_LENGTH:
        told = error_stream(dialect, error.error, call.model, created_s=call.created_s, answer_id=call.entry.id)
        return web.Response(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-cache"}, body=told)
    if error.native is not None:
        status, kept, body = error.native
        return web.Response(status=status, headers=CIMultiDict(kept), body=body)
    return _response(dialect, error.status, error.error, error.headers)


def _response(dialect: Dialect, status: int, error: Error, more: Iterable[tuple[str, str]]) -> web.Response:
    status, headers, body = error_answer(dialect, status, error)
    told: CIMultiDict[str] = CIMultiDict(headers)
    for name, value in more:
        told.setdefault(name, value)
    if error.retry_after_s is not None:
        # A whole number of seconds, never less than what is meant (RFC 9110, 10.2.3).
        told.setdefault("Retry-After", str(math.ceil(error.retry_after_s)))
    told["Content-Type"] = "application/json"
    return web.Response(status=status, headers=told, body=_encode(body))
