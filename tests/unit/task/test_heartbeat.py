"""When a task counts as moving, still, dead, and stalled."""

from __future__ import annotations

import pytest
from codex_supervisor.task.heartbeat import Finding, Heart, Life, Pulse, look, next_look_s

MOVES = Pulse(answers=True, last_event_at=1e9, command_lives=False)
WORKS = Pulse(answers=True, last_event_at=0.0, command_lives=True)
STILL = Pulse(answers=True, last_event_at=0.0, command_lives=False)
DEAD = Pulse(answers=False, last_event_at=1e9, command_lives=True)


def looked(*pulses: Pulse, stall_after_s: float = 60.0) -> list[Finding]:
    """Looks every 10 s from 100 s on, the attempt having begun at 90 s."""
    heart, found = Heart(90.0, 90.0), []
    for number, pulse in enumerate(pulses):
        heart, finding = look(heart, pulse, 100.0 + 10 * number, stall_after_s)
        found.append(finding)
    return found


@pytest.mark.parametrize(
    ("pulse", "life"), [(MOVES, Life.MOVES), (WORKS, Life.MOVES), (STILL, Life.STILL), (DEAD, Life.DEAD)]
)
def test_one_look(pulse: Pulse, life: Life) -> None:
    (found,) = looked(pulse)
    assert (found.life, found.beats, found.stalled) == (life, life is Life.MOVES, False)


def test_an_event_counts_once() -> None:
    once = Pulse(answers=True, last_event_at=95.0, command_lives=False)
    assert [found.life for found in looked(once, once)] == [Life.MOVES, Life.STILL]


def test_without_a_heartbeat_for_long_enough_it_is_stalled() -> None:
    found = looked(MOVES, *[STILL] * 6)
    assert [one.stalled for one in found] == [False] * 6 + [True]
    assert found[-1].quiet_s == 60.0


def test_stalled_and_dead_are_told_apart_by_the_last_look() -> None:
    assert looked(MOVES, *[STILL] * 5, DEAD)[-1] == Finding(Life.DEAD, beats=False, stalled=True, quiet_s=60.0)


def test_a_sign_of_life_begins_the_time_anew() -> None:
    assert not any(one.stalled for one in looked(*[STILL] * 4, MOVES, *[STILL] * 5))


def test_a_start_has_a_time_limit_of_its_own() -> None:
    starting = Pulse(answers=False, last_event_at=0.0, command_lives=False, starting=True)
    found = looked(*[STILL] * 4, starting, *[STILL] * 5)
    assert (found[4].life, found[4].beats) == (Life.DEAD, False)
    assert not any(one.stalled for one in found)


def test_never_stalled_where_that_is_switched_off() -> None:
    assert not any(one.stalled for one in looked(*[STILL] * 100, stall_after_s=0.0))


def test_the_next_look_comes_when_it_would_be_stalled() -> None:
    assert next_look_s(10.0, Heart(100.0, 100.0), 100.0, 60.0) == 10.0
    assert next_look_s(10.0, Heart(155.0, 100.0), 155.0, 60.0) == 5.0
    assert next_look_s(10.0, Heart(155.0, 100.0), 155.0, 0.0) == 10.0
    assert next_look_s(10.0, Heart(200.0, 100.0), 200.0, 60.0) == 0.01, "it never spins"
