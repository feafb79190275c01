"""A pool of keys: shares, keys that are out, and what says so."""

from __future__ import annotations

import json
import random
from collections import Counter

import pytest
from codex_gateway.config.endpoint import PoolKey
from codex_gateway.config.model import BreakerConfig
from codex_gateway.route.keys import KeyPool, KeyTrouble, key_trouble

KEYS = (PoolKey(name="a", env="A"), PoolKey(name="b", env="B", weight=3), PoolKey(name="c", env="C", enabled=False))


def _pool() -> KeyPool:
    return KeyPool(KEYS, BreakerConfig())


def test_shares_follow_the_weights() -> None:
    pool, generator = _pool(), random.Random(1)
    picked = Counter(pool.pick(0, generator.random) for _ in range(4000))
    assert set(picked) == {"a", "b"}
    assert abs(picked["b"] - 3000) < 150


def test_the_conversations_own_key_is_used_while_it_is_well() -> None:
    pool = _pool()
    assert pool.pick(0, random.random, preferred="a") == "a"
    pool.out("a", KeyTrouble.REFUSED, 0)
    assert pool.pick(0, random.random, preferred="a") == "b"
    assert pool.pick(0, random.random, preferred="c") == "b"


def test_a_key_that_is_out_leaves_the_others_and_comes_back() -> None:
    pool = _pool()
    pool.out("b", KeyTrouble.NO_BALANCE, 0)
    assert {pool.pick(0, random.random) for _ in range(50)} == {"a"}
    pool.out("a", KeyTrouble.RATE_LIMITED, 0, for_s=5)
    assert pool.pick(4, random.random) is None
    assert pool.why_none(4) == "key a: it is rate limited; key b: its balance is empty"
    assert pool.back_in_s(4) == 1
    assert pool.pick(5, random.random) == "a"
    assert pool.pick(1800, random.random, tried=("a",)) == "b"
    pool.out("b", KeyTrouble.REFUSED, 1800)
    pool.restore("b")
    assert pool.pick(1800, random.random, tried=("a",)) == "b"


def test_a_key_that_comes_back_is_tried_out_by_one_request() -> None:
    pool = _pool()
    pool.out("a", KeyTrouble.REFUSED, 0, for_s=5)
    probe = pool.breakers["a"].admit(5)
    assert probe is not None
    assert {pool.pick(5, random.random, preferred="a") for _ in range(9)} == {"b"}
    assert [one.why for one in pool.statuses(5)][:2] == ["it is being tried out", ""]
    pool.breakers["a"].succeeded(probe, 6)
    assert {pool.pick(6, random.random, preferred="a") for _ in range(9)} == {"a"}
    pool.out("a", KeyTrouble.RATE_LIMITED, 6, for_s=5)
    for _ in range(3):
        assert pool.breakers["a"].admit(11) is not None
        assert pool.pick(11, random.random, preferred="a") == "a", "a rate limit ends by itself, for all"


def test_a_key_has_a_breaker_of_its_own() -> None:
    pool = _pool()
    pool.breakers["a"].open(0, "it fails")
    assert pool.usable(1) == ["b"]
    assert [(one.name, one.out_for_s, one.why, one.enabled) for one in pool.statuses(1)] == [
        ("a", 14, "it fails", True),
        ("b", 0, "", True),
        ("c", 0, "it is disabled", False),
    ]


@pytest.mark.parametrize(
    ("status", "message", "trouble"),
    [
        (400, "Your credit balance is too low to access the Anthropic API.", KeyTrouble.NO_BALANCE),
        (429, "You exceeded your current quota, please check your plan and billing details.", KeyTrouble.NO_BALANCE),
        (402, "Insufficient Balance", KeyTrouble.NO_BALANCE),
        (403, "余额不足", KeyTrouble.NO_BALANCE),
        (402, "Payment required", KeyTrouble.NO_BALANCE),
        (401, "whatever", KeyTrouble.REFUSED),
        (400, "API key not valid. Please pass a valid API key.", KeyTrouble.REFUSED),
        (403, "Your account has been suspended", KeyTrouble.REFUSED),
        (429, "Rate limit reached for requests", KeyTrouble.RATE_LIMITED),
        (403, "This model is not available in your region", None),
        (400, "max_tokens is too large", None),
        (400, "Unknown parameter: 'prompt_cache_key'.", None),
        (400, "messages.0: the text 'no token' is wrong", None),
        (500, "Internal error", None),
        (529, "Overloaded", None),
    ],
)  # fmt: skip
def test_troubles_of_keys_are_told_from_others(status: int, message: str, trouble: KeyTrouble | None) -> None:
    # As JSON with escapes, and as plain text.
    assert key_trouble(status, json.dumps({"error": {"message": message}}).encode()) is trouble
    assert key_trouble(status, message.encode()) is trouble


def test_an_endpoint_without_keys_has_an_empty_pool() -> None:
    pool = KeyPool((), BreakerConfig())
    assert not pool
    assert pool.pick(0, random.random) is None
    assert pool.back_in_s(0) == 0
