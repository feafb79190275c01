"""One endpoint as the HTTP client sees it: where it is, and the head of a request to it."""

from __future__ import annotations

from collections.abc import Iterable
from urllib.parse import urlsplit

from codex_control import __version__

from codex_gateway.config.endpoint import AuthHeader, Endpoint
from codex_gateway.config.urls import COUNT_TOKENS, MODELS, PATHS, request_url
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.upstream.pool import Origin

RawHeaders = Iterable[tuple[bytes, bytes]]

ANTHROPIC_VERSION = b"2023-06-01"
"""The only version of the Messages API since 2023: sent where the client named none."""

# What belongs to the client's connection, or is a secret between the client and us, never goes to an endpoint. First
# RFC 9110, 7.6.1; bodies come to us decoded, and answers are read, so encodings are ours to name.
_NEVER = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authorization te trailer transfer-encoding "
    b"upgrade host content-length content-type content-encoding accept-encoding expect "
    b"authorization x-api-key api-key x-goog-api-key cookie "
    b"forwarded x-forwarded-for x-forwarded-host x-forwarded-proto x-forwarded-port x-real-ip via".split()
)
_USUAL_CONNECTIONS = (b"keep-alive", b"close")
_CONVERTED_KEEPS = frozenset((b"user-agent", b"accept-language", b"traceparent", b"tracestate", b"x-request-id"))
"""What still means something to an endpoint of another dialect."""

_AUTH = {
    AuthHeader.X_API_KEY: b"x-api-key: ",
    AuthHeader.BEARER: b"Authorization: Bearer ",
    AuthHeader.API_KEY: b"api-key: ",
    AuthHeader.X_GOOG_API_KEY: b"x-goog-api-key: ",
}


class Target:
    """An endpoint's addresses, worked out once."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        url = urlsplit(endpoint.url)
        tls = url.scheme == "https"
        port = url.port or (443 if tls else 80)
        host = url.hostname or ""
        self.origin = Origin(host, port, tls, endpoint.proxy)
        shown = f"[{host}]" if ":" in host else host
        self._host = (shown if url.port is None else f"{shown}:{port}").encode(
            "idna" if not host.isascii() else "ascii"
        )
        # A second Host would make it no HTTP any more.
        named_host = next((value for name, value in endpoint.header_overrides.items() if name.lower() == "host"), None)
        if named_host is not None:
            self._host = named_host.encode("latin-1")
        self._lines = {path: self._request_line(endpoint.url, path) for path in (*PATHS.values(), COUNT_TOKENS, MODELS)}
        overrides = {name.lower().encode("ascii"): value for name, value in endpoint.header_overrides.items()}
        self._dropped = _NEVER | overrides.keys()
        self._set = [
            name + b": " + value.encode("latin-1")
            for name, value in overrides.items()
            if value is not None and name != b"host"
        ]
        self._set_names = overrides.keys()

    def __repr__(self) -> str:
        return f"Target({self.endpoint.name!r} {self.origin!r})"

    def _request_line(self, url: str, path: str) -> tuple[bytes, bytes]:
        parts = urlsplit(request_url(url, path))
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        method = "GET" if path == MODELS else "POST"
        return f"{method} {target}".encode("ascii"), b" HTTP/1.1\r\nHost: " + self._host

    def head(
        self,
        path: str,
        *,
        length: int,
        auth: AuthHeader,
        key: str,
        client: RawHeaders,
        dialect: Dialect,
        native: bool,
        query: bytes = b"",
        without_betas: frozenset[str] = frozenset(),
    ) -> bytes:
        """The head of a request to `path` (of `config.urls`). `native`: the client speaks the endpoint's dialect, and
        its own headers and its query (as it came, encoded) go along.

        Raises `ValueError` where a value would break out of its line.
        """
        target, host = self._lines[path]
        if query and native:
            target += (b"&" if b"?" in target else b"?") + query
        lines = [target + host]
        named = set()
        dropped = self._dropped
        for name, value in client:
            if len(name) == 10 and name.lower() == b"connection" and value.lower() not in _USUAL_CONNECTIONS:
                # Headers that it names are for the client's connection alone.
                dropped = dropped | {one.strip().lower() for one in value.split(b",")}
        for name, value in client:
            lower = name.lower()
            if lower in dropped or not (native or lower in _CONVERTED_KEEPS):
                continue
            if without_betas and lower == b"anthropic-beta":
                value = _without_betas(value, without_betas)
                if not value:
                    continue
            named.add(lower)
            lines.append(name + b": " + value)
        if path != MODELS:
            if b"content-type" not in self._set_names:
                lines.append(b"Content-Type: application/json")
            lines.append(b"Content-Length: %d" % length)
        if key:
            header = _AUTH[auth]
            if header.partition(b":")[0].lower() not in self._set_names:
                lines.append(header + key.encode("latin-1"))
        if dialect is Dialect.MESSAGES and b"anthropic-version" not in named | self._set_names:
            lines.append(b"anthropic-version: " + ANTHROPIC_VERSION)
        if b"user-agent" not in named | self._set_names:
            lines.append(_USER_AGENT)
        lines += self._set
        # Whether an answer comes packed is ours to say, and it must not: it is read on its way.
        lines.append(b"Accept-Encoding: identity")
        head = b"\r\n".join(lines)
        # One request line and Host are one entry with one line break of their own.
        if head.count(b"\n") != len(lines) or head.count(b"\r") != len(lines) or b"\0" in head:
            raise ValueError("a header of the request holds a line break")
        return head + b"\r\n\r\n"


def _without_betas(value: bytes, refused: frozenset[str]) -> bytes:
    return b",".join(one for one in value.split(b",") if one.strip().decode("latin-1") not in refused)


_USER_AGENT = f"User-Agent: codex-gateway/{__version__}".encode()

# What describes the endpoint's connection or server rather than its answer; what is left goes to the client, with the
# limits that it paces itself by (retry-after, anthropic-ratelimit-*, x-ratelimit-*, x-codex-*) and the request's id.
_NOT_TO_CLIENTS = frozenset(
    b"connection keep-alive proxy-connection proxy-authenticate proxy-authentication-info te trailer "
    b"transfer-encoding upgrade content-length content-encoding date server set-cookie set-cookie2 alt-svc "
    b"strict-transport-security public-key-pins www-authenticate via".split()
)
_CONVERTED_ANSWER_KEEPS = frozenset(
    (b"retry-after", b"retry-after-ms", b"request-id", b"x-request-id", b"x-should-retry")
)


def headers_for_client(headers: RawHeaders, *, native: bool) -> list[tuple[str, str]]:
    """The headers of an endpoint's answer that its client gets, by lower-case names."""
    if native:
        # What a web page of another origin may read is not the endpoint's to say.
        kept = [
            (name, value)
            for name, value in headers
            if name not in _NOT_TO_CLIENTS and not name.startswith(b"access-control-")
        ]
    else:
        kept = [(name, value) for name, value in headers if name in _CONVERTED_ANSWER_KEEPS]
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in kept]
