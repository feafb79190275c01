"""`GET /v1/models`: what clients may name, by the configuration, and by the lists of endpoints
that name no models there."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import msgspec
from aiohttp import web
from codex_control.errors import CodexError
from codex_control.service.clock import Clock

from codex_gateway.config.endpoint import ClientKind, Endpoint, KeySource
from codex_gateway.config.urls import MODELS
from codex_gateway.dialect.models import ListedModel, models_answer
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.endpoint_facts import auth_headers
from codex_gateway.upstream.failures import UpstreamFailed
from codex_gateway.upstream.forward import Forwarder
from codex_gateway.upstream.pool import Pool

_log = logging.getLogger(__name__)

KEPT_S = 300.0
ASK_TIMEOUT_S = 5.0
MAX_LIST_BYTES = 4 * 1024 * 1024
MAX_MODELS = 5000
_FAILED_KEPT_S = 30.0


class ModelList:
    """Asks endpoints for their lists, and remembers them for a while."""

    def __init__(self, forwarder: Forwarder, pool: Pool, clock: Clock) -> None:
        self._forwarder = forwarder
        self._pool = pool
        self._clock = clock
        self._lists: dict[str, tuple[Endpoint, float, tuple[ListedModel, ...]]] = {}

    async def answer(self, dialect: Dialect, kind: ClientKind, request: web.BaseRequest) -> web.Response:
        """The answer in the client's form."""
        endpoints = [
            endpoint
            for endpoint in sorted(self._forwarder.routes.config.endpoints, key=lambda one: one.priority)
            if endpoint.enabled and (ClientKind.ANY in endpoint.clients or kind in endpoint.clients)
        ]
        lists = await asyncio.gather(*map(self._models, endpoints))
        models: dict[str, ListedModel] = {}
        for one in lists:
            for model in one:
                models.setdefault(model.id, model)
        query = request.rel_url.query
        limit = query.get("limit", "")
        value = models_answer(
            list(models.values()),
            dialect,
            after_id=query.get("after_id"),
            limit=int(limit) if limit.isdecimal() and len(limit) < 6 else None,
        )
        return web.Response(body=msgspec.json.encode(value), headers={"Content-Type": "application/json"})

    async def _models(self, endpoint: Endpoint) -> tuple[ListedModel, ...]:
        named = [rewrite.source_pattern for rewrite in endpoint.model_rewrite] + list(endpoint.models)
        plain = tuple(ListedModel(name, owner=endpoint.name) for name in named if "*" not in name and "?" not in name)
        if endpoint.models:
            return plain
        kept = self._lists.get(endpoint.name)
        now = self._clock.monotonic()
        if kept is None or kept[0] is not endpoint or now >= kept[1]:
            try:
                found, for_s = await self._ask(endpoint), KEPT_S
            except (UpstreamFailed, CodexError, ValueError, msgspec.MsgspecError) as error:
                _log.info("no_model_list", extra={"endpoint": endpoint.name, "why": str(error)[:200]})
                found, for_s = (), _FAILED_KEPT_S
            kept = self._lists[endpoint.name] = (endpoint, now + for_s, found)
        return plain + kept[2]

    async def _ask(self, endpoint: Endpoint) -> tuple[ListedModel, ...]:
        wall_s = self._clock.wall_ns() / 1e9
        known = self._forwarder.routes.learned.known(endpoint.name, "", wall_s)
        if known.models_missing:
            return ()
        source = self._forwarder.routes.own_key(endpoint, self._clock.monotonic())
        key = await self._forwarder.key_texts.fetch(endpoint.name, source) if source is not None else ""
        target = self._forwarder.target(endpoint)
        dialect = endpoint.dialects[0]
        head = target.head(
            MODELS,
            length=0,
            auth=auth_headers(endpoint, source or KeySource(), known, dialect)[0],
            key=key,
            client=(),
            dialect=dialect,
            native=False,
        )
        connection = await self._pool.connect(target.origin, ASK_TIMEOUT_S)
        try:
            await connection.send((head,), ASK_TIMEOUT_S)
            parts: list[bytes] = []
            while data := await connection.chunk(ASK_TIMEOUT_S):
                parts.append(data)
                if sum(map(len, parts)) > MAX_LIST_BYTES:
                    raise ValueError("its list of models is too long")
            if connection.status != 200:
                raise ValueError(f"status {connection.status}")
        finally:
            connection.close()
        value: Any = msgspec.json.decode(b"".join(parts))
        listed = value.get("data") if isinstance(value, dict) else None
        models = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
        return tuple(
            ListedModel(one["id"], str(one.get("display_name") or ""), owner=endpoint.name)
            for one in models[:MAX_MODELS]
            if isinstance(one.get("id"), str)
        )
