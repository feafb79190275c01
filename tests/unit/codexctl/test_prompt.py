"""The conversation about an approval."""

from __future__ import annotations

import pytest
from codex_control.v1 import turns_pb2 as tpb
from codexctl.view.prompt import Prompt

COMMAND = tpb.ApprovalRequested(approval_id="ap1", kind=tpb.APPROVAL_KIND_COMMAND, subject="ls")
QUESTIONS = tpb.ApprovalRequested(
    approval_id="ap2",
    kind=tpb.APPROVAL_KIND_QUESTION,
    questions=[{"id": "q1", "text": "Which?", "options": ["red", "blue"]}, {"id": "q2", "text": "Why?"}],
)


@pytest.mark.parametrize(
    ("line", "decision"),
    [
        ("y\n", tpb.DECISION_ACCEPT),
        ("Yes", tpb.DECISION_ACCEPT),
        ("n", tpb.DECISION_DECLINE),
        ("a", tpb.DECISION_ACCEPT_FOR_SESSION),
        ("c", tpb.DECISION_CANCEL),
        (None, tpb.DECISION_DECLINE),
    ],
)
def test_a_letter_or_a_word_decides(line: str | None, decision: tpb.Decision) -> None:
    assert Prompt(COMMAND).take(line) == tpb.RespondRequest(approval_id="ap1", decision=decision)


@pytest.mark.parametrize("line", ["", "maybe", "yy"])
def test_anything_else_is_asked_again(line: str) -> None:
    assert Prompt(COMMAND).take(line) is None


def test_questions_are_asked_one_after_the_other() -> None:
    prompt = Prompt(QUESTIONS)
    assert "Which?" in prompt.text()
    assert "2) blue" in prompt.text()
    assert prompt.take("2\n") is None
    assert "Why?" in prompt.text()
    response = prompt.take("because\n")
    assert response == tpb.RespondRequest(
        approval_id="ap2", decision=tpb.DECISION_ACCEPT, answers={"q1": "blue", "q2": "because"}
    )


def test_free_text_and_numbers_beyond_the_options_are_answers() -> None:
    prompt = Prompt(QUESTIONS)
    prompt.take("3")
    response = prompt.take("²")
    assert response is not None
    assert response.answers == {"q1": "3", "q2": "²"}


def test_an_empty_line_declines_all_questions() -> None:
    prompt = Prompt(QUESTIONS)
    prompt.take("1")
    assert prompt.take("\n") == tpb.RespondRequest(approval_id="ap2", decision=tpb.DECISION_DECLINE)
