"""An endpoint's pool of keys: shares by weight, and keys that are out while the others go on. Pure: `now_s` (monotonic)
and random numbers are handed in. Keys are known by their names here; their values are fetched elsewhere.
"""

from __future__ import annotations

import enum
import json
import re
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from codex_gateway.config.endpoint import PoolKey
from codex_gateway.config.model import BreakerConfig
from codex_gateway.route.breaker import Breaker, Open

EVIDENCE_CHARACTERS = 200


class KeyTrouble(enum.Enum):
    """Why a key is out."""

    REFUSED = "it was refused"
    """401, or 403 about the key: wrong, revoked or expired."""
    NO_BALANCE = "its balance is empty"
    """402, or an error that speaks of credit, quota or billing: somebody has to pay first."""
    RATE_LIMITED = "it is rate limited"
    """429: after a while it works again."""


OUT_FOR_S = {KeyTrouble.REFUSED: 3600.0, KeyTrouble.NO_BALANCE: 1800.0, KeyTrouble.RATE_LIMITED: 30.0}
"""How long a key is out where the endpoint does not say."""

# Words of real answers. Anthropic: "Your credit balance is too low to access the Anthropic API" (400). OpenAI:
# insufficient_quota "You exceeded your current quota" (429), billing_hard_limit_reached (400). DeepSeek: "Insufficient
# Balance" (402). OpenRouter: "Insufficient credits" (402). Zhipu, Moonshot: "余额不足", "exceeded_current_quota_error".
_NO_BALANCE = re.compile(
    r"credit balance is too low|insufficient[ _](?:balance|credits?|quota|funds?)|exceeded (?:your|its) current quota"
    r"|exceeded_current_quota|billing[_ ]hard[_ ]limit|billing_not_active|account is not active, please check"
    r"|arrearage|余额不足|欠费|额度不足",
    re.IGNORECASE,
)
_KEY_REFUSED = re.compile(
    r"(?:invalid|incorrect|expired|revoked|disabled|missing|unknown|malformed)[ _-](?:x-)?(?:api|auth\w*|access|bearer)"
    r"[ _-]?(?:key|token)|api[ _-]?key[^.]{0,40}(?:not valid|invalid|expired|revoked|disabled)|authentication_error"
    r"|unauthenticated|permission_error|account (?:has been )?(?:suspended|disabled|deactivated|banned)",
    re.IGNORECASE,
)


def key_trouble(status: int, body: bytes) -> KeyTrouble | None:
    """Say whether an error answer is about the key that was used; None where it is about something else."""
    text = _text(body)
    if status in (400, 401, 402, 403, 429) and _NO_BALANCE.search(text):
        return KeyTrouble.NO_BALANCE
    match status:
        case 401:
            return KeyTrouble.REFUSED
        case 402:
            return KeyTrouble.NO_BALANCE
        case 429:
            return KeyTrouble.RATE_LIMITED
        # 403 is often about a region or a model: only where it speaks of the key. Google says 400 for a wrong key.
        case 400 | 403 if _KEY_REFUSED.search(text):
            return KeyTrouble.REFUSED
        case _:
            return None


def _text(body: bytes) -> str:
    head = body[:8192].decode(errors="replace")
    try:
        # Escapes such as \u4f59 are read.
        return json.dumps(json.loads(body), ensure_ascii=False)[:8192] if len(body) <= 65_536 else head
    except (ValueError, RecursionError):
        return head


@dataclass(frozen=True)
class KeyStatus:
    """How a key is, for people."""

    name: str
    weight: int
    enabled: bool
    out_for_s: float
    """0 where it is used."""
    why: str


class KeyPool:
    """The keys of one endpoint. Without any key there is nothing to be out: requests go without authentication."""

    def __init__(self, keys: Iterable[PoolKey], breaker: BreakerConfig) -> None:
        listed = list(keys)
        self.wanted = bool(listed)
        """Whether the endpoint is asked with a key, be it that none works now."""
        self._keys = {key.name: key for key in listed if key.enabled}
        self._disabled = [key for key in listed if not key.enabled]
        self.breakers = {name: Breaker(breaker) for name in self._keys}

    def __repr__(self) -> str:
        return f"KeyPool({len(self._keys)} keys, {len(self._disabled)} disabled)"

    def __bool__(self) -> bool:
        return bool(self._keys)

    def source(self, name: str) -> PoolKey:
        """Where the key called `name` comes from. Raises `KeyError`."""
        return self._keys[name]

    def usable(self, now_s: float, tried: Collection[str] = ()) -> list[str]:
        """Names of the keys that may be used now."""
        return [name for name in self._keys if name not in tried and not self._why_out(name, now_s)]

    def pick(
        self, now_s: float, uniform: Callable[[], float], *, preferred: str = "", tried: Collection[str] = ()
    ) -> str | None:
        """Name a key to use: the conversation's own (`preferred`) while it is well, as caches belong to accounts; else
        by weight. None where none is left."""
        names = self.usable(now_s, tried)
        if preferred in names:
            return preferred
        if not names:
            return None
        mark = uniform() * sum(self._keys[name].weight for name in names)
        for name in names:
            mark -= self._keys[name].weight
            if mark < 0:
                return name
        return names[-1]

    def out(self, name: str, trouble: KeyTrouble, now_s: float, for_s: float | None = None) -> None:
        """Take a key out, for as long as the endpoint said, else as `OUT_FOR_S` says. Then one request tries it out;
        but a rate limit ends by itself, and who waited for that shall not wait for one long answer too."""
        if name in self._keys:
            until_s = now_s + (OUT_FOR_S[trouble] if for_s is None else for_s)
            self.breakers[name].open_until(until_s, trouble.value, probe=trouble is not KeyTrouble.RATE_LIMITED)

    def restore(self, name: str | None = None) -> None:
        """Use a key again at once; all of them without a name."""
        for one in [name] if name is not None else self.breakers:
            self.breakers[one].reset()

    def back_in_s(self, now_s: float) -> float:
        """Seconds until a key may be used; 0 where one may."""
        waits = [self._wait_s(name, now_s) for name in self._keys]
        return min(waits, default=0.0)

    def why_none(self, now_s: float) -> str:
        """Say why no key may be used."""
        said = [f"key {name}: {why}" for name in self._keys if (why := self._why_out(name, now_s))]
        return "; ".join(said) or "all its keys are disabled"

    def statuses(self, now_s: float) -> list[KeyStatus]:
        """How all keys are."""
        there = [
            KeyStatus(name, key.weight, True, self._wait_s(name, now_s), self._why_out(name, now_s))
            for name, key in self._keys.items()
        ]
        return there + [KeyStatus(key.name, key.weight, False, 0.0, "it is disabled") for key in self._disabled]

    def _why_out(self, name: str, now_s: float) -> str:
        if self.breakers[name].passes(now_s):
            return ""
        state = self.breakers[name].state(now_s)
        return state.why if isinstance(state, Open) else "it is being tried out"

    def _wait_s(self, name: str, now_s: float) -> float:
        state = self.breakers[name].state(now_s)
        return state.until_s - now_s if isinstance(state, Open) else 0.0
