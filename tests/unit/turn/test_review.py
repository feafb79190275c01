"""Reviews: what Codex is told, what people read, what is refused, and what became of one after a death."""

from __future__ import annotations

import pytest
from codex_control.errors import BadInput, LimitExceeded
from codex_control.v1 import turns_pb2
from codex_supervisor.child.conversation import Turn
from codex_supervisor.child.items import EnteredReviewModeItem, ExitedReviewModeItem
from codex_supervisor.store.records import ReviewKind, ReviewRecord
from codex_supervisor.turn.draft import Draft
from codex_supervisor.turn.recovery import CutOff, Finding, Over, StillRuns, Unsent
from codex_supervisor.turn.review import (
    NO_REVIEW,
    checked_review,
    codex_target,
    description,
    find_review,
    review_message,
)

from tests.unit.turn.told import codex_turn, command, says, user

LIMIT = 1000


@pytest.mark.parametrize(
    ("target", "codex", "words"),
    [
        (turns_pb2.ReviewTarget(), {"type": "uncommittedChanges"}, "review of the uncommitted changes"),
        (
            turns_pb2.ReviewTarget(base="release/1.x"),
            {"type": "baseBranch", "branch": "release/1.x"},
            "review of the changes against release/1.x",
        ),
        (turns_pb2.ReviewTarget(commit="HEAD~2"), {"type": "commit", "sha": "HEAD~2"}, "review of commit HEAD~2"),
        (turns_pb2.ReviewTarget(instructions="看 it"), {"type": "custom", "instructions": "看 it"}, "review: 看 it"),
    ],
)
def test_each_target_is_told_in_codex_own_terms(
    target: turns_pb2.ReviewTarget, codex: dict[str, str], words: str
) -> None:
    review = checked_review(target, "", LIMIT)
    assert codex_target(review) == codex
    assert description(review) == words
    shown = review_message(review)
    assert shown is not None
    assert checked_review(shown, "", LIMIT) == review
    focused = checked_review(target, "  the locks\n", LIMIT)
    told = codex_target(focused)
    assert told["type"] == "custom", "Codex takes a focus nowhere else"
    assert told["instructions"].endswith("\n\nAbove all, mind this: the locks")
    assert review.name in told["instructions"]
    assert description(focused) == f"{words}; above all: the locks"


@pytest.mark.parametrize("name", ["main", "feature/x-1", "主干", "main@{1}", "HEAD^2", "v1.2.3", "a" * 255, "0af3"])
def test_names_that_git_has(name: str) -> None:
    assert checked_review(turns_pb2.ReviewTarget(base=name), "", LIMIT).name == name
    assert checked_review(turns_pb2.ReviewTarget(commit=name), "", LIMIT).name == name


@pytest.mark.parametrize(
    "name",
    ["", "-x", "--exec=id", "a b", "a\nb", "$(id)", "`id`", "a;b", "a|b", "a'b", 'a"b', "a\\b", "a>b", "a" * 256],
)
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(BadInput, match="cannot be a branch, tag or commit"):
        checked_review(turns_pb2.ReviewTarget(base=name), "", LIMIT)
    with pytest.raises(BadInput, match="cannot be a branch, tag or commit"):
        checked_review(turns_pb2.ReviewTarget(commit=name), "", LIMIT)


def test_texts_are_bounded() -> None:
    with pytest.raises(LimitExceeded, match="1,001 characters"):
        checked_review(turns_pb2.ReviewTarget(), "x" * (LIMIT + 1), LIMIT)
    with pytest.raises(BadInput, match="NUL"):
        checked_review(turns_pb2.ReviewTarget(), "a\0b", LIMIT)
    with pytest.raises(BadInput, match="not said what to review"):
        checked_review(turns_pb2.ReviewTarget(instructions=" \n"), "", LIMIT)


def test_a_turn_that_is_no_review_shows_none() -> None:
    assert review_message(None) is None
    assert review_message(ReviewRecord(ReviewKind.UNCOMMITTED)) == turns_pb2.ReviewTarget(uncommitted=True)


# What the thread keeps, as measured: the reviewer's own turn stands behind ours.

ASKED = user(None)
ENTERED = EnteredReviewModeItem(id="e", review="current changes")
REVIEW = ExitedReviewModeItem(id="x", review="all is well")
NOTHING = ExitedReviewModeItem(id="x", review=NO_REVIEW)
SHELL = command("c", "completed")
EARLIER = codex_turn("t0", "completed", user("turn-0"), says("m0", "an answer"))


def reviewer(status: str) -> Turn:
    return codex_turn("inner", status, ASKED, SHELL, says("j", '{"findings": []}'))


DONE = codex_turn("ours", "completed", ENTERED, REVIEW, says("m", "all is well"))
LOST = codex_turn("ours", "interrupted", ENTERED, NOTHING)

CASES: dict[str, tuple[list[Turn], bool, Finding]] = {
    "it runs: only the reviewer's turn is there": (
        [reviewer("inProgress"), EARLIER],
        True,
        StillRuns("ours", [SHELL], active_turn_id="inner"),
    ),
    "it runs and has not begun": ([EARLIER], True, StillRuns("ours", [])),
    "it is over": ([DONE, reviewer("interrupted")], False, Over(DONE, [SHELL, *DONE.decode_items()])),
    "it failed": (
        [codex_turn("ours", "failed", ENTERED, NOTHING)],
        False,
        Over(
            codex_turn("ours", "failed", ENTERED, NOTHING),
            codex_turn("ours", "failed", ENTERED, NOTHING).decode_items(),
        ),
    ),
    "killed in the middle: the reviewer's commands are kept": (
        [reviewer("interrupted"), EARLIER],
        False,
        CutOff("ours", [SHELL]),
    ),
    "killed before the reviewer began": ([EARLIER], False, CutOff("ours", [])),
    "the last review's reviewer seems to run for ever": (
        [EARLIER, codex_turn("old", "completed", REVIEW), reviewer("inProgress")],
        False,
        CutOff("ours", []),
    ),
    "interrupted inside Codex": ([LOST, reviewer("interrupted")], False, CutOff("ours", [SHELL, *LOST.decode_items()])),
}


@pytest.mark.parametrize("case", CASES)
def test_what_became_of_a_review(case: str) -> None:
    recent, active, expected = CASES[case]
    found = find_review(recent, "ours", active=active)
    assert found == expected


def test_a_review_that_was_said_is_over_however_codex_ended() -> None:
    cut = codex_turn("ours", "interrupted", ENTERED, REVIEW)
    found = find_review([cut, reviewer("interrupted")], "ours", active=False)
    assert isinstance(found, Over)
    assert found.turn.status == "completed"


def test_a_review_whose_id_nobody_wrote_down() -> None:
    assert find_review([EARLIER], "", active=False) == Unsent()
    runs = find_review([reviewer("inProgress"), EARLIER], "", active=True)
    assert isinstance(runs, StillRuns)
    assert (runs.codex_turn_id, runs.active_turn_id) == ("", "inner")


def test_only_the_review_is_the_answer() -> None:
    draft = Draft(1 << 20, show_reasoning=False, review=True)
    assert draft.restore(codex_turn("t", "completed", says("a", "I look at the locks")).decode_items())
    assert draft.answer() == ""
    assert [event.message.phase for event in draft.restore(DONE.decode_items())] == ["final_answer"]
    assert draft.answer() == "all is well"


def test_codex_words_for_no_review_are_none() -> None:
    draft = Draft(1 << 20, show_reasoning=False, review=True)
    assert draft.restore(LOST.decode_items()) == []
    assert draft.restore(codex_turn("t", "x", says("m", "Review was interrupted.")).decode_items()) == []
    assert draft.answer() == ""
