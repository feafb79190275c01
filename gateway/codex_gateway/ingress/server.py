"""The HTTP server: from a request on loopback to the answer of an endpoint, at the client's pace.

aiohttp reads the requests. Its `keepalive_timeout` also bounds how long a head may take; the body has a time limit of
its own here. A client that goes away cancels its handler, which closes the connection to the endpoint. A client that
reads slowly makes `write` wait, and who waits does not read from the endpoint.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from codex_control.errors import BadInput
from codex_control.service.clock import Clock
from multidict import CIMultiDict

from codex_gateway.config.endpoint import ClientKind
from codex_gateway.config.model import LimitsConfig
from codex_gateway.dialect.neutral import Dialect, ErrorKind, Usage
from codex_gateway.ingress.body import read_body
from codex_gateway.ingress.client_kind import client_kind
from codex_gateway.ingress.errors import error_dialect, refuse, unanswered
from codex_gateway.ingress.keeping import Keep, keep_streamed, keep_whole, wanted
from codex_gateway.ingress.limits import DRAIN_RETRY_S, Limits
from codex_gateway.ingress.recording import Entry, Recorder
from codex_gateway.ingress.routes import Page, Route, find, split_token
from codex_gateway.ingress.tokens import Role, Token, Tokens
from codex_gateway.metrics import Metrics
from codex_gateway.route.affinity import conversation_id
from codex_gateway.upstream.answer import Stream, Whole
from codex_gateway.upstream.call import Call, Unanswered, refusal
from codex_gateway.upstream.forward import Forwarder

_log = logging.getLogger(__name__)

Tagger = Callable[[Call, web.BaseRequest, str], Awaitable[frozenset[str]]]
Models = Callable[[Dialect, ClientKind, web.BaseRequest], Awaitable[web.StreamResponse]]
CountTokens = Callable[[Call], Awaitable[int]]
AdminPages = Callable[[Page, web.BaseRequest], Awaitable[web.Response]]


@dataclass(kw_only=True)
class Ingress:
    """What a request meets on its way in. The parts are handed in by the composition root."""

    clock: Clock
    tokens: Tokens
    limits: Limits
    bounds: LimitsConfig
    forwarder: Forwarder
    recorder: Recorder
    metrics: Metrics
    tagger: Tagger | None
    models: Models
    count_tokens: CountTokens
    keep: Keep
    admin: AdminPages
    not_ready: Callable[[], str] = lambda: ""
    """Why no model request can be served; empty where they can."""
    draining: bool = field(default=False, init=False)
    _asking: set[asyncio.Task[Any]] = field(default_factory=set, init=False)
    """Requests whose answer has not begun."""
    _cut: set[asyncio.Task[Any]] = field(default_factory=set, init=False)
    _id_prefix: str = field(default_factory=lambda: secrets.token_hex(6), init=False)
    _id_numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1), init=False)

    def __repr__(self) -> str:
        return f"<Ingress running={self.limits.running}{' draining' if self.draining else ''}>"

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        path_token, path = split_token(request.path)
        try:
            return await self._route(request, path, path_token)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except RecursionError:
            return self._refuse(error_dialect(path, request.headers), 400, _TOO_DEEP)
        except Exception:
            _log.exception("request_failed", extra={"path": path[:200]})
            return self._refuse(error_dialect(path, request.headers), 500, _FAILED)

    async def _route(self, request: web.BaseRequest, path: str, path_token: str) -> web.StreamResponse:
        found = find(request.method, path)
        route = found if isinstance(found, Route) else None
        if route is not None and route.role is None:
            return self._open_page(route.page)
        token = self._token(request, path_token)
        # Who shows no token does not even learn which paths there are.
        if token is None:
            return self._refuse(
                error_dialect(path, request.headers),
                401,
                "the gateway wants one of its own tokens (not an endpoint's key): `codex-gateway setup` writes it into "
                "the client's settings",
                headers=(("WWW-Authenticate", 'Bearer realm="codex-gateway"'),),
            )
        if route is None:
            methods = found if isinstance(found, tuple) else ()
            dialect = error_dialect(path, request.headers)
            if methods:
                allowed = ", ".join(methods)
                return self._refuse(dialect, 405, f"{path} takes {allowed}", headers=(("Allow", allowed),))
            return self._refuse(dialect, 404, f"the gateway has no {path[:200]}")
        dialect = route.dialect or error_dialect(path, request.headers)
        if route.role is not None and not token.may(route.role):
            return self._refuse(
                dialect, 403, f"the token {token.name} is for {token.role}, and {path} for {route.role}"
            )
        if route.role is Role.ADMIN:
            return await self.admin(route.page, request)
        match route.page:
            case Page.MODEL | Page.COUNT_TOKENS:
                return await self._model(request, route, path, token)
            case Page.MODELS:
                return await self.models(dialect, client_kind(request.headers, dialect, token.client), request)
            case Page.UPGRADE:
                if request.headers.get("Upgrade", "").lower() != "websocket":
                    return self._refuse(dialect, 405, f"{path} takes POST", headers=(("Allow", "POST"),))
                return self._refuse(dialect, 426, "no WebSocket here: use POST", headers=(("Upgrade", "HTTP/1.1"),))
            case Page.METRICS:
                return web.Response(body=self.metrics.page(), headers={"Content-Type": _PROMETHEUS})
            case page:
                return self._open_page(page)

    def _open_page(self, page: Page) -> web.Response:
        if page is Page.READY and (why := "it is stopping" if self.draining else self.not_ready()):
            return web.Response(status=503, text=f"{why}\n")
        return web.Response(text="" if page is Page.ROOT else "ok\n")

    def _token(self, request: web.BaseRequest, path_token: str) -> Token | None:
        if path_token:
            return self.tokens.check(path_token)
        headers = request.headers
        scheme, _, text = headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and text:
            return self.tokens.check(text.strip())
        text = headers.get("x-api-key", "")
        return self.tokens.check(text) if text else None

    def _refuse(
        self,
        dialect: Dialect,
        status: int,
        message: str,
        retry_after_s: float | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> web.Response:
        self.metrics.refused(status)
        response = refuse(dialect, status, message, retry_after_s=retry_after_s, headers=headers)
        if headers == _CLOSE:
            response.force_close()  # aiohttp does not go by the header
        return response

    # --- model requests -----------------------------------------------------------------------------------------------

    async def _model(self, request: web.BaseRequest, route: Route, path: str, token: Token) -> web.StreamResponse:
        dialect = route.dialect or Dialect.CHAT
        if self.draining:
            return self._refuse(dialect, 503, _STOPPING, DRAIN_RETRY_S, _CLOSE)
        refused = self.limits.begin(token)
        if refused is not None:
            status = 503 if refused.everybody else 429
            return self._refuse(dialect, status, refused.why, refused.retry_after_s)
        used = 0
        try:
            try:
                call = await self._read(request, route, path, token, dialect)
            except _Refusal as refusal:
                return self._refuse(dialect, refusal.status, refusal.message, None, refusal.headers)
            began_s = self.clock.monotonic()
            try:
                return await self._serve(request, call, began_s)
            except (ConnectionError, asyncio.CancelledError):
                if not call.entry.outcome:
                    call.entry.status, call.entry.outcome = 499, "client_gone"
                raise
            except Exception:
                call.entry.status, call.entry.outcome, call.entry.error = 500, "failed", _FAILED
                raise
            finally:
                used = self._ended(call.entry, began_s)
        finally:
            self.limits.end(token, used)

    async def _read(self, request: web.BaseRequest, route: Route, path: str, token: Token, dialect: Dialect) -> Call:
        length = request.content_length
        if length is not None and length > self.bounds.body:
            raise _Refusal(413, self._too_large(), _CLOSE)
        try:
            if request.content.is_eof():  # it came with its head; a timer would only cost
                raw = request.content.read_nowait()
                if len(raw) > self.bounds.body:
                    raise _Refusal(413, self._too_large(), _CLOSE)
            else:
                async with asyncio.timeout(self.bounds.header_timeout):
                    if request.headers.get("Expect", "").lower() == "100-continue":
                        await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                        request.writer.output_size = 0  # the answer has not begun
                    raw = await request.read()
        except TimeoutError:
            raise _Refusal(408, f"the body did not come within {self.bounds.header_timeout:g} s", _CLOSE) from None
        except web.HTTPRequestEntityTooLarge:
            raise _Refusal(413, self._too_large(), _CLOSE) from None
        except web.HTTPException as error:
            raise _Refusal(400, error.text or "the body cannot be read", _CLOSE) from None
        except (web.RequestPayloadError, HttpProcessingError):
            raise _Refusal(400, "the body is not encoded as its head says", _CLOSE) from None
        try:
            body = read_body(raw, dialect)
        except BadInput as error:
            raise _Refusal(400, str(error)) from None
        kind = client_kind(request.headers, dialect, token.client)
        entry = Entry(
            id=f"{self._id_prefix}{next(self._id_numbers):x}",
            at_ns=self.clock.wall_ns(),
            token=token.name,
            kind=kind,
            dialect=dialect,
            path=path,
            model=body["model"],
            stream=body.get("stream") is True,
            conversation=conversation_id(dialect, request.headers, body, token.name),
            bytes_in=len(raw),
            body=raw[: self.recorder.body_limit],
        )
        call = Call(
            entry=entry,
            dialect=dialect,
            kind=kind,
            raw_headers=request._message.raw_headers,
            headers=request.headers,
            query=request.rel_url.raw_query_string.encode("ascii"),
            raw=raw,
            body=body,
            model=entry.model,
            began_s=self.clock.monotonic(),
            stream=entry.stream and route.page is Page.MODEL,
            conversation=entry.conversation,
            count_tokens=route.page is Page.COUNT_TOKENS,
        )
        if self.tagger is not None:
            call.tags = await self.tagger(call, request, path)
            entry.tags = tuple(sorted(call.tags))
        return call

    def _too_large(self) -> str:
        return f"the body has more than {self.bounds.body} bytes, the gateway's limit (`limits.body`)"

    async def _serve(self, request: web.BaseRequest, call: Call, began_s: float) -> web.StreamResponse:
        entry = call.entry
        self.recorder.begun(entry)
        try:
            try:
                answer = await self._ask(call)
            except Unanswered as error:
                if call.count_tokens and error.status == 404:
                    return await self._count_tokens(call)
                raise
        except Unanswered as error:
            entry.outcome, entry.error = "failed", error.error.message[:1000]
            response = unanswered(call, error)
            entry.status = response.status
            return response
        except BadInput as error:
            entry.outcome, entry.error, entry.status = "refused", str(error)[:1000], 400
            return self._refuse(call.dialect, 400, str(error))
        except RecursionError:
            entry.outcome, entry.error, entry.status = "refused", _TOO_DEEP, 400
            return self._refuse(call.dialect, 400, _TOO_DEEP)
        entry.first_byte_s = self.clock.monotonic() - began_s
        self.recorder.first_byte(entry)
        if isinstance(answer, Whole):
            return await self._whole(request, call, answer)
        return await self._stream(request, call, answer)

    async def _ask(self, call: Call) -> Whole | Stream:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 (a coroutine runs in one)
        self._asking.add(task)
        try:
            return await self.forwarder.ask(call)
        except asyncio.CancelledError:
            if task not in self._cut:
                raise
            task.uncancel()
            raise refusal(503, ErrorKind.OVERLOADED, _STOPPING, DRAIN_RETRY_S) from None
        finally:
            self._asking.discard(task)
            self._cut.discard(task)

    def cut(self) -> None:
        """The gateway stops: who still waits for an answer to begin is refused, now."""
        self._cut |= self._asking
        for task in self._asking:
            task.cancel()

    async def _count_tokens(self, call: Call) -> web.Response:
        count = await self.count_tokens(call)
        call.entry.status, call.entry.outcome = 200, "ok"
        return web.json_response({"input_tokens": count})

    async def _whole(self, request: web.BaseRequest, call: Call, answer: Whole) -> web.StreamResponse:
        entry, body = call.entry, answer.body
        entry.usage = answer.usage
        if wanted(call):
            (keep_streamed if call.stream else keep_whole)(self.keep, call, body)
        headers = CIMultiDict(answer.headers)
        headers.setdefault("Content-Type", "application/json")
        piece = self.bounds.stream_buffer // 4
        if len(body) <= piece:
            response: web.StreamResponse = web.Response(status=answer.status, headers=headers, body=body)
        else:
            # aiohttp would wait for its reader for ever.
            headers["Content-Length"] = str(len(body))
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            view = memoryview(body)
            for start in range(0, len(body), piece):
                await self._write(request, response, view[start : start + piece], entry)
            await self._write(request, response, b"", entry)
        entry.status, entry.outcome, entry.bytes_out = answer.status, "ok", len(body)
        return response

    async def _write(
        self, request: web.BaseRequest, response: web.StreamResponse, data: bytes | memoryview, entry: Entry
    ) -> None:
        """Write a piece, or the end where it is empty. Raises `ConnectionResetError` where nobody reads."""
        work = response.write(data) if data else response.write_eof()
        transport = request.transport
        if transport is None or (
            transport.get_write_buffer_size() == 0 and len(data) <= self.bounds.stream_buffer // 4
        ):  # it does not wait; a timer would only cost
            await work
            return
        slow_s = self.bounds.slow_reader_timeout
        try:
            async with asyncio.timeout(slow_s):
                await work
        except TimeoutError:
            entry.error = f"the client read nothing for {slow_s:g} s"
            transport.abort()
            raise ConnectionResetError(entry.error) from None

    async def _stream(self, request: web.BaseRequest, call: Call, answer: Stream) -> web.StreamResponse:
        entry = call.entry
        headers = CIMultiDict(answer.headers)
        headers["Content-Type"] = "text/event-stream"
        headers["Cache-Control"] = "no-cache"
        response = web.StreamResponse(status=answer.status, headers=headers)
        try:
            await response.prepare(request)
            data = answer.first
            keeps = wanted(call)
            while data:
                if keeps:
                    keep_streamed(self.keep, call, data)
                entry.bytes_out += len(data)
                await self._write(request, response, data, entry)
                if answer.conversion.outcome is not None:
                    _told(entry, answer)  # Codex leaves when it has the last event, before the end of the body
                data = await answer.next()
            await self._write(request, response, b"", entry)
            _told(entry, answer)
        finally:
            entry.usage = answer.usage
            answer.close()
        return response

    def _ended(self, entry: Entry, began_s: float) -> int:
        entry.duration_s = self.clock.monotonic() - began_s
        self.metrics.ended(entry)
        self.recorder.ended(entry)
        # The records hold all of them; a line for each would take a quarter of the gateway's time.
        level = logging.DEBUG if entry.outcome != "failed" else logging.WARNING
        if _log.isEnabledFor(level):
            _log.log(
                level,
                "request",
                extra={
                    "id": entry.id,
                    "client": entry.kind.value,
                    "model": entry.model[:200],
                    "endpoint": entry.endpoint,
                    "attempts": len(entry.attempts),
                    "status": entry.status,
                    "outcome": entry.outcome,
                    "duration_s": round(entry.duration_s, 3),
                },
            )
        usage: Usage | None = entry.usage
        return 0 if usage is None else usage.whole_input + usage.output


def _told(entry: Entry, answer: Stream) -> None:
    """Write down what the client was told."""
    entry.status, entry.outcome = answer.status, "ok"
    outcome = answer.conversion.outcome
    if answer.failure is not None:
        entry.outcome, entry.error = "failed", answer.failure.why
    elif outcome is not None and outcome.error is not None:
        entry.outcome, entry.error = "failed", outcome.error.message[:1000]


class _Refusal(Exception):
    def __init__(self, status: int, message: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        self.status = status
        self.message = message
        self.headers = headers
        super().__init__(message)


_CLOSE = (("Connection", "close"),)
_TOO_DEEP = "the body is nested too deeply"
_STOPPING = "the gateway is stopping"
_FAILED = "the gateway itself failed; its log says more"
_PROMETHEUS = "text/plain; version=0.0.4; charset=utf-8"
