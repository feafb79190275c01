"""Connections to endpoints, kept for the next request."""

from __future__ import annotations

import asyncio
import ssl
from collections import deque
from dataclasses import dataclass
from typing import Any

from codex_gateway.upstream.connection import Connection
from codex_gateway.upstream.failures import FailureKind, UpstreamFailed

IDLE_LIMIT_S = 15.0
"""As long as aiohttp keeps an idle connection; most servers close theirs later."""
IDLE_PER_ORIGIN = 256


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go; those to one origin are alike."""

    host: str
    port: int
    tls: bool
    proxy: str = ""

    def __repr__(self) -> str:
        # A proxy's URL may hold its password.
        return f"Origin({'https' if self.tls else 'http'}://{self.host}:{self.port}{' by proxy' if self.proxy else ''})"


class Pool:
    """All connections to endpoints. `tls` replaces the context that verifies certificates with the system's roots."""

    def __init__(self, buffer_bytes: int, tls: ssl.SSLContext | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        self._idle: dict[Origin, deque[Connection]] = {}
        self._tls = tls
        self.buffer_bytes = buffer_bytes
        """Most bytes that a connection holds before it stops reading."""

    def __repr__(self) -> str:
        return f"<Pool idle={sum(map(len, self._idle.values()))} origins={len(self._idle)}>"

    def now(self) -> float:
        """The event loop's time, which all waits here go by."""
        return self._loop.time()

    def take(self, origin: Origin) -> Connection | None:
        """A connection that was used before, the newest first; None where there is none that still stands."""
        idle = self._idle.get(origin)
        oldest = self._loop.time() - IDLE_LIMIT_S
        while idle:
            connection = idle.pop()
            if connection.usable and connection.idle_since >= oldest:
                return connection
            connection.close()
        return None

    def give_back(self, origin: Origin, connection: Connection) -> None:
        """Keep `connection` for the next request, or close it where it cannot carry one."""
        idle = self._idle.get(origin)
        if idle is None:
            idle = self._idle[origin] = deque()
        if connection.finished and len(idle) < IDLE_PER_ORIGIN:
            connection.rest()
            if connection.usable:
                idle.append(connection)
                return
        connection.close()

    async def connect(self, origin: Origin, timeout_s: float) -> Connection:
        """A new connection. Raises `UpstreamFailed`."""
        try:
            async with asyncio.timeout(timeout_s):
                return await self._connect(origin)
        except TimeoutError as error:
            raise UpstreamFailed(FailureKind.CONNECT_TIMEOUT, f"no connection within {timeout_s:g} s") from error
        except ssl.SSLError as error:
            raise UpstreamFailed(FailureKind.TLS, _tls_words(error)) from error
        except OSError as error:
            raise UpstreamFailed(FailureKind.CONNECT, error.strerror or str(error)) from error

    async def _connect(self, origin: Origin) -> Connection:
        more: dict[str, Any] = {"host": origin.host, "port": origin.port}
        if origin.proxy:
            more = {"sock": await _through_proxy(origin)}
        if origin.tls:
            more |= {"ssl": self._tls_context(), "server_hostname": origin.host}
        try:
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop, self.buffer_bytes), **more
            )
        except BaseException:
            if "sock" in more:
                more["sock"].close()
            raise
        return connection

    def _tls_context(self) -> ssl.SSLContext:
        if self._tls is None:
            # The roots take 30 ms and 3 MB to load: only who has an https endpoint pays.
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def close_idle(self) -> None:
        """Close what has been idle for too long; call it every few seconds."""
        oldest = self._loop.time() - IDLE_LIMIT_S
        for origin, idle in list(self._idle.items()):
            while idle and (idle[0].idle_since < oldest or not idle[0].usable):
                idle.popleft().close()
            if not idle:
                del self._idle[origin]

    def close(self) -> None:
        """Close every idle connection."""
        for idle in self._idle.values():
            for connection in idle:
                connection.close()
        self._idle.clear()


async def _through_proxy(origin: Origin) -> Any:
    try:
        from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError
        from python_socks.async_.asyncio import Proxy
    except ImportError as error:
        why = "proxies need a library that is not installed: pip install 'codex-supervisor[gateway-proxy]'"
        raise UpstreamFailed(FailureKind.CONNECT, why) from error
    # socks5h: the proxy looks the name up; python-socks knows that as an argument.
    scheme, _, rest = origin.proxy.partition("://")
    url = f"socks5://{rest}" if scheme == "socks5h" else origin.proxy
    try:
        proxy = Proxy.from_url(url, rdns=scheme != "socks5")
        return await proxy.connect(dest_host=origin.host, dest_port=origin.port)
    except (ProxyError, ProxyConnectionError, ProxyTimeoutError) as error:
        raise UpstreamFailed(FailureKind.CONNECT, f"the proxy: {error}") from error
    except ValueError as error:
        raise UpstreamFailed(FailureKind.CONNECT, "its proxy must be http, socks5 or socks5h") from error


def _tls_words(error: ssl.SSLError) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not valid: {error.verify_message}"
    return f"the TLS handshake failed: {error.reason or error}"
