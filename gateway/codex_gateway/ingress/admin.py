"""What the gateway tells its own commands, and does for them. Only the role `admin` gets here; answers are JSON.

No answer holds a key, a prompt, or the query of an endpoint's URL.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web
from codex_control.errors import BadInput, NotFound
from codex_control.service.clock import Clock
from codex_control.service.nearest import did_you_mean
from codex_control.service.redaction import redact

from codex_gateway.config.model import endpoint_named
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.ingress.admin_messages import (
    AboutGateway,
    EndpointState,
    Facts,
    ForgetRequest,
    KeyState,
    LastError,
    Names,
    ResetRequest,
    State,
    TrialRequest,
    Trials,
    UnderWay,
    state_of,
)
from codex_gateway.ingress.errors import refuse
from codex_gateway.ingress.routes import Page
from codex_gateway.route.learned import Fact
from codex_gateway.route.routes import EndpointStatus, Routes
from codex_gateway.upstream.trail import Attempt, Entry
from codex_gateway.upstream.trial import Trial

LAST_ERRORS = 5
"""Errors kept of each endpoint."""
MAX_TRIAL_S = 300.0
MAX_BODY_BYTES = 64 * 1024


class LastErrors:
    """The last errors of each endpoint."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._of: dict[str, deque[LastError]] = {}

    def __repr__(self) -> str:
        return f"<LastErrors of {len(self._of)} endpoints>"

    def ended(self, attempt: Attempt) -> None:
        """Look at an attempt that ended."""
        if attempt.outcome in ("ok", "", "client_gone"):
            return
        errors = self._of.setdefault(attempt.endpoint, deque(maxlen=LAST_ERRORS))
        errors.appendleft(
            LastError(
                at_ns=self._clock.wall_ns(),
                status=attempt.status,
                outcome=attempt.outcome,
                reason=redact(attempt.reason),
                model=attempt.model,
                key=attempt.key,
            )
        )

    def of(self, endpoint: str) -> tuple[LastError, ...]:
        """Those of one endpoint, the newest first."""
        return tuple(self._of.get(endpoint, ()))


class Admin:
    """Answers the admin routes. `forgotten` hears of the facts that were forgotten."""

    def __init__(
        self,
        *,
        clock: Clock,
        routes: Routes,
        trial: Trial,
        errors: LastErrors,
        under_way: Callable[[], Sequence[tuple[float, Entry]]],
        about: Callable[[], AboutGateway],
        forgotten: Callable[[Sequence[Fact]], None],
    ) -> None:
        self._clock = clock
        self._routes = routes
        self._trial = trial
        self._errors = errors
        self._under_way = under_way
        self._about = about
        self._forgotten = forgotten

    async def answer(self, page: Page, request: web.BaseRequest) -> web.Response:
        """Answer one request."""
        try:
            return await self._answer(page, request)
        except BadInput as error:
            return refuse(Dialect.CHAT, 400, str(error))
        except NotFound as error:
            return refuse(Dialect.CHAT, 404, str(error))

    async def _answer(self, page: Page, request: web.BaseRequest) -> web.Response:
        match page:
            case Page.ADMIN_STATE:
                return _json(self.state())
            case Page.ADMIN_RESET:
                return _json(self.reset(await _read(request, ResetRequest)))
            case Page.ADMIN_TEST:
                return _json(await self.test(await _read(request, TrialRequest)))
            case Page.ADMIN_LEARNED:
                return _json(Facts(tuple(self._routes.learned.all(self._wall_s()))))
            case Page.ADMIN_FORGET:
                return _json(self.forget(await _read(request, ForgetRequest)))
            case _:
                raise ValueError(f"{page} is no page of the admin")

    def _wall_s(self) -> float:
        return self._clock.wall_ns() / 1e9

    def state(self) -> State:
        """Everything at a glance."""
        running = self._under_way()
        statuses = self._routes.statuses(self._clock.monotonic(), self._wall_s())
        return State(
            gateway=self._about(),
            endpoints=tuple(self._endpoint(status, running) for status in statuses),
            running=tuple(_under_way(age_s, entry) for age_s, entry in running),
        )

    def _endpoint(self, status: EndpointStatus, running: Sequence[tuple[float, Entry]]) -> EndpointState:
        endpoint = status.endpoint
        return state_of(
            endpoint,
            status.state,
            (
                KeyState(name=key.name, weight=key.weight, enabled=key.enabled, out_for_s=key.out_for_s, why=key.why)
                for key in status.keys
            ),
            why=redact(status.why),
            back_in_s=status.back_in_s,
            facts=len(status.facts),
            running=sum(
                1
                for _, entry in running
                if entry.attempts and not entry.attempts[-1].outcome and entry.endpoint == endpoint.name
            ),
            last_errors=self._errors.of(endpoint.name),
        )

    def reset(self, wanted: ResetRequest) -> Names:
        """Bring endpoints and their keys back at once."""
        there = [endpoint.name for endpoint in self._routes.config.endpoints]
        for name in wanted.names:
            if name not in there:
                raise _no_endpoint(name, there)
        return Names(tuple(self._routes.reset(wanted.names or None)))

    async def test(self, wanted: TrialRequest) -> Trials:
        """Try an endpoint out."""
        config = self._routes.config
        endpoint = endpoint_named(config, wanted.name)
        if endpoint is None:
            raise _no_endpoint(wanted.name, [one.name for one in config.endpoints])
        model = self._trial.model(endpoint, wanted.model)
        if not model:
            raise BadInput(
                f"nothing says which model to ask {endpoint.name} for", next_step="name one that it has: `--model NAME`"
            )
        timeout_s = min(max(wanted.timeout_s, 0.1), MAX_TRIAL_S)
        return Trials(tuple(await self._trial.run(endpoint, model, timeout_s)))

    def forget(self, wanted: ForgetRequest) -> Facts:
        """Forget learned facts, here and in the records."""
        gone = self._routes.learned.forget(wanted.endpoint, wanted.topic, wanted.detail, wanted.model)
        self._forgotten(gone)
        return Facts(tuple(gone))


def _under_way(age_s: float, entry: Entry) -> UnderWay:
    return UnderWay(
        id=entry.id,
        age_s=age_s,
        client=str(entry.kind),
        token=entry.token,
        model=entry.model,
        endpoint=entry.endpoint,
        attempts=len(entry.attempts),
        stream=entry.stream,
        first_byte_s=entry.first_byte_s,
        bytes_out=entry.bytes_out,
    )


def _no_endpoint(name: str, there: Sequence[str]) -> NotFound:
    return NotFound(
        f"there is no endpoint {name[:200]!r}",
        why=f"there is {', '.join(there) or 'none'}",
        next_step=did_you_mean(name, there) or "`codex-gateway endpoints` lists them",
    )


async def _read(request: web.BaseRequest, kind: type[Any]) -> Any:
    if (request.content_length or 0) > MAX_BODY_BYTES:
        raise BadInput("the body is too long")
    try:
        return msgspec.json.decode(await request.read() or b"{}", type=kind)
    except msgspec.MsgspecError as error:
        raise BadInput("the body is wrong", why=str(error)) from error


def _json(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), content_type="application/json")
