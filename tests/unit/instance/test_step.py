"""Transcripts of the core: each test reads as what happened to one instance."""

from __future__ import annotations

import math

import pytest
from codex_supervisor.instance.budget import Policy
from codex_supervisor.instance.events import (
    CancelWanted,
    ChildAdopted,
    ChildDied,
    ChildFound,
    ChildReady,
    EndTurn,
    Event,
    HibernateWanted,
    InterruptTurn,
    KillChild,
    ProbeAnswered,
    ProbeMissed,
    RecycleWanted,
    RestartWanted,
    RunTurn,
    Spawn,
    StartDeferred,
    StartRefused,
    StartWanted,
    StopChild,
    StopWanted,
    Tick,
    TreeGone,
    TurnAccepted,
    TurnFound,
    TurnOver,
)
from codex_supervisor.instance.states import (
    Backoff,
    Busy,
    Failed,
    Hibernated,
    Ready,
    Starting,
    Stopped,
    Stopping,
    Then,
    next_wake,
)
from codex_supervisor.store.records import Cause, Outcome

from tests.unit.instance.story import Story, cancelled, failed

FORCE, POLITE = True, False
ONE_RESTART = Policy(restart_burst=1)


def awake(policy: Policy | None = None) -> Story:
    """An instance whose first child is ready, at time 1."""
    story = Story(policy or Policy())
    story.hears(StartWanted(), Spawn(1)).is_now(Starting(1, deadline=30.0))
    return story.at(1.0).hears(ChildReady(1)).is_now(Ready(1, idle_since=1.0))


def busy(policy: Policy | None = None) -> Story:
    """An instance whose first child runs turn a, with b behind it."""
    story = awake(policy).hears(TurnAccepted("a"), RunTurn(1, "a")).hears(TurnAccepted("b"))
    return story.is_now(Busy(1, "a"), "b")


# --- turns ----------------------------------------------------------------------------------------------------------


def test_an_ask_wakes_a_stopped_instance_and_turns_run_one_at_a_time_in_order() -> None:
    story = Story().hears(TurnAccepted("a"), Spawn(1)).is_now(Starting(1, 30.0), "a")
    story.hears(TurnAccepted("b")).is_now(Starting(1, 30.0), "a", "b")
    story.at(2.0).hears(ChildReady(1), RunTurn(1, "a")).is_now(Busy(1, "a"), "b")
    story.hears(TurnOver("a"), RunTurn(1, "b")).is_now(Busy(1, "b"))
    story.at(9.0).hears(TurnOver("b")).is_now(Ready(1, idle_since=9.0))
    story.hears(TurnAccepted("c"), RunTurn(1, "c")).is_now(Busy(1, "c"))


def test_the_end_of_a_turn_that_does_not_run_changes_nothing() -> None:
    busy().ignores(TurnOver("b"), TurnOver("unknown"))
    awake().ignores(TurnOver("a"))
    Story().ignores(TurnOver("a"))


def test_a_waiting_turn_is_cancelled_where_it_stands_and_a_running_one_by_codex() -> None:
    story = busy().hears(TurnAccepted("c"))
    before_it_ran = EndTurn("b", Outcome.CANCELLED, Cause.USER, "cancelled before it ran")
    story.hears(CancelWanted("b", Cause.USER), before_it_ran).is_now(Busy(1, "a"), "c")
    story.hears(CancelWanted("a", Cause.TIMED_OUT), InterruptTurn(1, "a", Cause.TIMED_OUT)).is_now(Busy(1, "a"), "c")
    story.ignores(CancelWanted("unknown", Cause.USER), TurnOver("b"))
    story.hears(TurnOver("a"), RunTurn(1, "c"))


def test_a_waiting_turn_whose_time_is_up_fails() -> None:
    too_late = EndTurn("b", Outcome.FAILED, Cause.TIMED_OUT, "ended before it ran: timed_out")
    busy().hears(CancelWanted("b", Cause.TIMED_OUT), too_late).is_now(Busy(1, "a"))


# --- a child that dies ----------------------------------------------------------------------------------------------


def test_a_child_that_dies_idle_is_replaced_at_once() -> None:
    story = awake().hears(ChildDied(1, "killed", jitter=0.9), Spawn(2)).is_now(Starting(2, deadline=31.0)).restarts(1)
    story.hears(ChildReady(2)).is_now(Ready(2, idle_since=1.0))


def test_a_turn_is_carried_on_by_the_next_child_and_the_queue_stays() -> None:
    story = busy().hears(ChildDied(1, "killed", jitter=0.9), Spawn(2)).is_now(Starting(2, 31.0, carry_on="a"), "b")
    story.hears(ChildReady(2), RunTurn(2, "a")).is_now(Busy(2, "a"), "b").restarts(1)
    story.hears(TurnOver("a"), RunTurn(2, "b")).is_now(Busy(2, "b"))


def test_the_second_death_in_a_row_waits_its_back_off() -> None:
    story = busy().hears(ChildDied(1, "killed", jitter=0.5), Spawn(2))
    # 2 ms give a little of the budget back; the wait still counts two restarts.
    story.at(1.002).hears(ChildDied(2, "killed again", jitter=0.5))
    story.is_now(Backoff(until=1.002 + 0.125, reason="killed again", carry_on="a"), "b").restarts(2)
    story.ignores(Tick(), ChildReady(2), ChildDied(2, "late", 0.5), TreeGone(2), StartWanted())
    story.at(1.127).hears(Tick(), Spawn(3)).is_now(Starting(3, 31.127, carry_on="a"), "b")


def test_a_spent_budget_fails_the_instance_and_ends_its_turns_in_order() -> None:
    story = busy(ONE_RESTART).hears(ChildDied(1, "killed", 0.5), Spawn(2)).hears(ChildReady(2), RunTurn(2, "a"))
    story.hears(ChildDied(2, "killed again", 0.5), failed("a", "killed again"), failed("b", "killed again"))
    story.is_now(Failed("killed again", retry_at=601.0)).restarts(1)
    story.ignores(HibernateWanted(), TurnOver("a"), TurnOver("b"), ChildReady(2), TreeGone(2))


def test_a_failed_instance_is_tried_once_after_its_cool_down() -> None:
    story = awake(ONE_RESTART).hears(ChildDied(1, "x", 0.5), Spawn(2)).hears(ChildDied(2, "x", 0.5))
    story.is_now(Failed("x", retry_at=601.0)).at(600.9).ignores(Tick())
    story.at(601.0).hears(Tick(), Spawn(3)).at(602.0).hears(ChildReady(3))
    story.at(603.0).hears(ChildDied(3, "x again", 0.5)).is_now(Failed("x again", retry_at=1203.0))


def test_a_cool_down_of_zero_means_never() -> None:
    story = awake(Policy(restart_burst=1, cool_down_s=0.0))
    story.hears(ChildDied(1, "x", 0.5), Spawn(2)).hears(ChildDied(2, "x", 0.5)).is_now(Failed("x", math.inf))
    assert next_wake(story.core, 900.0) is None
    story.at(1e12).ignores(Tick())


@pytest.mark.parametrize("wish", [StartWanted(), RestartWanted(POLITE), RestartWanted(FORCE)])
def test_a_person_gives_a_failed_instance_its_whole_budget_back(wish: Event) -> None:
    story = awake(ONE_RESTART).hears(ChildDied(1, "x", 0.5), Spawn(2)).hears(ChildDied(2, "x", 0.5))
    story.hears(wish, Spawn(3)).hears(ChildReady(3)).hears(ChildDied(3, "x", 0.5), Spawn(4))


def test_an_ask_that_comes_as_the_instance_fails_ends_at_once() -> None:
    story = awake(ONE_RESTART).hears(ChildDied(1, "x", 0.5), Spawn(2)).hears(ChildDied(2, "x", 0.5))
    story.hears(TurnAccepted("late"), failed("late", "x")).is_now(Failed("x", 601.0))


def test_a_start_that_is_put_off_spends_nothing_and_what_waits_goes_on_waiting() -> None:
    story = Story(ONE_RESTART).hears(TurnAccepted("a"), Spawn(1))
    story.hears(StartDeferred(1, "no gateway", 0.5)).is_now(Backoff(0.125, "no gateway"), "a")
    for generation in range(2, 20):
        story.at(story.now + 30.0).hears(Tick(), Spawn(generation))
        story.hears(StartDeferred(generation, "no gateway", 0.999))
    story.is_now(Backoff(story.now + 0.999 * 30.0, "no gateway"), "a").restarts(0)
    story.ignores(StartDeferred(18, "late", 0.5))
    too_late = EndTurn("b", Outcome.FAILED, Cause.TIMED_OUT, "ended before it ran: timed_out; no gateway")
    story.hears(TurnAccepted("b")).hears(CancelWanted("b", Cause.TIMED_OUT), too_late)
    story.at(story.now + 30.0).hears(Tick(), Spawn(20)).hears(ChildReady(20), RunTurn(20, "a"))
    story.hears(ChildDied(20, "x", 0.5), Spawn(21)).restarts(1)
    story.hears(StartDeferred(21, "no gateway", 0.5)).is_now(Backoff(story.now + 0.125, "no gateway", carry_on="a"))


def test_a_start_that_cannot_work_fails_without_spending_restarts() -> None:
    story = Story().hears(TurnAccepted("a"), Spawn(1))
    story.hears(StartRefused(1, "no Codex"), failed("a", "no Codex", Cause.CODEX))
    story.is_now(Failed("no Codex", 600.0)).restarts(0)
    story.ignores(StartRefused(1, "no Codex"))


def test_a_child_that_is_not_ready_in_time_is_killed_and_replaced() -> None:
    story = Story().hears(TurnAccepted("a"), Spawn(1)).at(29.9).ignores(Tick())
    story.at(30.0).hears(Tick(), KillChild(1, "it was not ready within 30 s"))
    story.is_now(Starting(1, 30.0, overdue=True), "a").ignores(Tick())
    assert next_wake(story.core, 900.0) is None
    story.hears(ChildDied(1, "it was not ready within 30 s", 0.5), Spawn(2)).is_now(Starting(2, 60.0), "a")


def test_a_child_that_is_ready_at_the_last_moment_is_used_until_it_is_dead() -> None:
    story = Story().hears(StartWanted(), Spawn(1)).at(30.0).hears(Tick(), KillChild(1, "it was not ready within 30 s"))
    story.hears(ChildReady(1)).is_now(Ready(1, 30.0)).hears(ChildDied(1, "killed", 0.5), Spawn(2))


@pytest.mark.parametrize("event", [ChildReady(1), ChildDied(1, "late", 0.5), TreeGone(1), StartRefused(1, "late")])
def test_late_words_of_an_earlier_child_change_nothing(event: Event) -> None:
    story = busy().hears(ChildDied(1, "killed", 0.5), Spawn(2)).ignores(event)
    story.hears(ChildReady(2), RunTurn(2, "a")).ignores(event, ProbeMissed(1), ProbeAnswered(1), RecycleWanted(1))
    story.hears(StopWanted(FORCE), cancelled("a"), cancelled("b"), StopChild(2, cut=True)).ignores(event)


# --- probes and memory ----------------------------------------------------------------------------------------------


def test_three_missed_probes_in_a_row_kill_the_child_once() -> None:
    story = awake().hears(ProbeMissed(1)).hears(ProbeMissed(1)).is_now(Ready(1, 1.0, misses=2))
    story.hears(ProbeAnswered(1)).is_now(Ready(1, 1.0)).ignores(ProbeAnswered(1))
    story.hears(ProbeMissed(1)).hears(ProbeMissed(1))
    story.hears(ProbeMissed(1), KillChild(1, "3 probes in a row went unanswered")).hears(ProbeMissed(1))
    story.hears(ChildDied(1, "3 probes in a row went unanswered", 0.5), Spawn(2))


def test_misses_are_counted_while_a_turn_runs_and_forgotten_between_turns() -> None:
    story = busy().hears(ProbeMissed(1)).hears(ProbeMissed(1)).is_now(Busy(1, "a", misses=2), "b")
    story.hears(TurnOver("a"), RunTurn(1, "b")).is_now(Busy(1, "b"))


def test_an_oversized_idle_child_hibernates() -> None:
    story = awake().hears(RecycleWanted(1), StopChild(1, cut=False)).is_now(Stopping(1, Then.HIBERNATE))
    story.hears(TreeGone(1)).is_now(Hibernated())


def test_an_oversized_busy_child_is_recycled_between_two_turns() -> None:
    story = busy().hears(RecycleWanted(1)).is_now(Busy(1, "a", then=Then.HIBERNATE), "b").ignores(RecycleWanted(1))
    story.hears(TurnOver("a"), StopChild(1, cut=False)).is_now(Stopping(1, Then.HIBERNATE), "b")
    story.hears(TreeGone(1), Spawn(2)).hears(ChildReady(2), RunTurn(2, "b")).restarts(0)


# --- hibernation ----------------------------------------------------------------------------------------------------


def test_an_idle_child_hibernates_and_the_next_ask_wakes_it() -> None:
    story = awake()
    assert next_wake(story.core, 900.0) == 901.0
    story.at(900.9).ignores(Tick())
    story.at(901.0).hears(Tick(), StopChild(1, cut=False)).is_now(Stopping(1, Then.HIBERNATE))
    story.hears(TreeGone(1)).is_now(Hibernated()).ignores(HibernateWanted(), Tick(), TurnOver("a"))
    story.hears(TurnAccepted("a"), Spawn(2)).hears(ChildReady(2), RunTurn(2, "a"))


def test_an_ask_in_the_middle_of_hibernating_gets_a_new_child() -> None:
    story = awake().hears(HibernateWanted(), StopChild(1, cut=False)).hears(TurnAccepted("a"))
    story.is_now(Stopping(1, Then.RESTART), "a").hears(TreeGone(1), Spawn(2)).hears(ChildReady(2), RunTurn(2, "a"))


def test_a_busy_child_does_not_hibernate() -> None:
    busy().ignores(HibernateWanted(), Tick())
    assert next_wake(busy().core, 900.0) is None


def test_an_idle_time_of_zero_means_never() -> None:
    story = awake(Policy(idle_after_s=0.0))
    assert next_wake(story.core, 0.0) is None
    story.at(1e9).ignores(Tick())


# --- stop -----------------------------------------------------------------------------------------------------------


def test_a_stopped_instance_is_stopped_only_when_everything_is_gone() -> None:
    story = awake().hears(StopWanted(POLITE), StopChild(1, cut=False)).is_now(Stopping(1, Then.STOP))
    story.ignores(ChildDied(1, "terminated", 0.5), StopWanted(FORCE), Tick(), HibernateWanted(), ProbeMissed(1))
    story.hears(TreeGone(1)).is_now(Stopped())


def test_a_polite_stop_lets_the_running_turn_end_and_cancels_the_waiting_ones() -> None:
    story = busy().hears(StopWanted(POLITE), cancelled("b")).is_now(Busy(1, "a", then=Then.STOP))
    story.hears(TurnOver("a"), StopChild(1, cut=False)).is_now(Stopping(1, Then.STOP))
    story.hears(TreeGone(1)).is_now(Stopped())


def test_a_forced_stop_cuts_the_running_turn_off() -> None:
    story = busy().hears(StopWanted(FORCE), cancelled("a"), cancelled("b"), StopChild(1, cut=True))
    story.is_now(Stopping(1, Then.STOP)).ignores(TurnOver("a"), TurnOver("b")).hears(TreeGone(1)).is_now(Stopped())


def test_a_polite_stop_lets_the_turn_end_over_the_death_of_its_child() -> None:
    story = busy().hears(StopWanted(POLITE), cancelled("b"))
    story.hears(ChildDied(1, "killed", 0.5), Spawn(2)).is_now(Starting(2, 31.0, carry_on="a", last=True)).restarts(1)
    story.hears(ChildDied(2, "killed", 0.5)).is_now(Backoff(1.125, "killed", carry_on="a", last=True))
    story.at(2.0).hears(Tick(), Spawn(3)).hears(ChildReady(3), RunTurn(3, "a")).is_now(Busy(3, "a", then=Then.STOP))
    story.hears(TurnOver("a"), StopChild(3, cut=False)).hears(TreeGone(3)).is_now(Stopped())


def test_a_stopped_instance_whose_last_turn_cannot_be_carried_on_is_stopped_and_not_failed() -> None:
    story = busy(ONE_RESTART).hears(StopWanted(POLITE), cancelled("b")).hears(ChildDied(1, "killed", 0.5), Spawn(2))
    story.hears(ChildDied(2, "killed", 0.5), failed("a", "killed"), StopChild(2, cut=True))
    story.is_now(Stopping(2, Then.STOP)).hears(TreeGone(2)).is_now(Stopped())
    story = busy().hears(StopWanted(POLITE), cancelled("b")).hears(ChildDied(1, "killed", 0.5), Spawn(2))
    gone = failed("a", "no Codex", Cause.CODEX)
    story.hears(StartRefused(2, "no Codex"), gone, StopChild(2, cut=True)).hears(TreeGone(2)).is_now(Stopped())


def test_a_stop_while_starting_takes_the_half_started_child_down() -> None:
    story = Story().hears(TurnAccepted("a"), Spawn(1)).hears(StopWanted(POLITE), cancelled("a"), StopChild(1, cut=True))
    story.is_now(Stopping(1, Then.STOP)).ignores(ChildReady(1)).hears(TreeGone(1)).is_now(Stopped())


def backing_off() -> Story:
    """An instance whose second child died at once: turn a is carried on by the third, with b behind it."""
    story = busy().hears(ChildDied(1, "x", 0.5), Spawn(2)).hears(ChildDied(2, "x", 0.5))
    return story.is_now(Backoff(1.125, "x", carry_on="a"), "b")


def restarting() -> Story:
    """An instance whose child has died: turn a is carried on by the next, with b behind it."""
    return busy().hears(ChildDied(1, "x", 0.5), Spawn(2)).is_now(Starting(2, 31.0, carry_on="a"), "b")


def test_a_forced_stop_cuts_off_a_turn_that_no_child_has() -> None:
    backing_off().hears(StopWanted(FORCE), cancelled("a"), cancelled("b")).is_now(Stopped())
    story = restarting().hears(StopWanted(FORCE), cancelled("a"), cancelled("b"), StopChild(2, cut=True))
    story.is_now(Stopping(2, Then.STOP))


def test_a_polite_stop_lets_a_turn_end_that_no_child_has() -> None:
    story = backing_off().hears(StopWanted(POLITE), cancelled("b")).is_now(Backoff(1.125, "x", "a", last=True))
    story.ignores(StopWanted(POLITE))
    story.at(2.0).hears(Tick(), Spawn(3)).is_now(Starting(3, 32.0, "a", last=True)).ignores(StopWanted(POLITE))
    story.hears(ChildReady(3), RunTurn(3, "a")).is_now(Busy(3, "a", then=Then.STOP))
    story = restarting().hears(StopWanted(POLITE), cancelled("b")).is_now(Starting(2, 31.0, "a", last=True))
    story.hears(StopWanted(FORCE), cancelled("a"), StopChild(2, cut=True)).is_now(Stopping(2, Then.STOP))


def test_a_stop_that_waits_for_a_turn_comes_when_the_turn_has_ended_otherwise() -> None:
    story = backing_off().hears(StopWanted(POLITE), cancelled("b")).hears(TurnOver("a")).is_now(Stopped())
    story = restarting().hears(StopWanted(POLITE), cancelled("b")).hears(TurnOver("a"), StopChild(2, cut=True))
    story.is_now(Stopping(2, Then.STOP))
    ended = EndTurn("a", Outcome.CANCELLED, Cause.USER, "cancelled while its child was away")
    backing_off().hears(StopWanted(POLITE), cancelled("b")).hears(CancelWanted("a", Cause.USER), ended).is_now(
        Stopped()
    )
    story = restarting().hears(StopWanted(POLITE), cancelled("b"))
    story.hears(CancelWanted("a", Cause.USER), ended, StopChild(2, cut=True)).is_now(Stopping(2, Then.STOP))


def test_a_stop_of_what_has_no_child_is_done_at_once() -> None:
    Story().hears(StopWanted(POLITE)).is_now(Stopped())
    asleep = awake().hears(HibernateWanted(), StopChild(1, cut=False)).hears(TreeGone(1)).is_now(Hibernated())
    asleep.hears(StopWanted(POLITE)).is_now(Stopped())
    broken = Story().hears(StartWanted(), Spawn(1)).hears(StartRefused(1, "no Codex"))
    broken.hears(StopWanted(POLITE)).is_now(Stopped())


# --- the last wish wins ---------------------------------------------------------------------------------------------


def test_a_start_after_a_stop_wins() -> None:
    story = awake().hears(StopWanted(POLITE), StopChild(1, cut=False)).hears(StartWanted())
    story.is_now(Stopping(1, Then.RESTART)).hears(TreeGone(1), Spawn(2)).hears(ChildReady(2)).is_now(Ready(2, 1.0))


def test_a_start_during_the_last_turn_takes_the_stop_back() -> None:
    story = busy().hears(StopWanted(POLITE), cancelled("b")).hears(StartWanted()).is_now(Busy(1, "a"))
    story.hears(TurnOver("a")).is_now(Ready(1, 1.0))


def test_a_start_or_an_ask_takes_back_the_stop_of_an_instance_between_two_children() -> None:
    for story in backing_off(), restarting():
        state = story.core.state
        story.hears(StopWanted(POLITE), cancelled("b")).hears(StartWanted()).is_now(state)
        story.hears(StopWanted(POLITE)).hears(TurnAccepted("c")).is_now(state, "c")


def test_a_start_does_not_take_a_restart_back() -> None:
    busy().hears(RestartWanted(POLITE)).ignores(StartWanted()).is_now(Busy(1, "a", then=Then.RESTART), "b")


def test_an_ask_after_a_stop_wins() -> None:
    story = busy().hears(StopWanted(POLITE), cancelled("b")).hears(TurnAccepted("c")).is_now(Busy(1, "a"), "c")
    story.hears(StopWanted(FORCE), cancelled("a"), cancelled("c"), StopChild(1, cut=True)).hears(TurnAccepted("d"))
    story.is_now(Stopping(1, Then.RESTART), "d").hears(TreeGone(1), Spawn(2)).hears(ChildReady(2), RunTurn(2, "d"))


def test_a_stop_after_a_restart_wins() -> None:
    story = busy().hears(RestartWanted(FORCE), StopChild(1, cut=True)).is_now(Stopping(1, Then.RESTART, "a"), "b")
    story.hears(StopWanted(FORCE), cancelled("a"), cancelled("b")).is_now(Stopping(1, Then.STOP))
    story.hears(TreeGone(1)).is_now(Stopped())


def test_a_polite_stop_after_a_forced_restart_lets_the_turn_end_first() -> None:
    story = busy().hears(RestartWanted(FORCE), StopChild(1, cut=True)).hears(StopWanted(POLITE), cancelled("b"))
    story.is_now(Stopping(1, Then.STOP, "a")).hears(TreeGone(1), Spawn(2)).is_now(Starting(2, 31.0, "a", last=True))
    story.hears(ChildReady(2), RunTurn(2, "a")).is_now(Busy(2, "a", then=Then.STOP))


# --- restart --------------------------------------------------------------------------------------------------------


def test_a_polite_restart_waits_for_the_turn_and_keeps_the_queue() -> None:
    story = busy().hears(RestartWanted(POLITE)).is_now(Busy(1, "a", then=Then.RESTART), "b")
    story.hears(TurnOver("a"), StopChild(1, cut=False)).is_now(Stopping(1, Then.RESTART), "b")
    story.hears(TreeGone(1), Spawn(2)).hears(ChildReady(2), RunTurn(2, "b")).restarts(0)


def test_a_forced_restart_carries_the_turn_over() -> None:
    story = busy().hears(RestartWanted(FORCE), StopChild(1, cut=True)).is_now(Stopping(1, Then.RESTART, "a"), "b")
    story.ignores(ChildDied(1, "killed", 0.5))
    story.hears(TreeGone(1), Spawn(2)).is_now(Starting(2, 31.0, carry_on="a"), "b")
    story.hears(ChildReady(2), RunTurn(2, "a")).restarts(0)


def test_a_restart_of_what_is_coming_up_replaces_it() -> None:
    story = busy().hears(ChildDied(1, "x", 0.5), Spawn(2))
    story.hears(RestartWanted(POLITE), StopChild(2, cut=True)).is_now(Stopping(2, Then.RESTART, "a"), "b")
    story.hears(TreeGone(2), Spawn(3)).hears(ChildReady(3), RunTurn(3, "a"))


def test_a_restart_does_not_wait_for_the_back_off() -> None:
    story = busy().hears(ChildDied(1, "x", 0.5), Spawn(2)).hears(ChildDied(2, "x", 0.5))
    story.hears(RestartWanted(POLITE), Spawn(3)).is_now(Starting(3, 31.0, carry_on="a"), "b")


@pytest.mark.parametrize("wish", [StartWanted(), RestartWanted(POLITE)])
def test_start_and_restart_bring_up_what_is_down(wish: Event) -> None:
    Story().hears(wish, Spawn(1)).is_now(Starting(1, 30.0))
    asleep = awake().hears(HibernateWanted(), StopChild(1, cut=False)).hears(TreeGone(1))
    asleep.hears(wish, Spawn(2)).is_now(Starting(2, 31.0))


# --- a turn that is to be carried on --------------------------------------------------------------------------------


@pytest.mark.parametrize("turn", ["a", "b"])
def test_a_turn_between_two_children_can_be_cancelled(turn: str) -> None:
    story = busy().hears(ChildDied(1, "x", 0.5), Spawn(2))
    sentence = "cancelled while its child was away" if turn == "a" else "cancelled before it ran"
    story.hears(CancelWanted(turn, Cause.USER), EndTurn(turn, Outcome.CANCELLED, Cause.USER, sentence))
    left = "b" if turn == "a" else "a"
    story.hears(ChildReady(2), RunTurn(2, left)).is_now(Busy(2, left))


def test_a_turn_that_ends_as_its_child_goes_is_not_carried_on() -> None:
    story = busy().hears(ChildDied(1, "x", 0.5), Spawn(2)).hears(TurnOver("a")).is_now(Starting(2, 31.0), "b")
    story.hears(ChildReady(2), RunTurn(2, "b"))
    story = busy().hears(RestartWanted(FORCE), StopChild(1, cut=True)).hears(TurnOver("a"))
    story.is_now(Stopping(1, Then.RESTART), "b")


# --- after a restart of the supervisor ------------------------------------------------------------------------------


def test_an_adopted_child_goes_on_with_its_turn() -> None:
    story = Story().hears(ChildAdopted(7, "a"), RunTurn(7, "a")).is_now(Busy(7, "a"))
    story.hears(TurnAccepted("b")).hears(TurnOver("a"), RunTurn(7, "b")).hears(ChildDied(7, "x", 0.5), Spawn(8))


def test_an_adopted_idle_child_waits() -> None:
    Story().at(5.0).hears(ChildAdopted(7, None)).is_now(Ready(7, 5.0)).hears(TurnAccepted("a"), RunTurn(7, "a"))


def test_a_sent_turn_without_a_child_gets_a_new_one_before_those_that_wait() -> None:
    story = Story().hears(TurnFound("a"), Spawn(1)).hears(TurnAccepted("b")).is_now(Starting(1, 30.0, "a"), "b")
    story.hears(ChildReady(1), RunTurn(1, "a")).hears(TurnOver("a"), RunTurn(1, "b"))


def test_a_child_that_was_found_and_is_silent_is_starting_until_it_answers() -> None:
    story = Story().hears(ChildFound(7, "a")).is_now(Starting(7, 30.0, carry_on="a"))
    story.hears(TurnAccepted("b")).hears(ChildReady(7), RunTurn(7, "a")).is_now(Busy(7, "a"), "b")
    story = Story().hears(ChildFound(7, None)).hears(TurnAccepted("a")).hears(ChildReady(7), RunTurn(7, "a"))


def test_a_child_that_was_found_and_stays_silent_is_replaced() -> None:
    story = Story().hears(ChildFound(7, "a")).hears(ChildDied(7, "it did not answer", 0.5), Spawn(8))
    story.is_now(Starting(8, 30.0, carry_on="a")).restarts(1)
    Story().hears(ChildFound(7, "a")).hears(StopWanted(FORCE), cancelled("a"), StopChild(7, cut=True))
