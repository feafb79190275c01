"""Limits of tokens, under a clock that is turned by hand."""

from __future__ import annotations

from typing import Any

from codex_gateway.config.model import ClientsConfig
from codex_gateway.ingress.limits import Limits, Refused
from codex_gateway.ingress.tokens import Role, Token

DAY_NS = 86_400 * 10**9


class Hand:
    """A clock."""

    def __init__(self) -> None:
        self.at_s = 1000.0

    def monotonic(self) -> float:
        return self.at_s

    def wall_ns(self) -> int:
        return 20_000 * DAY_NS + int(self.at_s * 1e9)


def token(**limits: Any) -> Token:
    return Token(name="one", role=Role.CLIENT, sha256="", **limits)


def refused(answer: Refused | None) -> Refused:
    assert answer is not None
    return answer


def test_requests_in_a_minute_come_back_with_time() -> None:
    clock = Hand()
    limits, one = Limits(clock, ClientsConfig(), 100), token(requests_per_minute=2)
    assert limits.begin(one) is None
    assert limits.begin(one) is None
    assert refused(limits.begin(one)).retry_after_s == 30
    clock.at_s += 30
    assert limits.begin(one) is None
    clock.at_s += 3600
    assert [limits.begin(one) is None for _ in range(3)] == [True, True, False], "unused ones piled up"


def test_requests_at_once_are_counted_by_token_and_over_all() -> None:
    limits = Limits(Hand(), ClientsConfig(concurrent=1), 2)
    one = token()
    two = Token(name="two", role=Role.CLIENT, sha256="", concurrent=5)
    assert limits.begin(one) is None
    assert not refused(limits.begin(one)).everybody
    assert limits.begin(two) is None
    assert refused(limits.begin(two)).everybody
    limits.end(one, 0)
    assert limits.begin(two) is None
    assert limits.running == 2


def test_tokens_of_a_day_come_back_at_midnight_utc() -> None:
    clock = Hand()
    limits, one = Limits(clock, ClientsConfig(tokens_per_day=100), 10), token()
    assert limits.begin(one) is None
    limits.end(one, 100)
    assert refused(limits.begin(one)).retry_after_s == 86_400 - 1000
    clock.at_s = 86_401
    assert limits.begin(one) is None


def test_a_record_from_before_a_restart_counts() -> None:
    limits = Limits(Hand(), ClientsConfig(tokens_per_day=100), 10)
    limits.used("one", 100)
    assert limits.begin(token()) is not None
