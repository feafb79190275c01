"""One attempt: a request to one endpoint with one key, up to an answer that can be passed on, or a setback."""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from multidict import CIMultiDict

from codex_gateway.config.endpoint import AuthHeader, Timeouts
from codex_gateway.dialect.conversion import OF_THE_REQUEST
from codex_gateway.dialect.convert import StreamConversion, read_error
from codex_gateway.dialect.malformed import INCOMPLETE, AnswerFailed
from codex_gateway.dialect.neutral import Error, ErrorKind, Usage
from codex_gateway.route.choose import Candidate
from codex_gateway.upstream.answer import Whole
from codex_gateway.upstream.call import Call
from codex_gateway.upstream.connection import Connection
from codex_gateway.upstream.failures import FailureKind, StaleConnection, UpstreamFailed
from codex_gateway.upstream.pool import Pool
from codex_gateway.upstream.preparing import Prepared
from codex_gateway.upstream.target import Target, headers_for_client
from codex_gateway.upstream.trail import Attempt
from codex_gateway.upstream.usage import usage_of

MAX_ERROR_BYTES = 256 * 1024
"""Of an error answer; longer ones are cut."""
MAX_HELD_S = 3.0
"""How long the beginning of an answer waits for its first content. Endpoints that are overloaded say so at once; a
model that thinks in silence for longer shall not keep the client without any sign."""

_decode = msgspec.json.Decoder(dict).decode
_encode = msgspec.json.Encoder().encode


class Blame(enum.Enum):
    """Whose fault a setback is."""

    ENDPOINT = enum.auto()
    """It failed: another attempt may succeed."""
    REQUEST = enum.auto()
    """Every endpoint would refuse it, or this one refuses something of it."""


@dataclass(slots=True)
class Setback:
    """An attempt that brought nothing for the client."""

    blame: Blame
    error: Error
    status: int = 0
    headers: Sequence[tuple[bytes, bytes]] = ()
    body: bytes = b""
    kind: FailureKind | None = None
    """Set where no usable answer came."""

    def named_headers(self) -> CIMultiDict[str]:
        """Its headers, looked up without regard to case."""
        return CIMultiDict((name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers)


@dataclass(slots=True)
class Opened:
    """A stream that has given its first bytes for the client."""

    connection: Connection
    conversion: StreamConversion
    status: int
    headers: list[tuple[str, str]]
    first: bytes


@dataclass(frozen=True, slots=True)
class Bounds:
    """What an attempt may take."""

    timeouts: Timeouts
    answer_bytes: int
    capture_bytes: int


class Attempter:
    """Makes attempts over a pool of connections."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._now = pool.now

    async def make(
        self,
        call: Call,
        target: Target,
        candidate: Candidate,
        prepared: Prepared,
        auth: AuthHeader,
        key: str,
        attempt: Attempt,
        bounds: Bounds,
    ) -> Whole | Opened | Setback:
        """Ask once. The connection of what is returned is taken care of, but for that of an `Opened`."""
        timeouts = bounds.timeouts
        deadline = self._now() + timeouts.total if timeouts.total else math.inf
        try:
            head = target.head(
                prepared.path,
                length=len(prepared.body),
                auth=auth,
                key=key,
                client=call.raw_headers,
                dialect=candidate.dialect,
                native=prepared.native,
                query=call.query,
                without_betas=candidate.known.betas_refused,
            )
            connection = await self._send(target, (head, prepared.body), timeouts)
        except UpstreamFailed as failure:
            return _failed(failure)
        except ValueError:
            # What a client sends was read by a parser that lets no such thing pass; and the key is not to be shown.
            why = "its key, or one of its header_overrides, holds what no header may hold"
            return Setback(Blame.ENDPOINT, Error(ErrorKind.UNAVAILABLE, why, status=502), 502)
        handed_over = False
        try:
            attempt.status = connection.status
            if 300 <= connection.status < 400:
                # A client that followed it would take its request, with its token for the gateway, to somebody else.
                return _failed(UpstreamFailed(FailureKind.MALFORMED, _redirect(connection)))
            if connection.status >= 400:
                return await self._refused(connection, candidate, attempt, bounds)
            if packed := _header(connection, b"content-encoding"):
                why = f"it packed its answer ({packed}), which nobody asked for"
                return _failed(UpstreamFailed(FailureKind.MALFORMED, why))
            if _streams(connection) and call.stream and not call.count_tokens:
                opened = await self._open(call, connection, prepared, attempt, bounds, deadline)
                handed_over = isinstance(opened, Opened)
                return opened
            body = await self._read(connection, bounds.answer_bytes, timeouts.first_byte, deadline)
            attempt.answer += body[: bounds.capture_bytes]
            if _streams(connection) and not call.count_tokens:
                return self._whole_of_stream(call, prepared, connection, body)
            return self._whole(call, candidate, prepared, connection, body)
        except UpstreamFailed as failure:
            return _failed(failure)
        finally:
            if not handed_over:
                self._pool.give_back(target.origin, connection)

    async def _send(self, target: Target, request: Sequence[bytes], timeouts: Timeouts) -> Connection:
        connection = self._pool.take(target.origin)
        if connection is not None:
            try:
                await connection.send(request, timeouts.first_byte)
            except StaleConnection:
                connection.close()
            except BaseException:
                connection.close()
                raise
            else:
                return connection
        connection = await self._pool.connect(target.origin, timeouts.connect)
        try:
            await connection.send(request, timeouts.first_byte)
        except BaseException:
            connection.close()
            raise
        return connection

    async def _read(self, connection: Connection, most: int, idle_s: float, deadline: float) -> bytes:
        data = await connection.chunk(min(idle_s, deadline - self._now()))
        if data is not None and connection.whole and not connection.unread:
            if len(data) > most:
                raise UpstreamFailed(FailureKind.TOO_LARGE, f"its answer has more than {most} bytes")
            return data
        parts: list[bytes] = []
        size = 0
        while data:
            parts.append(data)
            size += len(data)
            if size > most:
                raise UpstreamFailed(FailureKind.TOO_LARGE, f"its answer has more than {most} bytes")
            data = await connection.chunk(min(idle_s, deadline - self._now()))
        if data is None:
            kind = FailureKind.TOTAL_TIMEOUT if self._now() >= deadline else FailureKind.IDLE_TIMEOUT
            raise UpstreamFailed(kind, "its answer stopped in the middle")
        return b"".join(parts)

    async def _refused(self, connection: Connection, candidate: Candidate, attempt: Attempt, bounds: Bounds) -> Setback:
        parts: list[bytes] = []
        size = 0
        while size < MAX_ERROR_BYTES and (data := await connection.chunk(10.0)):
            parts.append(data)
            size += len(data)
        body = b"" if _header(connection, b"content-encoding") else b"".join(parts)[:MAX_ERROR_BYTES]
        attempt.answer += body[: bounds.capture_bytes]
        setback = Setback(Blame.ENDPOINT, _NO_ERROR, connection.status, connection.headers, body)
        setback.error = read_error(candidate.dialect, connection.status, setback.named_headers(), body)
        if 400 <= connection.status < 500 and connection.status not in (401, 402, 403, 404, 408, 409, 425, 429):
            setback.blame = Blame.REQUEST
        if setback.error.kind in (ErrorKind.RATE_LIMIT, ErrorKind.OVERLOADED, ErrorKind.BILLING):
            setback.blame = Blame.ENDPOINT
        return setback

    def _whole(
        self, call: Call, candidate: Candidate, prepared: Prepared, connection: Connection, body: bytes
    ) -> Whole | Setback:
        conversion = prepared.conversion
        usage: Usage | None = None
        answer_id = ""
        try:
            if not call.count_tokens:
                usage, answer_id, error = usage_of(candidate.dialect, body)
                if error is not None:
                    return _told(error)
            echo = prepared.native and candidate.model == call.model and conversion.pass_through
            if call.stream and not call.count_tokens:
                # It was asked for a stream and gave the answer whole.
                out = conversion.stream_of_answer(_decode(body), created_s=call.created_s, answer_id=call.entry.id)
                headers = headers_for_client(connection.headers, native=False)
                headers = [(name, value) for name, value in headers if name != "content-type"]
                headers.append(("Content-Type", "text/event-stream"))
                return Whole(connection.status, headers, out, usage, answer_id)
            if call.count_tokens or echo:
                out = body
            else:
                out = _encode(conversion.answer(_decode(body), created_s=call.created_s, answer_id=call.entry.id))
        except AnswerFailed as failed:
            return _told(failed.error)
        except Exception as error:
            return _unreadable(error)
        headers = headers_for_client(connection.headers, native=prepared.native)
        return Whole(connection.status, headers, out, usage, answer_id)

    def _whole_of_stream(self, call: Call, prepared: Prepared, connection: Connection, body: bytes) -> Whole | Setback:
        """It streams although it was not asked to: the client gets the whole answer that it asked for."""
        try:
            told, usage, answer_id = prepared.conversion.answer_of_stream(
                body, created_s=call.created_s, answer_id=call.entry.id
            )
        except AnswerFailed as failed:
            return _told(failed.error)
        except Exception as error:
            return _unreadable(error)
        headers = headers_for_client(connection.headers, native=prepared.native)
        kept = [(name, value) for name, value in headers if name not in ("content-type", "cache-control")]
        return Whole(connection.status, kept, _encode(told), usage, answer_id)

    async def _open(
        self,
        call: Call,
        connection: Connection,
        prepared: Prepared,
        attempt: Attempt,
        bounds: Bounds,
        deadline: float,
    ) -> Opened | Setback:
        """Read until there is something for the client: up to then another endpoint may be asked."""
        conversion = prepared.conversion.stream(created_s=call.created_s, answer_id=call.entry.id)
        give_up = min(self._now() + bounds.timeouts.first_byte, deadline)
        # An answer's beginning without content is held, because an error may follow it; but not for long.
        release_at = math.inf
        while True:
            data = await connection.chunk(min(give_up, release_at) - self._now())
            if data is None and release_at <= give_up:
                release_at = math.inf
                out = conversion.release()
            elif data is None:
                raise UpstreamFailed(FailureKind.FIRST_BYTE_TIMEOUT, "its stream did not begin in time")
            else:
                attempt.answer += data[: max(0, bounds.capture_bytes - len(attempt.answer))]
                try:
                    out = conversion.feed(data) if data else conversion.end()
                except Exception as error:
                    why = f"its stream cannot be read: {type(error).__name__}: {error}"[:300]
                    raise UpstreamFailed(FailureKind.MALFORMED, why) from error
                release_at = min(release_at, self._now() + MAX_HELD_S)
            first = conversion.first_event_error
            if not data and data is not None and (told := conversion.outcome) is not None and told.error == INCOMPLETE:
                raise UpstreamFailed(FailureKind.LOST, "it ended the stream before its first event")
            if first is not None:
                blame = Blame.REQUEST if first.kind in OF_THE_REQUEST else Blame.ENDPOINT
                return Setback(blame, first, first.status or 503)
            if out:
                headers = headers_for_client(connection.headers, native=prepared.native)
                return Opened(connection, conversion, connection.status, headers, b"".join(out))


_NO_ERROR = Error(ErrorKind.INTERNAL, "")
_KINDS = {
    FailureKind.CONNECT_TIMEOUT: ErrorKind.TIMEOUT,
    FailureKind.FIRST_BYTE_TIMEOUT: ErrorKind.TIMEOUT,
    FailureKind.IDLE_TIMEOUT: ErrorKind.TIMEOUT,
    FailureKind.TOTAL_TIMEOUT: ErrorKind.TIMEOUT,
}


def _failed(failure: UpstreamFailed) -> Setback:
    kind = _KINDS.get(failure.kind, ErrorKind.UNAVAILABLE)
    status = 504 if kind is ErrorKind.TIMEOUT else 502
    return Setback(Blame.ENDPOINT, Error(kind, failure.why, status=status), kind=failure.kind)


def _unreadable(error: Exception) -> Setback:
    # Whatever its converter trips over, it is the endpoint's answer that was not what it should be.
    why = f"its answer cannot be read: {type(error).__name__}: {error}"[:300]
    return _failed(UpstreamFailed(FailureKind.MALFORMED, why))


def _told(error: Error) -> Setback:
    """An error in place of a whole answer that came with status 200, or an answer that is none."""
    if error.kind in OF_THE_REQUEST:
        return Setback(Blame.REQUEST, error, error.status or 400)
    own = error == INCOMPLETE or error.code == "malformed_answer"
    return Setback(Blame.ENDPOINT, error, error.status or 502, kind=FailureKind.MALFORMED if own else None)


def _redirect(connection: Connection) -> str:
    # Its query may hold a secret.
    where = _header(connection, b"location").partition("?")[0]
    to = f" to {where}" if where else ""
    return f"it leads elsewhere{to} (status {connection.status}), where nobody follows it: correct its `url`"


def _streams(connection: Connection) -> bool:
    return _header(connection, b"content-type").startswith("text/event-stream")


def _header(connection: Connection, wanted: bytes) -> str:
    """The beginning of a header's value in lower case; empty where it is not there, or says `identity`."""
    for name, value in connection.headers:
        if name == wanted:
            text = value[:200].decode("latin-1").strip().lower()
            return "" if text == "identity" else text
    return ""
