"""Where an endpoint's base URL and a dialect's path meet.

Makers give base URLs in two ways: Anthropic's kind ends before `/v1`, OpenAI's kind behind the version, which is not
always `v1` (`…/api/paas/v4`, `…/v1beta/openai`). So `/v1` is added only where the path names no version.
"""

from __future__ import annotations

import functools
import re
from urllib.parse import urlsplit, urlunsplit

from codex_gateway.dialect.neutral import Dialect

PATHS = {
    Dialect.MESSAGES: "/messages",
    Dialect.CHAT: "/chat/completions",
    Dialect.RESPONSES: "/responses",
}
COUNT_TOKENS = "/messages/count_tokens"
MODELS = "/models"

_VERSION = re.compile(r"v[0-9]+(alpha|beta)?[0-9]*")


def dialect_of_full_url(url: str) -> Dialect | None:
    """Return the dialect whose path `url` already ends with; None for a base URL."""
    path = urlsplit(url).path.rstrip("/")
    return next((dialect for dialect, end in PATHS.items() if path.endswith(end)), None)


def has_a_host(url: str) -> bool:
    """Whether `url` names a host and a port that can be asked; its form alone does not say so."""
    try:
        parts = urlsplit(url)
        (parts.hostname or "").encode("idna")
        port = parts.port
    except ValueError:
        return False
    return port != 0


@functools.lru_cache(maxsize=4096)
def request_url(url: str, path: str) -> str:
    """Return the URL for `path` (a value of `PATHS`, `COUNT_TOKENS` or `MODELS`) below an endpoint's `url`. Its query
    is kept."""
    parts = urlsplit(url)
    base = parts.path.rstrip("/")
    for end in PATHS.values():
        if base.endswith(end):
            base = base.removesuffix(end)
            break
    else:
        if not any(_VERSION.fullmatch(segment) for segment in base.split("/")):
            base += "/v1"
    return urlunsplit((parts.scheme, parts.netloc, base + path, parts.query, ""))
