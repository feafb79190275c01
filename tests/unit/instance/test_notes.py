"""What is told of a decision."""

from __future__ import annotations

import math

import pytest
from codex_supervisor.instance.budget import Policy, RestartBudget
from codex_supervisor.instance.events import (
    CancelWanted,
    ChildDied,
    ChildReady,
    Event,
    HibernateWanted,
    ProbeMissed,
    RestartWanted,
    StartRefused,
    StopWanted,
    Tick,
    TurnAccepted,
    TurnOver,
)
from codex_supervisor.instance.notes import Fields, idled, restart_reason, state_note
from codex_supervisor.instance.states import Backoff, Busy, Core, Failed, Ready, Starting, State, Stopped
from codex_supervisor.instance.step import step
from codex_supervisor.metrics import RESTART_REASONS
from codex_supervisor.store.records import Cause

POLICY = Policy(restart_burst=5, idle_after_s=900)
NOW = 1000.0


def core_in(state: State, *, queue: tuple[str, ...] = (), tokens: float = 5.0, generation: int = 1) -> Core:
    return Core(RestartBudget(tokens, NOW), state, queue, generation)


def noted(core: Core, event: Event, now: float = NOW) -> Fields | None:
    return state_note(core, event, step(core, event, now, POLICY)[0], now)


def test_a_death_in_a_turn_says_why_and_what_is_carried_on() -> None:
    note = noted(core_in(Busy(1, "t1"), tokens=4.0), ChildDied(1, "killed by signal 9", 0.5))
    assert note == {
        "state": "backoff",
        "was": "busy",
        "because": "ChildDied",
        "attempt": 1,
        "why": "killed by signal 9",
        "wait_s": 0.125,
        "turn": "t1",
    }


def test_a_new_child_is_told_even_where_the_state_keeps_its_name() -> None:
    note = noted(core_in(Starting(1, NOW + 30)), ChildDied(1, "exit 1", 0.0))
    assert note is not None
    assert (note["was"], note["state"], note["attempt"]) == ("starting", "starting", 2)


def test_a_stop_says_what_follows() -> None:
    note = noted(core_in(Ready(1, NOW)), Tick(), NOW + 900)
    assert note is not None
    assert (note["state"], note["then"]) == ("stopping", "hibernated")
    note = noted(core_in(Busy(1, "t1")), StopWanted(force=False))
    assert note is not None
    assert (note["was"], note["state"], note["then"]) == ("busy", "busy", "stopped")
    for state in Starting(1, NOW + 30, carry_on="t1"), Backoff(NOW + 5, "x", carry_on="t1"):
        note = noted(core_in(state), StopWanted(force=False))
        assert note is not None
        assert (note["turn"], note["then"]) == ("t1", "stopped")


def test_the_next_turn_of_the_queue_is_told() -> None:
    note = noted(core_in(Busy(1, "t1"), queue=("t2",)), TurnOver("t1"))
    assert note is not None
    assert note["turn"] == "t2"


def test_a_failure_says_when_it_is_tried_again() -> None:
    note = noted(core_in(Starting(1, NOW + 30)), StartRefused(1, "Codex was not found"))
    assert note is not None
    assert (note["state"], note["why"], note["wait_s"]) == ("failed", "Codex was not found", 600.0)
    never = Core(RestartBudget(0.0, NOW), Failed("gone", math.inf))
    told = state_note(core_in(Starting(1, NOW)), StartRefused(1, "gone"), never, NOW)
    assert told is not None
    assert "wait_s" not in told


@pytest.mark.parametrize(
    ("state", "event"),
    [
        (Busy(1, "t1"), TurnAccepted("t2")),
        (Busy(1, "t1"), CancelWanted("t1", Cause.USER)),
        (Ready(1, NOW), ProbeMissed(1)),
        (Stopped(), ChildReady(1)),
        (Ready(2, NOW), ChildDied(1, "an earlier child", 0.0)),
    ],
)
def test_what_changes_nothing_that_a_person_would_ask_about_is_not_told(state: State, event: Event) -> None:
    assert noted(core_in(state), event) is None


@pytest.mark.parametrize(
    ("state", "event", "reason"),
    [
        (Busy(1, "t1"), ChildDied(1, "x", 0.0), "child_died"),
        (Ready(1, NOW, misses=3), ChildDied(1, "x", 0.0), "probe_misses"),
        (Starting(1, NOW + 30), ChildDied(1, "x", 0.0), "start_failed"),
        (Ready(1, NOW), RestartWanted(force=False), "requested"),
        (Busy(1, "t1"), RestartWanted(force=False), "requested"),
        (Busy(1, "t1"), RestartWanted(force=True), "requested"),
        (Failed("x", NOW), Tick(), "cool_down"),
        (Stopped(), RestartWanted(force=False), None),
        (Backoff(NOW, "x"), Tick(), None),
        (Ready(1, NOW), StopWanted(force=False), None),
    ],
)
def test_restarts_are_counted_by_reason(state: State, event: Event, reason: str | None) -> None:
    core = core_in(state)
    assert restart_reason(core, event, step(core, event, NOW, POLICY)[0]) == reason
    assert reason is None or reason in RESTART_REASONS


def test_a_child_that_died_with_its_budget_spent_is_not_restarted() -> None:
    core = core_in(Busy(1, "t1"), tokens=0.0)
    assert restart_reason(core, ChildDied(1, "x", 0.0), step(core, ChildDied(1, "x", 0.0), NOW, POLICY)[0]) is None


def test_a_second_wish_for_a_restart_is_the_same_restart() -> None:
    core = core_in(Busy(1, "t1"))
    wanted = RestartWanted(force=False)
    once, _ = step(core, wanted, NOW, POLICY)
    twice, _ = step(once, wanted, NOW, POLICY)
    assert restart_reason(once, wanted, twice) is None


def test_idleness_alone_is_counted_as_idle() -> None:
    core = core_in(Ready(1, NOW))
    late = NOW + 900
    assert idled(core, Tick(), step(core, Tick(), late, POLICY)[0])
    assert not idled(core, HibernateWanted(), step(core, HibernateWanted(), NOW, POLICY)[0])
