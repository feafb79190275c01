"""The restart budget and the back-off: bounds that hold for every policy and every history of deaths."""

from __future__ import annotations

import pytest
from codex_supervisor.instance.budget import Policy, RestartBudget, backoff_s
from codex_supervisor.instance.events import ChildDied, ChildReady, StartWanted, Tick
from codex_supervisor.instance.states import Backoff, Core, Failed, Starting, next_wake
from codex_supervisor.instance.step import step
from hypothesis import assume, given
from hypothesis import strategies as st

# The bounds of the configuration (config.py).
policies = st.builds(
    Policy,
    restart_burst=st.integers(1, 1000),
    restart_refill_s=st.floats(0.1, 86_400),
    backoff_initial_s=st.floats(0, 3600),
    backoff_max_s=st.floats(0, 3600),
)
jitters = st.floats(0, 1, exclude_max=True)
gaps_s = st.floats(0, 1e6)


@given(policy=policies, recent=st.integers(0, 100_000), jitter=jitters)
def test_a_wait_is_never_negative_and_never_past_the_cap(policy: Policy, recent: int, jitter: float) -> None:
    assert 0.0 <= backoff_s(policy, recent, jitter) <= policy.backoff_max_s


@given(policy=policies, jitter=jitters)
def test_the_first_restart_waits_for_nothing(policy: Policy, jitter: float) -> None:
    budget = RestartBudget.full(policy, 0.0).spend(policy, 0.0)
    assert budget is not None
    assert backoff_s(policy, budget.recent_restarts(policy), jitter) == 0.0


@given(policy=policies, recent=st.integers(2, 50), jitter=jitters)
def test_the_bound_doubles_up_to_the_cap_and_the_jitter_is_full(policy: Policy, recent: int, jitter: float) -> None:
    bound = min(policy.backoff_max_s, policy.backoff_initial_s * 2.0 ** (recent - 2))
    assert backoff_s(policy, recent, 0.0) == 0.0
    assert backoff_s(policy, recent, jitter) == pytest.approx(bound * jitter)
    assert backoff_s(policy, recent, 0.999) <= backoff_s(policy, recent + 1, 0.999)


@given(policy=policies, gaps=st.lists(gaps_s, max_size=60))
def test_tokens_stay_between_none_and_the_burst(policy: Policy, gaps: list[float]) -> None:
    now, budget = 0.0, RestartBudget.full(policy, 0.0)
    for gap in gaps:
        now += gap
        budget = budget.spend(policy, now) or budget.refilled(policy, now)
        assert 0.0 <= budget.tokens <= policy.restart_burst
        assert 0 <= budget.recent_restarts(policy) <= policy.restart_burst


@given(policy=policies, gaps=st.lists(gaps_s, max_size=60))
def test_in_any_time_there_are_no_more_restarts_than_the_burst_and_what_time_gave_back(
    policy: Policy, gaps: list[float]
) -> None:
    now, budget, restarts = 0.0, RestartBudget.full(policy, 0.0), 0
    for gap in gaps:
        now += gap
        spent = budget.spend(policy, now)
        restarts += spent is not None
        budget = spent or budget
    assert restarts <= policy.restart_burst + now / policy.restart_refill_s + 1e-6


def test_a_clock_that_stands_or_steps_back_gives_nothing() -> None:
    policy = Policy()
    budget = RestartBudget(2.0, 100.0)
    assert budget.refilled(policy, 100.0).tokens == budget.refilled(policy, 40.0).tokens == 2.0


@given(
    burst=st.integers(1, 12),
    initial_s=st.floats(0, 1),
    lifetime_s=st.floats(0, 5),
    refill_s=st.floats(1, 600),
    data=st.data(),
)
def test_a_child_that_dies_soon_after_it_was_ready_for_ever_ends_in_failed(
    burst: int, initial_s: float, lifetime_s: float, refill_s: float, data: st.DataObject
) -> None:
    policy = Policy(restart_burst=burst, restart_refill_s=refill_s, backoff_initial_s=initial_s, backoff_max_s=30.0)
    # What one round may take: living, and the longest wait that so many restarts can lead to.
    longest_s = lifetime_s + min(policy.backoff_max_s, initial_s * 2.0 ** max(0, burst - 2))
    assume(longest_s * 1.5 < refill_s)  # a child that lives longer than the refill is not in a loop
    now = 0.0
    core, _ = step(Core(RestartBudget.full(policy, now)), StartWanted(), now, policy)
    most = int(burst / (1 - longest_s / refill_s)) + 2
    for _ in range(most):
        assert isinstance(core.state, Starting)
        generation = core.generation
        core, _ = step(core, ChildReady(generation), now, policy)
        now += lifetime_s
        core, _ = step(core, ChildDied(generation, "died again", data.draw(jitters)), now, policy)
        if isinstance(core.state, Failed):
            return
        if isinstance(core.state, Backoff):
            due = next_wake(core, policy.idle_after_s)
            assert due is not None
            now = max(now, due)
            core, _ = step(core, Tick(), now, policy)
    pytest.fail(f"still {core.state} after {most} deaths")


def test_the_default_policy_gives_up_on_a_child_that_lives_one_second() -> None:
    policy, now, deaths = Policy(), 0.0, 0
    core, _ = step(Core(RestartBudget.full(policy, now)), StartWanted(), now, policy)
    while not isinstance(core.state, Failed):
        core, _ = step(core, ChildReady(core.generation), now, policy)
        now += 1.0
        deaths += 1
        core, _ = step(core, ChildDied(core.generation, "died again", 0.999), now, policy)
        if isinstance(core.state, Backoff):
            now = core.state.until
            core, _ = step(core, Tick(), now, policy)
    assert deaths == 6
    assert now < 15
