"""An endpoint's answer on its way to the client: whole, or piece by piece at the client's pace."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from codex_gateway.dialect.convert import StreamConversion, UpstreamEnd
from codex_gateway.dialect.neutral import Usage
from codex_gateway.upstream.connection import Connection
from codex_gateway.upstream.failures import FailureKind, UpstreamFailed
from codex_gateway.upstream.trail import Attempt

AFTER_END_S = 2.0
"""How long an endpoint may keep its connection open after the stream's last event."""


class Whole:
    """An answer that does not stream."""

    __slots__ = ("answer_id", "body", "headers", "status", "usage")

    def __init__(
        self, status: int, headers: Sequence[tuple[str, str]], body: bytes, usage: Usage | None, answer_id: str = ""
    ) -> None:
        self.status = status
        self.headers = headers
        self.body = body
        self.usage = usage
        self.answer_id = answer_id
        """What its endpoint calls it."""

    def __repr__(self) -> str:
        return f"<Whole {self.status} {len(self.body)} bytes>"


class Stream:
    """An answer that streams: `first`, then `next` until it returns b"". `close` in every case.

    `done` is told once, with why the stream broke, or None where it is whole.
    """

    __slots__ = (
        "_capture",
        "_closed",
        "_connection",
        "_conversion",
        "_cut",
        "_deadline",
        "_done",
        "_ended",
        "_heard",
        "_idle_s",
        "_keep_alive_s",
        "_loop",
        "attempt",
        "failure",
        "first",
        "headers",
        "status",
    )

    def __init__(
        self,
        connection: Connection,
        conversion: StreamConversion,
        *,
        attempt: Attempt,
        status: int,
        headers: Sequence[tuple[str, str]],
        first: bytes,
        idle_s: float,
        keep_alive_s: float,
        deadline: float,
        capture: int,
        done: Callable[[Stream], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._connection = connection
        self._conversion = conversion
        self._idle_s = idle_s
        self._keep_alive_s = keep_alive_s
        self._deadline = deadline
        self._capture = capture
        self._done = done
        self._cut: UpstreamEnd | None = None
        self._ended = False
        self._heard = self._loop.time()
        self._closed = False
        self.attempt = attempt
        self.status = status
        self.headers = headers
        self.first = first
        self.failure: UpstreamFailed | None = None
        """Set where it broke."""

    def __repr__(self) -> str:
        return f"<Stream {self.attempt.endpoint} {'ended' if self._ended else 'running'}>"

    @property
    def usage(self) -> Usage:
        """Tokens so far."""
        return self._conversion.usage

    @property
    def conversion(self) -> StreamConversion:
        """What turns its bytes into the client's."""
        return self._conversion

    @property
    def was_cut(self) -> bool:
        """The gateway itself broke it off."""
        return self._cut is not None

    @property
    def connection(self) -> Connection:
        """Where it comes from."""
        return self._connection

    async def next(self) -> bytes:
        """The next bytes for the client: events, or a sign of life where nothing came for long. b"" at the end.

        An endpoint that breaks off makes the client's own error event, not an exception.
        """
        if self._ended:
            return b""
        conversion, connection = self._conversion, self._connection
        said = self._loop.time()
        while True:
            over = conversion.outcome is not None
            now = self._loop.time()
            wait_s = (
                AFTER_END_S
                if over
                else min(said + self._keep_alive_s, self._heard + self._idle_s, self._deadline) - now
            )
            try:
                data = await connection.chunk(wait_s)
            except UpstreamFailed as failure:
                return self._break(failure, self._cut or UpstreamEnd.BROKEN)
            if data is None:
                if over:
                    self._ended = True
                    return b""
                now = self._loop.time()
                if now >= self._deadline:
                    return self._break(
                        UpstreamFailed(FailureKind.TOTAL_TIMEOUT, "it took too long"), UpstreamEnd.TIMED_OUT
                    )
                if now >= self._heard + self._idle_s:
                    return self._break(
                        UpstreamFailed(FailureKind.IDLE_TIMEOUT, f"nothing came for {self._idle_s:g} s"),
                        UpstreamEnd.TIMED_OUT,
                    )
                return conversion.keep_alive()
            if data:
                self._heard = self._loop.time()
                if self._capture > 0:
                    self.attempt.answer += data[: self._capture]
                    self._capture -= len(data)
                try:
                    out = conversion.feed(data)
                except Exception as error:
                    broken = UpstreamFailed(FailureKind.MALFORMED, f"its stream cannot be read: {type(error).__name__}")
                    broken.__cause__ = error
                    return self._break(broken, UpstreamEnd.BROKEN)
                if out:
                    return out[0] if len(out) == 1 else b"".join(out)
                continue
            self._ended = True
            last = b"".join(conversion.end())
            # Only after its end is it known whether all was there: a last event may lack its blank line.
            if not over and (conversion.outcome is None or conversion.outcome.error is not None):
                self.failure = UpstreamFailed(FailureKind.LOST, "it ended the stream in mid-answer")
            return last

    def _break(self, failure: UpstreamFailed, end: UpstreamEnd) -> bytes:
        self._ended = True
        conversion = self._conversion
        if conversion.outcome is not None:
            return b""  # the client has its end already
        last = b"".join(conversion.end(end))
        if conversion.outcome is None or conversion.outcome.error is not None:
            self.failure = failure
        return last

    def cut(self) -> None:
        """The gateway stops: the client gets its dialect's error event, now."""
        self._cut = UpstreamEnd.DRAINING
        self._connection.cut()

    def close(self) -> None:
        """It is over, or the client is gone: what the endpoint still sends is not waited for."""
        if not self._closed:
            self._closed = True
            self._done(self)
