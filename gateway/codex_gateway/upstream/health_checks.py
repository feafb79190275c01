"""Active checks of endpoints that are out, so that they come back without costing a client's request."""

from __future__ import annotations

import asyncio
import logging

import msgspec
from codex_control.errors import CodexError
from codex_control.service.clock import Clock

from codex_gateway.config.endpoint import KeySource
from codex_gateway.config.model import endpoint_named
from codex_gateway.config.urls import MODELS, PATHS
from codex_gateway.route.endpoint_facts import auth_headers
from codex_gateway.route.health import HealthCheck, check_for, is_healthy
from codex_gateway.upstream.failures import UpstreamFailed
from codex_gateway.upstream.forward import Forwarder
from codex_gateway.upstream.pool import Pool

_log = logging.getLogger(__name__)


class HealthChecks:
    """Asks each endpoint that is out, every `health.interval`."""

    def __init__(self, forwarder: Forwarder, pool: Pool, clock: Clock) -> None:
        self._forwarder = forwarder
        self._routes = forwarder.routes
        self._pool = pool
        self._clock = clock
        self._asked_s: dict[str, float] = {}

    async def run(self) -> None:
        """Check for ever."""
        while True:
            await asyncio.sleep(min(1.0, self._routes.config.health.interval))
            now = self._clock.monotonic()
            out = self._routes.out(now)
            self._asked_s = {name: at for name, at in self._asked_s.items() if name in out}
            due = [name for name in out if now - self._asked_s.get(name, -1e9) >= self._routes.config.health.interval]
            await asyncio.gather(*map(self._check, due))

    async def _check(self, name: str) -> None:
        config = self._routes.config
        endpoint = endpoint_named(config, name)
        if endpoint is None:
            return
        self._asked_s[name] = self._clock.monotonic()
        model = self._routes.last_model(name)
        known = self._routes.learned.known(name, model, self._clock.wall_ns() / 1e9)
        check = check_for(endpoint, config.health, known, model)
        if check is None:
            return
        try:
            status = await self.ask(check, config.health.timeout)
        except (UpstreamFailed, CodexError, ValueError) as error:
            healthy, why = False, str(error)[:200]
        else:
            healthy, why = is_healthy(status), f"a check got status {status}"
        self._routes.checked(name, self._clock.monotonic(), healthy, why)
        _log.info("endpoint_checked", extra={"endpoint": name, "healthy": healthy, "why": "" if healthy else why})

    async def ask(self, check: HealthCheck, timeout_s: float) -> int:
        """Send one check and return its status. Raises `UpstreamFailed`, or `CodexError` about its key."""
        config = self._routes.config
        endpoint = endpoint_named(config, check.endpoint)
        if endpoint is None:
            raise ValueError(f"there is no endpoint {check.endpoint}")
        target = self._forwarder.target(endpoint)
        source = self._routes.own_key(endpoint, self._clock.monotonic())
        key = await self._forwarder.key_texts.fetch(endpoint.name, source) if source is not None else ""
        known = self._routes.learned.known(endpoint.name, "", self._clock.wall_ns() / 1e9)
        body = b"" if check.body is None else msgspec.json.encode(check.body)
        head = target.head(
            MODELS if check.method == "GET" else PATHS[check.dialect],
            length=len(body),
            auth=auth_headers(endpoint, source or KeySource(), known, check.dialect)[0],
            key=key,
            client=(),
            dialect=check.dialect,
            native=False,
        )
        connection = await self._pool.connect(target.origin, min(timeout_s, endpoint.timeouts.connect))
        try:
            await connection.send((head, body), timeout_s)
            return connection.status
        finally:
            connection.close()
