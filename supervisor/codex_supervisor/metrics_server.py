"""Serves /metrics and /healthz on 127.0.0.1.

A few requests a minute do not pay for an HTTP library in the daemon's memory (aiohttp: 14 MB, measured): asyncio reads
the head of a request, the standard library parses it, and every connection ends after its answer. The page is made on
the event loop, in 1 to 2 ms, so that a scrape also shows that the loop turns.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gzip
import http.client
import io
import ipaddress
import logging
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from codex_control.errors import BadConfig
from prometheus_client.exposition import choose_encoder

from codex_supervisor.metrics import Metrics

_log = logging.getLogger(__name__)

MAX_HEAD_BYTES = 16 * 1024
MAX_CONNECTIONS = 32
REQUEST_TIMEOUT_S = 5.0
"""For a whole connection: the head, the answer, the closing."""

_PLAIN = "text/plain; charset=utf-8"
_HOSTS = ("localhost", "127.0.0.1")


@dataclass(frozen=True)
class _Answer:
    status: HTTPStatus
    body: bytes
    content_type: str = _PLAIN
    headers: tuple[tuple[str, str], ...] = ()


class MetricsServer:
    """The listening server. `url` is the address of the metrics page."""

    def __init__(self, server: asyncio.Server, pages: _Pages) -> None:
        self._server = server
        self._pages = pages
        self.port: int = server.sockets[0].getsockname()[1]

    @property
    def url(self) -> str:
        """The address of the metrics page."""
        return f"http://127.0.0.1:{self.port}/metrics"

    async def close(self) -> None:
        """Stop listening and end every connection."""
        self._server.close()
        await self._pages.close()
        await self._server.wait_closed()


async def start_metrics_server(
    metrics: Metrics, port: int, *, healthy: Callable[[], str] = lambda: "", address: str = "127.0.0.1"
) -> MetricsServer:
    """Listen on `port` of `address`, 0 for any free one.

    `healthy` returns a sentence about what does not work, or empty text; /healthz then answers 503 or 200.
    Raises `BadConfig` where the port is taken or may not be used, or where others could reach the address.
    """
    if not ipaddress.ip_address(address).is_loopback:
        raise BadConfig(
            what=f"metrics.address {address} can be reached from outside",
            why="the metrics page has no login",
            next_step="use 127.0.0.1, and let a proxy with a login in front of it where others need the page",
        )
    pages = _Pages(metrics, healthy)
    try:
        server = await asyncio.start_server(
            pages.connected, address, port, limit=MAX_HEAD_BYTES, backlog=MAX_CONNECTIONS
        )
    except OSError as error:
        raise _cannot_listen(port, error) from error
    return MetricsServer(server, pages)


def _cannot_listen(port: int, error: OSError) -> BadConfig:
    if error.errno == errno.EADDRINUSE:
        return BadConfig(
            what=f"port {port} of 127.0.0.1 is taken, so there is no metrics page",
            why="another program listens on it",
            next_step="set metrics.port in config.yaml to another port, or to 0 for any free one",
        )
    return BadConfig(
        what=f"port {port} of 127.0.0.1 cannot be used, so there is no metrics page",
        why=error.strerror or str(error),
        next_step="set metrics.port in config.yaml to one above 1023, or to 0 for any free one",
    )


class _Pages:
    def __init__(self, metrics: Metrics, healthy: Callable[[], str]) -> None:
        self._metrics = metrics
        self._healthy = healthy
        self._connections: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection; asyncio runs this as a task of its own."""
        task = asyncio.current_task()
        if task is None or len(self._connections) >= MAX_CONNECTIONS:
            writer.transport.abort()
            return
        self._connections.add(task)
        try:
            async with asyncio.timeout(REQUEST_TIMEOUT_S):
                await self._serve(reader, writer)
        except (TimeoutError, OSError):
            writer.transport.abort()
        except asyncio.CancelledError:
            # close() cancels us. asyncio's own callback would report a cancelled handler as an error.
            writer.transport.abort()
        finally:
            self._connections.discard(task)
            writer.close()

    async def close(self) -> None:
        """End every connection."""
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return
        except asyncio.LimitOverrunError:
            answer, body_wanted = _refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE), True
        else:
            answer, body_wanted = self._answer(head)
        lines = [
            f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            "Connection: close",
            "Cache-Control: no-store",
            "X-Content-Type-Options: nosniff",
            *(f"{name}: {value}" for name, value in answer.headers),
        ]
        writer.write("\r\n".join([*lines, "", ""]).encode("ascii") + (answer.body if body_wanted else b""))
        await writer.drain()
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    def _answer(self, head: bytes) -> tuple[_Answer, bool]:
        """Return the answer, and whether its body is sent."""
        request_line, _, rest = head.partition(b"\r\n")
        try:
            method, target, version = request_line.decode("ascii").split(" ")
            headers = http.client.parse_headers(io.BytesIO(rest))
        except (ValueError, http.client.HTTPException):
            return _refuse(HTTPStatus.BAD_REQUEST), True
        if not version.startswith("HTTP/1."):
            return _refuse(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED), True
        if method not in ("GET", "HEAD"):
            return _refuse(HTTPStatus.METHOD_NOT_ALLOWED, (("Allow", "GET, HEAD"),)), True
        # A web page that a browser shows may have its own name resolve to 127.0.0.1 and read us then (DNS rebinding);
        # it cannot change the Host that the browser sends.
        if not _is_local(headers.get_all("Host", [])):
            return _refuse(HTTPStatus.MISDIRECTED_REQUEST), method == "GET"
        return self._page(target.partition("?")[0], headers), method == "GET"

    def _page(self, path: str, headers: http.client.HTTPMessage) -> _Answer:
        match path:
            case "/metrics":
                encode, content_type = choose_encoder(",".join(headers.get_all("Accept", [])))
                try:
                    body = encode(self._metrics.registry)
                except Exception:
                    _log.exception("metrics_page_failed")
                    return _refuse(HTTPStatus.INTERNAL_SERVER_ERROR)
                # The fastest level already takes nine tenths off.
                if "gzip" in ",".join(headers.get_all("Accept-Encoding", [])).lower():
                    packed = gzip.compress(body, compresslevel=1, mtime=0)
                    return _Answer(HTTPStatus.OK, packed, content_type, (("Content-Encoding", "gzip"),))
                return _Answer(HTTPStatus.OK, body, content_type)
            case "/healthz":
                wrong = self._healthy()
                status = HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK
                return _Answer(status, f"{wrong or 'ok'}\n".encode())
            case "/":
                return _Answer(HTTPStatus.OK, b"codex-supervisor: see /metrics and /healthz\n")
            case _:
                return _refuse(HTTPStatus.NOT_FOUND)


def _refuse(status: HTTPStatus, headers: tuple[tuple[str, str], ...] = ()) -> _Answer:
    return _Answer(status, f"{status.phrase}\n".encode(), headers=headers)


def _is_local(hosts: list[str]) -> bool:
    if len(hosts) != 1:
        return False
    name, colon, port = hosts[0].strip().lower().partition(":")
    return name in _HOSTS and (not colon or port.isdecimal())
