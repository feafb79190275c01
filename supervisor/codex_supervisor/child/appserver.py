"""The connection to one child: JSON-RPC over WebSocket over its Unix socket.

Codex has no back-pressure: what is not read piles up in its memory. So the read loop hands every message to a plain
function and awaits nobody; whoever consumes slowly has to bound its own buffer.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import socket as sockets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import websockets.asyncio.client
from codex_control import __version__
from codex_control.errors import ChildFailed, LimitExceeded, TimedOut
from codex_control.paths import checked_socket_path
from websockets.exceptions import ConnectionClosed, WebSocketException

from codex_supervisor.child import protocol
from codex_supervisor.child.conversation import RequestId
from codex_supervisor.child.exitwatch import ExitStatus
from codex_supervisor.child.protocol import (
    NOTIFICATIONS,
    SERVER_REQUESTS,
    UNUSED_NOTIFICATIONS,
    Notification,
    OtherNotification,
    OtherRequest,
    ServerRequest,
)
from codex_supervisor.child.requests import AppServerError

_log = logging.getLogger(__name__)

T = TypeVar("T")

# Codex sends a 10 MB answer as one message; this is for an error that would eat the memory.
MAX_MESSAGE_BYTES = 256 * 1024 * 1024
# A supervisor has a handful under way; more means that Codex answers nothing.
MAX_PENDING_REQUESTS = 256
CLOSE_TIMEOUT_S = 2.0
SEND_TIMEOUT_S = 10.0
# A warm Codex 0.163.0 listens 25 ms after its start: look often at first, then seldom enough to cost nothing.
_POLL_S = 0.001
_POLL_FAST_TRIES = 150
_POLL_SLOW_S = 0.02
_LOGGED_MALFORMED = 20

# JSON-RPC 2.0, section 5.1.
METHOD_NOT_FOUND = -32601


class _WireError(msgspec.Struct, frozen=True):
    code: int = 0
    message: str = ""
    data: Any = None


class _Envelope(msgspec.Struct, frozen=True):
    id: RequestId | None = None
    method: str | None = None
    params: msgspec.Raw = msgspec.Raw(b"{}")
    result: msgspec.Raw = msgspec.Raw(b"null")
    error: _WireError | None = None


class _Request(msgspec.Struct, frozen=True):
    id: int
    method: str
    params: Any


class _Reply(msgspec.Struct, frozen=True):
    id: RequestId
    result: Any


class _ErrorReply(msgspec.Struct, frozen=True):
    id: RequestId
    error: _WireError


_encode = msgspec.json.Encoder().encode
_decode_envelope = msgspec.json.Decoder(_Envelope).decode
_decode_notification: dict[str, Callable[[msgspec.Raw], Any]] = {
    method: msgspec.json.Decoder(kind).decode for method, kind in NOTIFICATIONS.items()
}
_decode_request: dict[str, Callable[[msgspec.Raw], Any]] = {
    method: msgspec.json.Decoder(params).decode for method, (params, _) in SERVER_REQUESTS.items()
}


class AppServer:
    """A connected, initialised child.

    `on_notification` and `on_request` are called in the order in which Codex sent things, on the loop. A caller of
    `request` resumes in a later step of the loop, so notifications that follow a reply may be handed over first.

    `closed` is set, with the reason in words, when the connection is lost or closed; the child may live on. Wait for it
    through `asyncio.wait` or `asyncio.shield`.
    """

    def __init__(
        self,
        connection: websockets.asyncio.client.ClientConnection,
        *,
        exited: asyncio.Future[ExitStatus],
        on_notification: Callable[[Notification], None],
        on_request: Callable[[ServerRequest], None],
    ) -> None:
        """Use `connect`."""
        loop = asyncio.get_running_loop()
        self._connection = connection
        self._exited = exited
        self._on_notification = on_notification
        self._on_request = on_request
        self._ids = itertools.count(1)
        self._pending: dict[RequestId, asyncio.Future[msgspec.Raw]] = {}
        self.closed: asyncio.Future[str] = loop.create_future()
        self.codex_version = ""
        self.malformed_total = 0
        """Messages that could not be read, and were skipped."""
        self._reader = loop.create_task(self._read(), name="child read loop")

    def __repr__(self) -> str:
        state = f"closed: {self.closed.result()}" if self.closed.done() else "open"
        return f"<AppServer codex={self.codex_version} pending={len(self._pending)} {state}>"

    @classmethod
    async def connect(
        cls,
        socket: Path,
        *,
        exited: asyncio.Future[ExitStatus],
        deadline_s: float,
        on_notification: Callable[[Notification], None],
        on_request: Callable[[ServerRequest], None],
        opt_out: Sequence[str] = UNUSED_NOTIFICATIONS,
        max_message_bytes: int = MAX_MESSAGE_BYTES,
    ) -> AppServer:
        """Connect as soon as the child listens on `socket`, and initialise.

        `exited` is the child's end; `deadline_s` is the time for all of it; `opt_out` names notifications that Codex
        need not send. Raises `ChildFailed` where the child ends first or is not ready in time, or speaks otherwise
        than expected.
        """
        server: AppServer | None = None
        try:
            async with asyncio.timeout(deadline_s):
                connection = await _open(socket, exited, max_message_bytes)
                server = cls(connection, exited=exited, on_notification=on_notification, on_request=on_request)
                await server._initialize(opt_out, deadline_s)
        except (TimeoutError, TimedOut) as error:
            await _abandon(server)
            raise ChildFailed(what="Codex was not ready in time", why=f"{deadline_s:g} s have passed") from error
        except AppServerError as error:
            await _abandon(server)
            raise ChildFailed(what="Codex cannot be initialised", why=error.message) from error
        except BaseException:
            await _abandon(server)
            raise
        return server

    async def _initialize(self, opt_out: Sequence[str], timeout_s: float) -> None:
        reply = await self.request(
            "initialize",
            protocol.InitializeParams(
                client_info=protocol.ClientInfo(name="codex-supervisor", version=__version__),
                capabilities=protocol.InitializeCapabilities(
                    experimental_api=True, opt_out_notification_methods=list(opt_out)
                ),
            ),
            protocol.InitializeResponse,
            timeout_s,
        )
        # "codex-supervisor/0.163.0 (Debian 12.0.0; x86_64) …"
        self.codex_version = reply.user_agent.partition("/")[2].partition(" ")[0]
        await self._send(b'{"method":"initialized"}')

    async def request(self, method: str, params: Any, result_type: type[T], timeout_s: float) -> T:
        """Ask, and return the reply as `result_type`.

        Raises `AppServerError` where Codex refuses, `TimedOut` where it does not answer within `timeout_s` (it may
        still do what was asked), `ChildFailed` where the connection or the child ends or the reply is not as expected,
        and `LimitExceeded` where too many requests are under way.
        """
        if len(self._pending) >= MAX_PENDING_REQUESTS:
            raise LimitExceeded(
                what=f"{MAX_PENDING_REQUESTS} requests to the child are under way",
                why="it has answered none of them",
                next_step="restart the instance",
            )
        self._check_open()
        number = next(self._ids)
        reply: asyncio.Future[msgspec.Raw] = asyncio.get_running_loop().create_future()
        self._pending[number] = reply
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(_encode(_Request(number, method, params)))
                raw = await reply
        except TimeoutError as error:
            raise TimedOut(
                what=f"Codex did not answer {method}",
                why=f"{timeout_s:g} s have passed",
                next_step="try again, or restart the instance",
            ) from error
        finally:
            self._pending.pop(number, None)
            if reply.done() and not reply.cancelled():
                reply.exception()  # Taken or not: asyncio must not report it a second time.
        try:
            return msgspec.json.decode(raw, type=result_type)
        except msgspec.DecodeError as error:
            raise ChildFailed(
                what=f"Codex's reply to {method} is not as expected",
                why=str(error),
                next_step="use a Codex version that the supervisor is tested with",
            ) from error

    async def reply(self, request_id: RequestId, result: Any) -> None:
        """Answer a `ServerRequest`. Raises `ChildFailed` where the connection is gone."""
        await self._send_in_time(_encode(_Reply(request_id, result)))

    async def reply_error(self, request_id: RequestId, message: str, code: int = METHOD_NOT_FOUND) -> None:
        """Answer a `ServerRequest` with an error: its item fails, and the turn goes on."""
        await self._send_in_time(_encode(_ErrorReply(request_id, _WireError(code, message))))

    async def ping(self, timeout_s: float) -> None:
        """See that the child answers. `thread/loaded/list` changes nothing, is stable, and is answered in 0.2 ms.

        Raises as `request` does.
        """
        await self.request("thread/loaded/list", protocol.ThreadLoadedListParams(limit=1), protocol.Empty, timeout_s)

    async def close(self, timeout_s: float = CLOSE_TIMEOUT_S) -> None:
        """Close the connection; the child runs on. Returns within `timeout_s`, whatever the child does."""
        with contextlib.suppress(TimeoutError, OSError, WebSocketException):
            async with asyncio.timeout(timeout_s):
                await self._connection.close()
        self._connection.transport.abort()
        self._end("it was closed")
        if asyncio.current_task() is not self._reader:
            self._reader.cancel()
            await asyncio.wait({self._reader})

    async def _send_in_time(self, message: bytes) -> None:
        self._check_open()
        try:
            async with asyncio.timeout(SEND_TIMEOUT_S):
                await self._send(message)
        except TimeoutError as error:
            raise ChildFailed(what="Codex does not read what it is sent", next_step="restart the instance") from error

    async def _send(self, message: bytes) -> None:
        try:
            await self._connection.send(message, text=True)
        except (ConnectionClosed, OSError) as error:
            raise self._lost() from error

    def _check_open(self) -> None:
        if self.closed.done():
            raise self._lost()

    def _lost(self) -> ChildFailed:
        if self._exited.done() and not self._exited.cancelled():
            return ChildFailed(what="the child ended", why=str(self._exited.result()))
        why = self.closed.result() if self.closed.done() else ""
        return ChildFailed(what="the connection to the child is lost", why=why)

    def _end(self, reason: str) -> None:
        if self.closed.done():
            return
        self.closed.set_result(reason)
        for reply in self._pending.values():
            if not reply.done():
                reply.set_exception(self._lost())

    async def _read(self) -> None:
        reason = "Codex closed it"
        try:
            while True:
                self._take(await self._connection.recv(decode=False))
        except ConnectionClosed as error:
            frame = error.sent or error.rcvd
            if frame is not None and frame.code == 1009:
                reason = f"a message was larger than the limit ({frame.reason})" if frame.reason else "too large"
            elif frame is not None and frame.reason:
                reason = frame.reason
        except OSError as error:
            reason = error.strerror or str(error)
        except Exception as error:
            # A fault of ours. The connection counts as lost, so the child is replaced and nothing hangs.
            _log.exception("read_loop_failed")
            reason = repr(error)
        finally:
            self._end(reason)
            self._connection.transport.abort()

    def _take(self, message: bytes) -> None:
        method = None
        try:
            envelope = _decode_envelope(message)
            method = envelope.method
            if method is None:
                self._take_reply(envelope)
                return
            if envelope.id is None:
                decode = _decode_notification.get(method)
                notification = decode(envelope.params) if decode is not None else OtherNotification(method)
            else:
                self._take_request(envelope.id, method, envelope.params)
                return
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            self._skip(method, len(message), error)
            return
        try:
            self._on_notification(notification)
        except Exception:
            _log.exception("notification_handler_failed", extra={"method": method})

    def _take_reply(self, envelope: _Envelope) -> None:
        # One that nobody waits for any more came too late, and is dropped.
        reply = self._pending.get(envelope.id) if envelope.id is not None else None
        if reply is None or reply.done():
            return
        error = envelope.error
        if error is None:
            reply.set_result(envelope.result)
        else:
            reply.set_exception(AppServerError(error.code, error.message, error.data))

    def _take_request(self, request_id: RequestId, method: str, raw: msgspec.Raw) -> None:
        decode = _decode_request.get(method)
        try:
            params = decode(raw) if decode is not None else OtherRequest(method)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # It must be answered all the same, or the turn hangs.
            self._skip(method, len(bytes(raw)), error)
            params = OtherRequest(method)
        try:
            self._on_request(ServerRequest(request_id, method, params))
        except Exception:
            _log.exception("request_handler_failed", extra={"method": method})

    def _skip(self, method: str | None, size_bytes: int, error: Exception) -> None:
        self.malformed_total += 1
        if self.malformed_total <= _LOGGED_MALFORMED:
            # Not its content: that may be anybody's text.
            _log.warning(
                "malformed_message", extra={"method": method or "", "size_bytes": size_bytes, "error": str(error)}
            )


async def _open(
    socket: Path, exited: asyncio.Future[ExitStatus], max_message_bytes: int
) -> websockets.asyncio.client.ClientConnection:
    path = checked_socket_path(socket)
    for attempt in itertools.count():
        raw = sockets.socket(sockets.AF_UNIX, sockets.SOCK_STREAM)
        try:
            raw.setblocking(False)
            raw.connect(path)
            break
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            raw.close()
        except BaseException:
            raw.close()
            raise
        # Ends the wait as soon as the child does, and says how it ended.
        await asyncio.wait({exited}, timeout=_POLL_S if attempt < _POLL_FAST_TRIES else _POLL_SLOW_S)
        if exited.done():
            raise _died_early(exited)
    try:
        return await websockets.asyncio.client.connect(
            "ws://localhost/",
            sock=raw,
            proxy=None,
            compression=None,
            max_size=max_message_bytes,
            # The read loop always takes what is there; our own liveness request sees more than a WebSocket ping does.
            max_queue=None,
            ping_interval=None,
            open_timeout=None,
            close_timeout=CLOSE_TIMEOUT_S,
            user_agent_header=None,
        )
    except (OSError, WebSocketException, EOFError) as error:
        raw.close()
        await asyncio.wait({exited}, timeout=0.1)
        if exited.done():
            raise _died_early(exited) from error
        raise ChildFailed(what="the child does not speak as expected", why=str(error)) from error
    except BaseException:
        raw.close()
        raise


async def _abandon(server: AppServer | None) -> None:
    if server is not None:
        await server.close(timeout_s=0.1)


def _died_early(exited: asyncio.Future[ExitStatus]) -> ChildFailed:
    why = "its watch was closed" if exited.cancelled() else str(exited.result())
    return ChildFailed(
        what="Codex ended before it was ready",
        why=why,
        next_step="look at its last lines (`codexctl status`), most often a mistake in Codex's config.toml",
    )
