"""Tries an endpoint out for a person: one cheap, real request in each dialect with each key. Breakers hear nothing."""

from __future__ import annotations

import msgspec
from codex_control.errors import CodexError
from codex_control.service.clock import Clock

from codex_gateway.config.endpoint import AuthHeader, Endpoint, KeySource, PoolKey
from codex_gateway.config.urls import PATHS
from codex_gateway.dialect.convert import read_error
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.choose import model_for
from codex_gateway.route.endpoint_facts import auth_headers
from codex_gateway.route.health import model_of, smallest_request
from codex_gateway.upstream.failures import UpstreamFailed
from codex_gateway.upstream.forward import Forwarder
from codex_gateway.upstream.key_texts import without_key
from codex_gateway.upstream.pool import Pool
from codex_gateway.upstream.trial_result import TrialResult

MAX_ANSWER_BYTES = 256 * 1024
WHY_CHARACTERS = 500


class Trial:
    """Tries endpoints."""

    def __init__(self, forwarder: Forwarder, pool: Pool, clock: Clock) -> None:
        self._forwarder = forwarder
        self._pool = pool
        self._clock = clock

    def model(self, endpoint: Endpoint, wanted: str) -> str:
        """The model to ask for: `wanted` by the client's name, else the one that was asked for last, else one of the
        configuration; empty where nothing names one."""
        routes = self._forwarder.routes
        if wanted:
            return model_for(endpoint, wanted)
        return routes.config.health.model or routes.last_model(endpoint.name) or model_of(endpoint)

    async def run(self, endpoint: Endpoint, model: str, timeout_s: float) -> list[TrialResult]:
        """Ask once in each dialect with each key, one after the other."""
        pool = endpoint.auth.pool()
        keys: list[PoolKey | None] = [key for key in pool if key.enabled]
        if pool and not keys:
            why = "all its keys are disabled"
            return [TrialResult(dialect=one, model=model, key="", well=False, why=why) for one in endpoint.dialects]
        found = []
        for key in keys or [None]:
            found += await self._with_key(endpoint, model, key, timeout_s)
        return found

    async def _with_key(
        self, endpoint: Endpoint, model: str, source: PoolKey | None, timeout_s: float
    ) -> list[TrialResult]:
        name = source.name if source is not None else ""
        try:
            key = await self._forwarder.key_texts.fetch(endpoint.name, source) if source is not None else ""
        except CodexError as error:
            return [
                TrialResult(dialect=dialect, model=model, key=name, well=False, why=str(error))
                for dialect in endpoint.dialects
            ]
        found = []
        for dialect in endpoint.dialects:
            result = TrialResult(dialect=dialect, model=model, key=name, well=False)
            known = self._forwarder.routes.learned.known(endpoint.name, model, self._clock.wall_ns() / 1e9)
            # As real requests do: another way to show the key where the first one is refused.
            for way in auth_headers(endpoint, source or KeySource(), known, dialect):
                result = await self._ask(endpoint, dialect, model, (name, key, way), timeout_s)
                if result.status != 401:
                    break
            found.append(result)
        return found

    async def _ask(
        self, endpoint: Endpoint, dialect: Dialect, model: str, key: tuple[str, str, AuthHeader], timeout_s: float
    ) -> TrialResult:
        known = self._forwarder.routes.learned.known(endpoint.name, model, self._clock.wall_ns() / 1e9)
        body = msgspec.json.encode(smallest_request(dialect, model, known))
        began = self._clock.monotonic()
        first_byte_s: float | None = None
        status, headers, parts = 0, {}, bytearray()
        try:
            target = self._forwarder.target(endpoint)
            head = target.head(
                PATHS[dialect], length=len(body), auth=key[2], key=key[1], client=(), dialect=dialect, native=False
            )
            connection = await self._pool.connect(target.origin, min(timeout_s, endpoint.timeouts.connect))
            try:
                await connection.send((head, body), timeout_s)
                first_byte_s = self._clock.monotonic() - began
                status = connection.status
                headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in connection.headers}
                while data := await connection.chunk(timeout_s):
                    parts += data
                    if len(parts) > MAX_ANSWER_BYTES:
                        break
            finally:
                connection.close()
            why = _why_not(dialect, status, headers, bytes(parts))
        except (UpstreamFailed, ValueError) as error:
            why = str(error)
        return TrialResult(
            dialect=dialect,
            model=model,
            key=key[0],
            well=not why,
            status=status,
            first_byte_s=first_byte_s,
            duration_s=self._clock.monotonic() - began,
            why=without_key(why, key[1])[:WHY_CHARACTERS],
        )


def _why_not(dialect: Dialect, status: int, headers: dict[str, str], body: bytes) -> str:
    if not 200 <= status < 300:
        return read_error(dialect, status, headers, body).message or f"status {status}"
    try:
        answer = msgspec.json.decode(body)
    except msgspec.MsgspecError:
        return "the answer is no JSON: is this the base URL of a model API?"
    key = {Dialect.MESSAGES: "content", Dialect.CHAT: "choices", Dialect.RESPONSES: "output"}[dialect]
    if not isinstance(answer, dict) or key not in answer:
        return f"the answer has no `{key}`: is this the base URL of a model API?"
    return ""
