"""How much each client token, and all of them together, may ask for."""

from __future__ import annotations

from dataclasses import dataclass

from codex_control.service.clock import Clock

from codex_gateway.config.model import ClientsConfig
from codex_gateway.ingress.tokens import Token

_DAY_NS = 86_400 * 10**9
DRAIN_RETRY_S = 5.0
"""What a client is told to wait while the gateway stops or is full."""


@dataclass(slots=True)
class _Spent:
    running: int = 0
    allowance: float = -1.0
    """Requests that may begin now; refilled by time. -1: not counted yet."""
    filled_s: float = 0.0
    day: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a request may not begin."""

    why: str
    retry_after_s: float
    everybody: bool = False
    """It is not about this token: the gateway is full."""


class Limits:
    """Counts what every token has under way and has used. `begin` and `end` go in pairs."""

    def __init__(self, clock: Clock, defaults: ClientsConfig, concurrent: int) -> None:
        self._clock = clock
        self._defaults = defaults
        self._concurrent = concurrent
        self._spent: dict[str, _Spent] = {}
        self.running = 0
        """Requests under way."""

    def __repr__(self) -> str:
        return f"<Limits running={self.running} of {self._concurrent}>"

    def change(self, defaults: ClientsConfig, concurrent: int) -> None:
        """Take a new configuration; what is under way stays."""
        self._defaults = defaults
        self._concurrent = concurrent

    def begin(self, token: Token) -> Refused | None:
        """Count a request in; None where it may begin."""
        if self.running >= self._concurrent:
            return Refused(f"the gateway has {self.running} requests under way, as many as it may", 1.0, everybody=True)
        spent = self._spent.get(token.name)
        if spent is None:
            spent = self._spent[token.name] = _Spent()
        most = token.concurrent or self._defaults.concurrent
        if most and spent.running >= most:
            return Refused(f"the token {token.name} has {spent.running} requests under way, as many as it may", 1.0)
        refused = self._tokens_left(token, spent) or self._rate(token, spent)
        if refused is None:
            spent.running += 1
            self.running += 1
        return refused

    def _rate(self, token: Token, spent: _Spent) -> Refused | None:
        per_minute = token.requests_per_minute or self._defaults.requests_per_minute
        if not per_minute:
            return None
        now = self._clock.monotonic()
        if spent.allowance < 0:
            spent.allowance = float(per_minute)
        else:
            spent.allowance = min(per_minute, spent.allowance + (now - spent.filled_s) * per_minute / 60)
        spent.filled_s = now
        if spent.allowance < 1:
            wait_s = (1 - spent.allowance) * 60 / per_minute
            return Refused(f"the token {token.name} may begin {per_minute} requests in a minute", wait_s)
        spent.allowance -= 1
        return None

    def _tokens_left(self, token: Token, spent: _Spent) -> Refused | None:
        most = token.tokens_per_day or self._defaults.tokens_per_day
        if not most:
            return None
        day, into_ns = divmod(self._clock.wall_ns(), _DAY_NS)
        if spent.day != day:
            spent.day, spent.tokens = day, 0
        if spent.tokens < most:
            return None
        left_s = (_DAY_NS - into_ns) / 10**9
        return Refused(f"the token {token.name} has used its {most} tokens of today (UTC)", left_s)

    def end(self, token: Token, tokens: int) -> None:
        """Count a request out that used `tokens` tokens, in and out."""
        self.running -= 1
        spent = self._spent[token.name]
        spent.running -= 1
        self.used(token.name, tokens)

    def used(self, name: str, tokens: int) -> None:
        """Count `tokens` for today; for what a record from before a restart knows, too."""
        spent = self._spent.setdefault(name, _Spent())
        day = self._clock.wall_ns() // _DAY_NS
        if spent.day != day:
            spent.day, spent.tokens = day, 0
        spent.tokens += tokens
