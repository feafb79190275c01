"""The sentences about a turn, and the exit code of its outcome."""

from __future__ import annotations

import pytest
from codex_control.errors import Exit
from codex_control.v1 import outcome_pb2
from codex_control.v1 import turns_pb2 as tpb
from codexctl.view.activity import Activity, next_activity
from codexctl.view.lines import (
    answer_hint,
    approval_lines,
    detail_line,
    ended_line,
    exit_code,
    notice_line,
    recovery_line,
    retry_reason,
)


@pytest.mark.parametrize(
    ("outcome", "cause", "code"),
    [
        ("COMPLETED", "UNSPECIFIED", Exit.OK),
        ("FAILED", "QUOTA", Exit.FAILED),
        ("FAILED", "STALLED", Exit.FAILED),
        ("FAILED", "LIMIT", Exit.LIMIT),
        ("FAILED", "TIMED_OUT", Exit.TIMED_OUT),
        ("CANCELLED", "TIMED_OUT", Exit.TIMED_OUT),
        ("CANCELLED", "USER", Exit.CANCELLED),
        ("INTERRUPTED", "CHILD_DIED", Exit.INTERRUPTED),
    ],
)
def test_each_outcome_has_its_exit_code(outcome: str, cause: str, code: Exit) -> None:
    turn = tpb.Turn(outcome=f"OUTCOME_{outcome}", cause=f"CAUSE_{cause}")
    assert exit_code(turn) is code


def test_every_outcome_ends_in_a_sentence() -> None:
    lines = {name: ended_line(tpb.Turn(outcome=name, error="log in again")) for name in outcome_pb2.Outcome.keys()[1:]}
    assert lines["OUTCOME_FAILED"] == "the turn failed: log in again"
    assert lines["OUTCOME_CANCELLED"] == "the turn was cancelled: log in again"
    assert lines["OUTCOME_INTERRUPTED"] == "the turn was interrupted: log in again"
    assert lines["OUTCOME_COMPLETED"] == "completed"


def test_a_completed_turn_tells_what_it_cost() -> None:
    turn = tpb.Turn(outcome="OUTCOME_COMPLETED", usage={"input": 12345, "output": 67})
    turn.timings.total.FromMilliseconds(2500)
    turn.commands.add()
    turn.files.add(path="a.py")
    turn.files.add(path="a.py")
    assert ended_line(turn) == "completed in 2.5 s · 12,345 tokens in, 67 out · 1 command · 1 file changed"


def test_a_recovery_is_one_line_with_what_had_been_done() -> None:
    report = tpb.RecoveryReport(
        what_happened="Codex was killed by signal 9.",
        what_next="it goes on from there.",
        commands=[tpb.CommandRun(command=f"cmd{number}") for number in range(5)],
        files=[tpb.FileChange(path="a.py")],
        superseded_item_ids=["m1"],
    )
    assert recovery_line(report) == (
        "recovery: Codex was killed by signal 9 (it had run cmd0, cmd1, cmd2 and 2 more commands; "
        "it had changed a.py; the text before this is void): it goes on from there"
    )


def test_an_approval_cannot_pose_as_our_own_lines() -> None:
    approval = tpb.ApprovalRequested(
        kind=tpb.APPROVAL_KIND_COMMAND, subject="ls\nallow? [y]es\x1b[2K", cwd="/w", reason="to look\naround"
    )
    assert approval_lines(approval) == [
        "Codex wants to run a command:",
        "    ls",
        "    allow? [y]es\\x1b[2K",
        "  in /w",
        "  why: to look around",
    ]


def test_a_question_can_be_answered_from_elsewhere() -> None:
    approval = tpb.ApprovalRequested(
        approval_id="ap1", kind=tpb.APPROVAL_KIND_QUESTION, questions=[{"id": "q1", "text": "Which?", "options": ["a"]}]
    )
    assert approval_lines(approval)[-1] == "  q1: Which? [a]"
    assert answer_hint(approval) == "answer with: codexctl approve ap1 --answer q1=TEXT (or: codexctl deny ap1)"


@pytest.mark.parametrize(
    ("event", "detail", "notice"),
    [
        (
            tpb.TurnEvent(queued={"position": 2, "reason": "a start"}),
            "waiting in the queue: position 2 (a start)",
            None,
        ),
        (tpb.TurnEvent(command={"command": "ls", "status": "inProgress"}), None, None),
        (tpb.TurnEvent(command={"command": "ls", "status": "completed", "exit_code": 1}), "ran: ls (exit 1)", None),
        (tpb.TurnEvent(command={"command": "ls", "status": "declined"}), "ran: ls (declined)", None),
        (tpb.TurnEvent(file={"path": "a", "kind": "add", "status": "completed"}), "added: a", None),
        (tpb.TurnEvent(file={"path": "a", "kind": "update", "status": "failed"}), "changed: a (failed)", None),
        (tpb.TurnEvent(warning={"message": "mind\nthis"}), None, "warning: mind this"),
        (tpb.TurnEvent(retry={"message": "503", "count": 2}), None, "the model provider failed, retry 2: 503"),
        (
            tpb.TurnEvent(retry={"message": "begun anew", "superseded_item_ids": ["m1"]}),
            None,
            "the model provider failed: begun anew; the text before this is void",
        ),
        (
            tpb.TurnEvent(dropped={"count": 2, "bytes": 9, "reason": "over the limit"}),
            None,
            "warning: 2 events (9 bytes) are not shown: over the limit",
        ),
        (tpb.TurnEvent(accepted={"attached": True}), None, "this request is known: its turn is shown"),
        (tpb.TurnEvent(usage={"input": 1}), None, None),
    ],
)
def test_events_are_told_once(event: tpb.TurnEvent, detail: str | None, notice: str | None) -> None:
    assert (detail_line(event), notice_line(event)) == (detail, notice)


def test_the_activity_keeps_its_beginning_while_it_lasts() -> None:
    now = Activity("connecting", 0.0)
    for at_s, event in enumerate(
        [
            tpb.TurnEvent(queued={"position": 3, "reason": "the turn before it"}),
            tpb.TurnEvent(started={}),
            tpb.TurnEvent(reasoning={"text": "hm"}),
            tpb.TurnEvent(
                plan={"steps": [{"text": "look", "status": "completed"}, {"text": "do", "status": "inProgress"}]}
            ),
        ],
        1,
    ):
        now = next_activity(now, event, float(at_s))
    assert (now.text(), now.since_s) == ("thinking · step 2/2: do", 2.0)


@pytest.mark.parametrize(
    ("event", "what"),
    [
        (tpb.TurnEvent(queued={"position": 3}), "waiting in the queue, position 3"),
        (tpb.TurnEvent(command={"command": "make", "status": "inProgress"}), "running: make"),
        (tpb.TurnEvent(file={"path": "a.py", "status": "inProgress"}), "changing a.py"),
        (tpb.TurnEvent(text={"text": "x"}), "answering"),
        (tpb.TurnEvent(tool={"kind": "webSearch", "subject": "weather"}), "webSearch: weather"),
        (tpb.TurnEvent(retry={"count": 4, "message": "429"}), "the model provider failed, retry 4: 429"),
        (tpb.TurnEvent(retry={"message": "begun anew"}), "the model provider failed: begun anew"),
        (tpb.TurnEvent(approval={}), "waiting for an answer of a person"),
        (tpb.TurnEvent(approval_resolved={}), "thinking"),
        (tpb.TurnEvent(recovery={"what_next": "goes on"}), "recovering: goes on"),
    ],
)
def test_what_codex_does_now(event: tpb.TurnEvent, what: str) -> None:
    assert next_activity(Activity("x", 0.0), event, 1.0).what == what


def test_codexs_wait_for_the_network_need_not_be_one_for_the_network() -> None:
    assert retry_reason("Reconnecting... waiting for network") == "it cannot be reached; Codex goes on trying"
    assert retry_reason("429 Too Many Requests") == "429 Too Many Requests"
