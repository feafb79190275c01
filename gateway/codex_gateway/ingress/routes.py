"""Every route of the gateway in one table, and where a request's path leads."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from urllib.parse import unquote

from codex_gateway.dialect.neutral import Dialect
from codex_gateway.ingress.tokens import Role


class Page(enum.Enum):
    """What a route leads to."""

    MODEL = enum.auto()
    """A model request."""
    COUNT_TOKENS = enum.auto()
    MODELS = enum.auto()
    ROOT = enum.auto()
    HEALTH = enum.auto()
    READY = enum.auto()
    METRICS = enum.auto()
    UPGRADE = enum.auto()
    """A WebSocket that is refused, so that Codex falls back to HTTP at once."""
    ADMIN_STATE = enum.auto()
    """The gateway, its endpoints and the requests under way, for the gateway's own commands (`ingress.admin`)."""
    ADMIN_RESET = enum.auto()
    ADMIN_TEST = enum.auto()
    ADMIN_LEARNED = enum.auto()
    ADMIN_FORGET = enum.auto()


@dataclass(frozen=True, slots=True)
class Route:
    """One method of one path."""

    method: str
    path: str
    page: Page
    role: Role | None = Role.CLIENT
    """Who may; None where no token is asked for."""
    dialect: Dialect | None = None
    """Whose form its errors have; None: by the client's headers."""


def _both(method: str, path: str, page: Page, dialect: Dialect | None = None) -> tuple[Route, Route]:
    return (
        Route(method, f"/v1{path}", page, dialect=dialect),
        Route(method, path, page, dialect=dialect),
    )


ROUTES: tuple[Route, ...] = (
    *_both("POST", "/messages", Page.MODEL, Dialect.MESSAGES),
    *_both("POST", "/messages/count_tokens", Page.COUNT_TOKENS, Dialect.MESSAGES),
    *_both("POST", "/chat/completions", Page.MODEL, Dialect.CHAT),
    *_both("POST", "/responses", Page.MODEL, Dialect.RESPONSES),
    *_both("GET", "/responses", Page.UPGRADE, Dialect.RESPONSES),
    *_both("GET", "/models", Page.MODELS),
    Route("HEAD", "/", Page.ROOT, role=None),
    Route("GET", "/healthz", Page.HEALTH, role=None),
    Route("GET", "/readyz", Page.READY, role=None),
    Route("GET", "/metrics", Page.METRICS, role=Role.VIEWER),
    Route("GET", "/admin/state", Page.ADMIN_STATE, role=Role.ADMIN),
    Route("POST", "/admin/endpoints/reset", Page.ADMIN_RESET, role=Role.ADMIN),
    Route("POST", "/admin/endpoints/test", Page.ADMIN_TEST, role=Role.ADMIN),
    Route("GET", "/admin/learned", Page.ADMIN_LEARNED, role=Role.ADMIN),
    Route("POST", "/admin/learned/forget", Page.ADMIN_FORGET, role=Role.ADMIN),
)

_BY_PATH: dict[str, dict[str, Route]] = {}
for _route in ROUTES:
    _BY_PATH.setdefault(_route.path, {})[_route.method] = _route

TOKEN_PREFIX = "/s/"  # noqa: S105 (a path)


def split_token(path: str) -> tuple[str, str]:
    """Cut `/s/<token>/v1/messages` into the token (empty where there is none) and the path behind it."""
    if not path.startswith(TOKEN_PREFIX):
        return "", path
    token, slash, rest = path[len(TOKEN_PREFIX) :].partition("/")
    return unquote(token), slash + rest if slash else "/"


def find(method: str, path: str) -> Route | tuple[str, ...]:
    """The route; where there is none, the methods that the path has: none of them means that there is no such path.

    One slash at the end is forgiven: base URLs are written with and without.
    """
    there = _BY_PATH.get(path) or _BY_PATH.get(path.rstrip("/") or "/")
    if there is None:
        return ()
    return there.get(method) or tuple(there)


def dialect_of(path: str) -> Dialect | None:
    """Whose form an error for this path has."""
    there = _BY_PATH.get(path.rstrip("/") or "/")
    return next(iter(there.values())).dialect if there else None
