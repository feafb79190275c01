"""The breaker, as transcripts and as a state machine."""

from __future__ import annotations

from codex_gateway.config.model import BreakerConfig
from codex_gateway.route.breaker import Breaker, Closed, HalfOpen, Open, Permit
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

SETTINGS = BreakerConfig(window=10, minimum=4, failure_rate=50, consecutive=3, open_for=5, open_for_max=40, probes=2)


def _fail(breaker: Breaker, now_s: float, times: int = 1) -> None:
    for _ in range(times):
        permit = breaker.admit(now_s)
        assert permit is not None
        breaker.failed(permit, now_s, "503")


def _succeed(breaker: Breaker, now_s: float) -> None:
    permit = breaker.admit(now_s)
    assert permit is not None
    breaker.succeeded(permit, now_s)


def test_failures_in_a_row_open_it() -> None:
    breaker = Breaker(SETTINGS)
    _fail(breaker, 0, 2)
    _succeed(breaker, 0)
    assert breaker.state(0) == Closed()
    breaker = Breaker(SETTINGS)
    _fail(breaker, 0, 3)
    assert breaker.state(4.9) == Open(5, "503")
    assert breaker.admit(4.9) is None


def test_a_rate_opens_it_only_with_enough_results() -> None:
    breaker = Breaker(SETTINGS)
    _fail(breaker, 0)
    _succeed(breaker, 0)
    _fail(breaker, 0)
    assert breaker.state(0) == Closed()  # 2 of 3
    _succeed(breaker, 0)
    _fail(breaker, 0)  # 3 of 5
    assert isinstance(breaker.state(0), Open)


def test_old_results_leave_the_window() -> None:
    breaker = Breaker(SETTINGS)
    for now_s in (0.0, 0.0):
        _fail(breaker, now_s)
        _succeed(breaker, now_s)
    for now_s in (11.0, 12.0):
        _succeed(breaker, now_s)
        _succeed(breaker, now_s)
    _fail(breaker, 12)
    assert breaker.state(12) == Closed()


def test_probes_close_it_or_open_it_for_longer() -> None:
    breaker = Breaker(SETTINGS)
    _fail(breaker, 0, 3)
    assert breaker.state(5) == HalfOpen("503")
    first, second, third = (breaker.admit(5) for _ in range(3))
    assert first is not None
    assert second is not None
    assert third is None
    breaker.succeeded(first, 6)
    breaker.failed(second, 6, "timeout")
    assert breaker.state(6) == Open(16, "timeout")  # 10 s
    _fail(breaker, 16)
    assert breaker.state(16) == Open(36, "503")  # 20 s
    _fail(breaker, 36)
    _fail(breaker, 76)
    assert breaker.state(76) == Open(116, "503")  # the cap
    _succeed(breaker, 116)
    _succeed(breaker, 116)
    assert breaker.state(116) == Closed()
    _fail(breaker, 117, 3)
    assert breaker.state(117) == Open(122, "503")  # the first again


def test_a_retry_after_keeps_it_open_as_long_as_asked() -> None:
    breaker = Breaker(SETTINGS)
    _fail(breaker, 0, 2)
    permit = breaker.admit(0)
    assert permit is not None
    breaker.failed(permit, 0, "429", at_least_s=300)
    assert breaker.state(299) == Open(300, "429")


def test_a_late_result_of_an_earlier_state_says_nothing() -> None:
    breaker = Breaker(SETTINGS)
    late = breaker.admit(0)
    assert late is not None
    _fail(breaker, 0, 3)
    _succeed(breaker, 5)
    _succeed(breaker, 5)
    assert breaker.state(5) == Closed()
    for _ in range(10):
        breaker.failed(late, 6, "too late")
    assert breaker.state(6) == Closed()


def test_a_probe_that_was_abandoned_makes_room_and_one_that_is_lost_too() -> None:
    breaker = Breaker(SETTINGS)
    _fail(breaker, 0, 3)
    first, second = breaker.admit(5), breaker.admit(5)
    assert first is not None
    assert second is not None
    breaker.abandoned(first, 6)
    assert breaker.admit(6) is not None
    assert breaker.admit(6) is None
    assert breaker.passes(47)  # 40 s after the last probe


class BreakerMachine(RuleBasedStateMachine):
    """Any order of requests, results and time."""

    def __init__(self) -> None:
        super().__init__()
        self.breaker = Breaker(SETTINGS)
        self.now_s = 0.0
        self.under_way: list[Permit] = []
        self.failures_since_success = 0

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.0, 4.0, 11.0, 50.0]))
    def wait(self, seconds: float) -> None:
        self.now_s += seconds

    @rule()
    def ask(self) -> None:
        passes = self.breaker.passes(self.now_s)
        permit = self.breaker.admit(self.now_s)
        assert (permit is not None) == passes
        if permit is not None:
            self.under_way.append(permit)

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), result=st.sampled_from(["ok", "failed", "failed", "abandoned"]))
    def end(self, data: st.DataObject, result: str) -> None:
        permit = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        before = self.breaker.state(self.now_s)
        if result == "ok":
            self.breaker.succeeded(permit, self.now_s)
        elif result == "failed":
            self.breaker.failed(permit, self.now_s, "x")
        else:
            self.breaker.abandoned(permit, self.now_s)
        after = self.breaker.state(self.now_s)
        # Success never opens, failure never closes.
        assert not (result == "ok" and isinstance(after, Open) and not isinstance(before, Open))
        assert not (result == "failed" and isinstance(after, Closed) and not isinstance(before, Closed))
        # Nothing but a probe's result moves an open breaker before its time.
        if isinstance(before, Open):
            assert after == before

    @invariant()
    def open_lets_nothing_in_and_ends(self) -> None:
        state = self.breaker.state(self.now_s)
        if isinstance(state, Open):
            assert not self.breaker.passes(self.now_s)
            assert self.now_s < state.until_s <= self.now_s + SETTINGS.open_for_max

    @invariant()
    def it_is_never_stuck(self) -> None:
        later = Breaker(SETTINGS)
        later.__dict__.update({name: _copy(value) for name, value in self.breaker.__dict__.items()})
        assert later.passes(self.now_s + 2 * SETTINGS.open_for_max + 1)


def _copy(value: object) -> object:
    import copy

    return copy.deepcopy(value)


BreakerMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestBreakerMachine = BreakerMachine.TestCase
