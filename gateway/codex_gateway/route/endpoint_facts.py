"""What a conversion and a sender must know of a chosen endpoint: the configuration and what was learned. Pure."""

from __future__ import annotations

import functools
from urllib.parse import urlsplit

from codex_gateway.config.endpoint import AuthHeader, Endpoint, Family, KeySource, MaxTokensField
from codex_gateway.dialect.facts import Facts
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.choose import Candidate
from codex_gateway.route.globs import matches_any
from codex_gateway.route.learned import Known

_ANTHROPIC_HOSTS = ("api.anthropic.com",)
_OPENAI_HOSTS = ("api.openai.com", "chatgpt.com")
_AZURE = (".openai.azure.com", ".cognitiveservices.azure.com", ".services.ai.azure.com")


def family_of(endpoint: Endpoint) -> Family:
    """Return whose features the endpoint has: as configured, else by its host."""
    if endpoint.family is not Family.AUTO:
        return endpoint.family
    host = _host(endpoint.url)
    if host in _ANTHROPIC_HOSTS:
        return Family.ANTHROPIC
    if host in _OPENAI_HOSTS or host.endswith((*_AZURE, ".api.openai.com")):
        return Family.OPENAI
    return Family.OTHER


@functools.lru_cache(maxsize=1024)
def _host(url: str) -> str:
    return urlsplit(url).hostname or ""


def is_native(endpoint: Endpoint, dialect: Dialect) -> bool:
    """Whether the dialect's own maker serves it."""
    family = family_of(endpoint)
    return family is (Family.ANTHROPIC if dialect is Dialect.MESSAGES else Family.OPENAI)


def facts_for(candidate: Candidate, *, drop_signatures: bool = False) -> Facts:
    """Return what `convert_request` must know."""
    endpoint, known = candidate.endpoint, candidate.known
    native = is_native(endpoint, candidate.dialect)
    configured = endpoint.max_tokens_field
    field = configured.value if configured is not MaxTokensField.AUTO else known.max_tokens_field
    refused = known.tool_kinds_refused
    return Facts(
        dialect=candidate.dialect,
        model=candidate.model,
        endpoint=endpoint.name,
        native=native,
        refuses_system_midway=known.system_midway_refused,
        no_tools=known.tools_refused,
        max_tokens_field=field or None,
        web_search=False if any(kind.startswith("web_search") for kind in refused) else None,
        custom_tools=False if "custom" in refused else None,
        namespaces=False if refused & {"namespace", "tool_search"} else None,
        no_stop="stop" in known.parameters or "stop_sequences" in known.parameters,
        thinking_opened=matches_any(endpoint.thinking_opened, candidate.model),
        drop_encrypted=candidate.moved,
        drop_signatures=drop_signatures,
    )


def auth_headers(endpoint: Endpoint, source: KeySource, known: Known, dialect: Dialect) -> tuple[AuthHeader, ...]:
    """Return how to send a key: the best way first, then what may be tried once after a 401 where nobody has said."""
    if source.bearer:
        return (AuthHeader.BEARER,)
    if endpoint.auth.header is not AuthHeader.AUTO:
        return (endpoint.auth.header,)
    if known.auth_header:
        return (AuthHeader(known.auth_header),)
    if family_of(endpoint) is not Family.OTHER:
        host = _host(endpoint.url)
        if host.endswith(_AZURE):
            return (AuthHeader.API_KEY,)
        return (AuthHeader.X_API_KEY if dialect is Dialect.MESSAGES else AuthHeader.BEARER,)
    if dialect is Dialect.MESSAGES:
        return (AuthHeader.X_API_KEY, AuthHeader.BEARER)
    return (AuthHeader.BEARER, AuthHeader.X_API_KEY)
