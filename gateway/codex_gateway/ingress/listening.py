"""The listening side: aiohttp's server with the gateway's bounds, and what is told of requests that cannot be read."""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.streams import StreamReader
from aiohttp.web_protocol import RequestHandler
from codex_control.service.redaction import redact

from codex_gateway.dialect.neutral import Dialect
from codex_gateway.ingress.errors import refuse
from codex_gateway.ingress.server import Ingress

_log = logging.getLogger(__name__)

MAX_HEAD_LINE_BYTES = 16 * 1024
"""Request line, and each header: Claude Code's list of betas passes 1 KiB."""
MAX_CONNECTIONS_OVER = 64
"""Connections beyond the bound on requests: for health, metrics and refusals."""


class _Handler(RequestHandler):
    """One connection."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """See aiohttp. Its own logs and repeats the line that could not be read, in which a token may stand."""
        if status < 500:
            _log.info("unreadable_request", extra={"why": type(exc).__name__})
            # Behind the first line they quote what came.
            why = (
                "a line of its head is too long" if isinstance(exc, LineTooLong) else (message or "").partition("\n")[0]
            )
            message = f"the request cannot be read: {redact(why).rstrip(':')[:200]}"
        else:
            status = 500
            if isinstance(exc, ConnectionError):
                # The client is gone, or was closed for reading nothing: its record tells.
                _log.debug("client_gone", extra={"why": str(exc)})
            else:
                _log.error("request_failed", exc_info=exc)
            message = "the gateway itself failed; its log says more"
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun")
        response = refuse(Dialect.CHAT, status, message)
        response.force_close()
        return response


class Server(web.Server):
    """The listening side: as many connections as requests may run, and some more."""

    def __init__(self, ingress: Ingress) -> None:
        loop = asyncio.get_running_loop()

        def make(
            message: RawRequestMessage,
            payload: StreamReader,
            protocol: RequestHandler,
            writer: AbstractStreamWriter,
            task: asyncio.Task[None],
        ) -> web.BaseRequest:
            return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=ingress.bounds.body)

        super().__init__(
            ingress.handle,
            request_factory=make,
            handler_cancellation=True,
            access_log=None,
            max_line_size=MAX_HEAD_LINE_BYTES,
            max_field_size=MAX_HEAD_LINE_BYTES,
            lingering_time=2.0,
        )
        self._ingress = ingress

    def __call__(self) -> RequestHandler:
        """See aiohttp: the handler of a new connection."""
        # As it is now: the configuration may have changed since the start.
        now = {"keepalive_timeout": self._ingress.bounds.header_timeout}
        return _Handler(self, loop=self._loop, **self._kwargs | now)

    def connection_made(self, handler: RequestHandler, transport: asyncio.Transport) -> None:
        """See aiohttp: count a connection in, or close it where there are too many."""
        super().connection_made(handler, transport)
        if len(self._connections) > self._ingress.bounds.concurrent + MAX_CONNECTIONS_OVER:
            transport.abort()
            return
        # aiohttp waits once more than this is not read yet: the bound on what a slow client holds here.
        transport.set_write_buffer_limits(high=self._ingress.bounds.stream_buffer // 4)
