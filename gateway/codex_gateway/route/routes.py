"""All endpoints with what is known of them now: breakers, keys, affinity, learned facts. One object for the gateway.

Pure in that it reads no clock and does no I/O: `now_s` is monotonic, `wall_s` is seconds since 1970, both handed in.

    choice = routes.choose(wanted, now_s, wall_s)
    for candidate in choice.candidates:
        leave = routes.admit(candidate, now_s)          # None: in the meantime it is out; the next one
        ... one attempt ...
        routes.succeeded(leave, now_s)                  # or failed / key_failed / abandoned: exactly one of them
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from codex_gateway.config.endpoint import Endpoint, PoolKey
from codex_gateway.config.model import Config
from codex_gateway.config.reload import changes
from codex_gateway.route.affinity import Affinity
from codex_gateway.route.breaker import Breaker, Closed, HalfOpen, Open, Permit
from codex_gateway.route.budget import RetryBudget
from codex_gateway.route.choose import WELL, Barrier, Candidate, Choice, Condition, Wanted, choose
from codex_gateway.route.keys import KeyPool, KeyStatus, KeyTrouble
from codex_gateway.route.learned import NOTHING, Fact, Learned


@dataclass(frozen=True, slots=True)
class Leave:
    """Leave to send one request to an endpoint with a key; hand it back with the result."""

    endpoint: str
    key: str
    """Name of the key; empty where the endpoint has none."""
    source: PoolKey | None
    permit: Permit
    key_permit: Permit | None
    way: object
    """The endpoint's state that gave it: after a reload another may have taken its place."""


@dataclass(frozen=True, kw_only=True)
class EndpointStatus:
    """How an endpoint is, for people."""

    endpoint: Endpoint
    state: str
    """`ready`, `probing`, `out` or `disabled`."""
    why: str
    back_in_s: float
    keys: tuple[KeyStatus, ...]
    facts: tuple[Fact, ...]


class _Way:
    """One endpoint's breaker and keys."""

    def __init__(self, endpoint: Endpoint, config: Config) -> None:
        self.endpoint = endpoint
        self.breaker = Breaker(config.breaker)
        self.keys = KeyPool(endpoint.auth.pool(), config.breaker)
        self.last_model = ""
        """The model that it was asked for last."""

    def condition(self, now_s: float) -> Condition:
        if not self.breaker.passes(now_s):
            match self.breaker.state(now_s):
                case Open(until_s=until_s, why=why):
                    wait_s = max(0.0, until_s - now_s)
                    return Condition(
                        f"it is left alone for {wait_s:.0f} s more after failures ({why})", back_in_s=wait_s
                    )
                case HalfOpen(why=why):
                    return Condition(f"another request is trying it out after failures ({why})", back_in_s=1.0)
                case Closed():
                    return WELL
        if self.keys.wanted and not self.keys.usable(now_s):
            wait_s = self.keys.back_in_s(now_s)
            return Condition(f"it has no key that works ({self.keys.why_none(now_s)})", Barrier.KEYS, wait_s)
        return WELL


class Routes:
    """All endpoints. Not for several threads."""

    def __init__(self, config: Config, learned: Learned, uniform: Callable[[], float]) -> None:
        self.learned = learned
        self.affinity = Affinity(config.affinity)
        self.budget = RetryBudget(config.retries)
        self._uniform = uniform
        self._config = config
        self._ways = {endpoint.name: _Way(endpoint, config) for endpoint in config.endpoints}

    def __repr__(self) -> str:
        return f"Routes({len(self._ways)} endpoints, {self.learned!r}, {self.affinity!r})"

    @property
    def config(self) -> Config:
        """The configuration in force."""
        return self._config

    def apply(self, config: Config) -> list[Fact]:
        """Use another configuration. Endpoints whose way in did not change keep what is known of them.

        Returns the facts that were forgotten: those of endpoints that are gone or have another URL.
        """
        before = {endpoint.name: endpoint.url for endpoint in self._config.endpoints}
        after = {endpoint.name: endpoint.url for endpoint in config.endpoints}
        forgotten = [
            fact
            for name, url in before.items()
            if after.get(name) != url
            for fact in self.learned.forget(endpoint=name)
        ]
        difference = changes(self._config, config)
        ways = {}
        for endpoint in config.endpoints:
            way = self._ways.get(endpoint.name)
            if way is None or endpoint.name in difference.reconnect:
                way = _Way(endpoint, config)
            way.endpoint = endpoint
            for breaker in (way.breaker, *way.keys.breakers.values()):
                breaker.configure(config.breaker)
            ways[endpoint.name] = way
        for name in difference.removed:
            self.affinity.forget_endpoint(name)
        self._ways = ways
        self._config = config
        self.affinity.configure(config.affinity)
        self.budget.configure(config.retries)
        return forgotten

    def choose(self, wanted: Wanted, now_s: float, wall_s: float) -> Choice:
        """Return the endpoints to ask, in order, and why not the others."""
        learns = self._config.learned.enabled
        return choose(
            self._config.endpoints,
            wanted,
            known=lambda name, model: self.learned.known(name, model, wall_s) if learns else NOTHING,
            condition=lambda name: self._ways[name].condition(now_s),
            uniform=self._uniform,
        )

    def admit(self, candidate: Candidate, now_s: float, tried_keys: Collection[str] = ()) -> Leave | None:
        """Take leave to send one request to a candidate, with one of its keys; None where it is out by now, or all its
        keys are in `tried_keys`."""
        name = candidate.endpoint.name
        way = self._ways.get(name)
        if way is None or not way.breaker.passes(now_s):
            return None
        key, key_permit = "", None
        if way.keys.wanted:
            picked = way.keys.pick(now_s, self._uniform, preferred=candidate.key, tried=tried_keys)
            if picked is None:
                return None
            key, key_permit = picked, way.keys.breakers[picked].admit(now_s)
        permit = way.breaker.admit(now_s)
        if permit is None:
            raise RuntimeError(f"{way.breaker!r} passes and does not admit")
        way.last_model = candidate.model
        source = way.keys.source(key) if key else None
        return Leave(name, key, source, permit, key_permit, way)

    def succeeded(self, leave: Leave, now_s: float) -> None:
        """The endpoint answered: with an answer, or with an error that is the request's own fault."""
        if (way := self._way(leave)) is not None:
            way.breaker.succeeded(leave.permit, now_s)
            if leave.key_permit is not None:
                way.keys.breakers[leave.key].succeeded(leave.key_permit, now_s)

    def failed(self, leave: Leave, now_s: float, why: str, retry_after_s: float | None = None) -> None:
        """The endpoint failed: no connection, 5xx, no first byte in time, a stream that broke."""
        if (way := self._way(leave)) is not None:
            way.breaker.failed(leave.permit, now_s, why, retry_after_s or 0.0)
            if leave.key_permit is not None:
                way.keys.breakers[leave.key].abandoned(leave.key_permit, now_s)

    def key_failed(self, leave: Leave, now_s: float, trouble: KeyTrouble, retry_after_s: float | None = None) -> None:
        """The key failed (see `key_trouble`); the endpoint is well.

        Without any key it is the endpoint's failure: it is rate limited, or wants a key.
        """
        way = self._way(leave)
        if way is None:
            return
        if leave.key_permit is None:
            way.breaker.failed(leave.permit, now_s, trouble.value, retry_after_s or 0.0)
            return
        way.breaker.succeeded(leave.permit, now_s)
        way.keys.breakers[leave.key].abandoned(leave.key_permit, now_s)
        way.keys.out(leave.key, trouble, now_s, retry_after_s)

    def abandoned(self, leave: Leave, now_s: float) -> None:
        """The request ended without saying anything about the endpoint: the client went away."""
        if (way := self._way(leave)) is not None:
            way.breaker.abandoned(leave.permit, now_s)
            if leave.key_permit is not None:
                way.keys.breakers[leave.key].abandoned(leave.key_permit, now_s)

    def out(self, now_s: float) -> list[str]:
        """Names of the enabled endpoints whose breaker is not closed: those that active checks are for."""
        return [
            name
            for name, way in self._ways.items()
            if way.endpoint.enabled and not isinstance(way.breaker.state(now_s), Closed)
        ]

    def checked(self, name: str, now_s: float, healthy: bool, why: str = "") -> None:
        """An active check of an endpoint that is out ended."""
        way = self._ways.get(name)
        if way is None:
            return
        if healthy:
            way.breaker.reset()
        elif isinstance(way.breaker.state(now_s), HalfOpen):
            way.breaker.open(now_s, why)

    def last_model(self, name: str) -> str:
        """The model that an endpoint was asked for last; empty where it was not asked yet."""
        return self._ways[name].last_model if name in self._ways else ""

    def own_key(self, endpoint: Endpoint, now_s: float) -> PoolKey | None:
        """A key for a request of the gateway's own: one that works, where there is one; None where there is no key."""
        there = [key for key in endpoint.auth.pool() if key.enabled]
        works = self._ways[endpoint.name].keys.usable(now_s) if endpoint.name in self._ways else ()
        return next((key for key in there if key.name in works), there[0] if there else None)

    def reset(self, names: Iterable[str] | None = None) -> list[str]:
        """Close breakers and bring keys back, of all endpoints where none is named. Returns the names it knew."""
        known = [name for name in (self._ways if names is None else names) if name in self._ways]
        for name in known:
            self._ways[name].breaker.reset()
            self._ways[name].keys.restore()
        return known

    def statuses(self, now_s: float, wall_s: float) -> list[EndpointStatus]:
        """How all endpoints are, in the order of the file."""
        facts = self.learned.all(wall_s)
        return [self._status(way, now_s, facts) for way in self._ways.values()]

    def _status(self, way: _Way, now_s: float, facts: list[Fact]) -> EndpointStatus:
        condition = way.condition(now_s)
        if not way.endpoint.enabled:
            state, why, back_in_s = "disabled", "", 0.0
        elif condition.why_out:
            state, why, back_in_s = "out", condition.why_out, condition.back_in_s
        else:
            half_open = way.breaker.state(now_s)
            state = "probing" if isinstance(half_open, HalfOpen) else "ready"
            why, back_in_s = half_open.why if isinstance(half_open, HalfOpen) else "", 0.0
        return EndpointStatus(
            endpoint=way.endpoint,
            state=state,
            why=why,
            back_in_s=back_in_s,
            keys=tuple(way.keys.statuses(now_s)),
            facts=tuple(fact for fact in facts if fact.endpoint == way.endpoint.name),
        )

    def _way(self, leave: Leave) -> _Way | None:
        way = self._ways.get(leave.endpoint)
        return way if way is leave.way else None
