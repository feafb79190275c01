"""What became of a turn, from what the thread kept: every row of what Codex leaves after a death."""

from __future__ import annotations

import pytest
from codex_supervisor.child.conversation import Turn
from codex_supervisor.config.turns import OnInterrupted
from codex_supervisor.turn.recovery import ACTIONS, CutOff, Finding, Over, StillRuns, Unsent, find_turn

from tests.unit.turn.told import codex_turn, command, says, user

OURS = user("turn-1")
ANSWER = says("m", "the answer")
SHELL = command("c", "completed")


def newest_first(*turns: Turn) -> list[Turn]:
    return list(reversed(turns))


EARLIER = codex_turn("t0", "completed", user("turn-0"), says("m0", "an earlier answer"))

CASES: dict[str, tuple[list[Turn], Finding]] = {
    "killed before the first turn: the thread is empty": ([], Unsent()),
    "killed at the reply: the turn is there, its input is not": (
        newest_first(EARLIER, codex_turn("t1", "interrupted")),
        Unsent(),
    ),
    "killed before it was sent: only the turn before it is there": (newest_first(EARLIER), Unsent()),
    "killed at the user message, the durable acknowledgement": (
        newest_first(EARLIER, codex_turn("t1", "interrupted", OURS)),
        CutOff("t1", [OURS]),
    ),
    "killed in mid-stream: what was complete is kept": (
        newest_first(codex_turn("t1", "interrupted", OURS, SHELL)),
        CutOff("t1", [OURS, SHELL]),
    ),
    "killed at the end": (
        newest_first(codex_turn("t1", "completed", OURS, ANSWER)),
        Over(codex_turn("t1", "completed", OURS, ANSWER), [OURS, ANSWER]),
    ),
    "failed, and nobody had heard of it": (
        newest_first(codex_turn("t1", "failed", OURS)),
        Over(codex_turn("t1", "failed", OURS), [OURS]),
    ),
    "the supervisor died and the child runs on": (
        newest_first(EARLIER, codex_turn("t1", "inProgress", OURS, SHELL)),
        StillRuns("t1", [OURS, SHELL]),
    ),
    "carried on and cut off again: both pieces are ours, oldest first": (
        newest_first(codex_turn("t1", "interrupted", OURS, SHELL), codex_turn("t2", "interrupted", ANSWER)),
        CutOff("t1", [OURS, SHELL, ANSWER]),
    ),
    "carried on and finished": (
        newest_first(codex_turn("t1", "interrupted", OURS, SHELL), codex_turn("t2", "completed", ANSWER)),
        Over(codex_turn("t2", "completed", ANSWER), [OURS, SHELL, ANSWER]),
    ),
    "carried on twice and running": (
        newest_first(
            codex_turn("t1", "interrupted", OURS),
            codex_turn("t2", "interrupted"),
            codex_turn("t3", "inProgress", SHELL),
        ),
        StillRuns("t3", [OURS, SHELL]),
    ),
    "replayed: the first try was taken back, the second has our id again": (
        newest_first(EARLIER, codex_turn("t9", "interrupted", OURS, SHELL)),
        CutOff("t9", [OURS, SHELL]),
    ),
    "sent again where a turn without its input stands before it": (
        newest_first(codex_turn("t1", "interrupted"), codex_turn("t2", "completed", OURS, ANSWER)),
        Over(codex_turn("t2", "completed", OURS, ANSWER), [OURS, ANSWER]),
    ),
    "a stranger asked something after ours was cut off": (
        newest_first(
            codex_turn("t1", "interrupted", OURS, SHELL),
            codex_turn("t2", "completed", user(None), says("x", "the stranger's answer")),
        ),
        CutOff("t1", [OURS, SHELL]),
    ),
    "a stranger asked something after ours was carried on and finished": (
        newest_first(
            codex_turn("t1", "interrupted", OURS),
            codex_turn("t2", "completed", ANSWER),
            codex_turn("t3", "inProgress", user("theirs"), says("x", "the stranger's answer")),
        ),
        Over(codex_turn("t2", "completed", ANSWER), [OURS, ANSWER]),
    ),
    "a stranger's turn alone": (newest_first(codex_turn("t1", "completed", user(None), ANSWER)), Unsent()),
    "steered: a second user message stands in our turn": (
        newest_first(codex_turn("t1", "interrupted", OURS, user(None, "u2"))),
        CutOff("t1", [OURS, user(None, "u2")]),
    ),
    "carried on and steered then: known by the id that the journal has": (
        newest_first(codex_turn("t1", "interrupted", OURS), codex_turn("last", "completed", user(None, "u2"), ANSWER)),
        Over(codex_turn("last", "completed", user(None, "u2"), ANSWER), [OURS, user(None, "u2"), ANSWER]),
    ),
    "a word for the status that we do not know is taken for cut off": (
        newest_first(codex_turn("t1", "evaporated", OURS)),
        CutOff("t1", [OURS]),
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_find_turn(name: str) -> None:
    recent, finding = CASES[name]
    assert find_turn(recent, "turn-1", "last") == finding


def test_every_policy_says_what_is_done() -> None:
    assert set(ACTIONS) == set(OnInterrupted)
    assert len({number for number, _ in ACTIONS.values()}) == len(ACTIONS)
