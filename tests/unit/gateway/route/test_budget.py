"""The retry budget as a state machine; back-off; Retry-After."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime

import pytest
from codex_gateway.config.model import RetryConfig
from codex_gateway.route.budget import RetryBudget, backoff_s, retry_after_in_text, retry_after_s
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

SETTINGS = RetryConfig(budget_ratio=20, budget_minimum=3, budget_window=10)


class BudgetMachine(RuleBasedStateMachine):
    """Any order of requests, retries and time: never more retries in a window than the budget says."""

    def __init__(self) -> None:
        super().__init__()
        self.budget = RetryBudget(SETTINGS)
        self.now_s = 0.0
        self.requests: list[float] = []
        self.retries: list[float] = []

    @rule(seconds=st.sampled_from([0.0, 0.1, 1.0, 3.0, 25.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(number=st.integers(1, 30))
    def ask(self, number: int) -> None:
        for _ in range(number):
            self.budget.request(self.now_s)
            self.requests.append(self.now_s)

    @rule()
    def retry(self) -> None:
        # A bucket leaves when its begin does: what is counted is between nine and ten tenths of the window.
        surely = [at for at in self.retries if self.now_s - at < SETTINGS.budget_window * 0.9]
        perhaps = [at for at in self.requests if self.now_s - at <= SETTINGS.budget_window]
        taken = self.budget.take(self.now_s)
        if taken:
            assert len(surely) + 1 <= SETTINGS.budget_minimum + 0.2 * len(perhaps)
            self.retries.append(self.now_s)
        elif not self.requests:
            assert len(self.retries) >= SETTINGS.budget_minimum

    @rule()
    def a_quiet_window_gives_the_minimum_back(self) -> None:
        self.now_s += SETTINGS.budget_window + 0.001
        for _ in range(SETTINGS.budget_minimum):
            assert self.budget.take(self.now_s)
            self.retries.append(self.now_s)


BudgetMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBudgetMachine = BudgetMachine.TestCase


def test_an_outage_is_not_multiplied() -> None:
    budget = RetryBudget(RetryConfig(budget_ratio=20, budget_minimum=0, budget_window=10))
    sent = 0
    for _ in range(1000):
        budget.request(1.0)
        sent += 1
        while budget.take(1.0):
            sent += 1
    assert 1150 <= sent <= 1200


@given(retry=st.integers(1, 5000), uniform=st.floats(0, 1))
def test_backoff_is_between_nothing_and_its_cap(retry: int, uniform: float) -> None:
    assert 0 <= backoff_s(retry, SETTINGS, uniform) <= SETTINGS.backoff_max


def test_backoff_doubles() -> None:
    assert [backoff_s(retry, SETTINGS, 1.0) for retry in (1, 2, 3, 4, 5, 6)] == [0.5, 1, 2, 4, 8, 8]


NOW_S = 1_700_000_000.0


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"retry-after": "12"}, 12),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": format_datetime(dt.datetime.fromtimestamp(NOW_S + 90, dt.UTC), usegmt=True)}, 90),
        ({"retry-after": format_datetime(dt.datetime.fromtimestamp(NOW_S - 90, dt.UTC), usegmt=True)}, 0),
        ({"retry-after": "99999999999"}, 7 * 86_400),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1e9"}, None),
    ],
)
def test_retry_after_is_read(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW_S) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("Rate limit reached. Please try again in 20s. Visit …", 20),
        ("Please try again in 6m12.5s.", 372.5),
        ("Please try again in 1h2m3s", 3723),
        ("try again in 250ms", 0.25),
        ("Please retry after 30 seconds.", 30),
        ("Please try again in a moment", None),
        ("nothing", None),
    ],
)
def test_a_wait_in_words_is_read(message: str, seconds: float | None) -> None:
    assert retry_after_in_text(message) == seconds


@given(value=st.text(max_size=40))
def test_any_text_is_read_or_not(value: str) -> None:
    for found in (retry_after_s({"retry-after": value}, NOW_S), retry_after_in_text(value)):
        assert found is None or 0 <= found <= 7 * 86_400
