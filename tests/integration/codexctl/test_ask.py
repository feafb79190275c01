"""codexctl ask and attach in a pipe."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import jsonschema
import pytest
from codex_control.v1 import turns_pb2 as tpb
from codexctl.json_schema import printed_schema

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor, FakeTurn, answer_with

RECEIPT = "turn 01TURN0001 · attach with: codexctl attach 01TURN0001"


def busy_turn(turn: FakeTurn) -> None:
    """A turn with one of everything before its answer."""
    turn.emit(queued=tpb.TurnQueued(position=2, reason="the turn before it"))
    turn.emit(started=tpb.TurnStarted(thread_id="th", codex_turn_id="ct"))
    turn.emit(reasoning=tpb.ReasoningDelta(item_id="r1", text="I think "))
    turn.emit(reasoning=tpb.ReasoningDelta(item_id="r1", text="so."))
    turn.text("I will look.", "m0")
    turn.message("I will look.\x1b[31m", "m0", "commentary")
    turn.emit(command=tpb.CommandRun(item_id="c1", command="ls", status="inProgress"))
    turn.emit(command=tpb.CommandRun(item_id="c1", command="ls", status="completed", exit_code=0))
    turn.emit(file=tpb.FileChange(item_id="f1", path="a.py", kind="update", status="completed"))
    turn.emit(warning=tpb.Warning(message="careful"))
    turn.emit(retry=tpb.ProviderRetry(message="503", count=1))
    answer_with("The answer.")(turn)


def test_stdout_holds_exactly_the_final_answer(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = busy_turn
    result = ctl("ask", "hi")
    assert (result.code, result.out) == (0, "The answer.\n")
    assert result.err.splitlines() == [
        RECEIPT,
        "waiting in the queue: position 2 (the turn before it)",
        "reasoning: I think so.",
        "I will look.",
        "ran: ls (exit 0)",
        "changed: a.py",
        "warning: careful",
        "the model provider failed, retry 1: 503",
    ]


def test_final_only_leaves_what_the_user_has_to_see(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = busy_turn
    result = ctl("ask", "hi", "--final-only")
    assert result.out == "The answer.\n"
    assert result.err.splitlines() == [
        RECEIPT,
        "reasoning: I think so.",
        "warning: careful",
        "the model provider failed, retry 1: 503",
    ]


def test_the_instances_own_setting_counts_where_nothing_is_said(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = busy_turn
    fake.instances["project"].settings.final_only = True
    assert "ran: ls" not in ctl("ask", "hi").err
    assert "ran: ls" in ctl("ask", "hi", "--details").err


def test_the_answers_own_newline_is_not_doubled(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = answer_with("two\nlines\n")
    assert ctl("ask", "hi").out == "two\nlines\n"


def test_everything_that_was_said_is_sent(ctl: Ctl, fake: FakeSupervisor, home: Path) -> None:
    (home / "work" / "a.png").write_bytes(b"png")
    (home / "schema.json").write_text('{"type": "object"}')
    line = "ask do_it -i proj --profile high --image a.png --cwd .. --reasoning --timeout 1.5m --request-id r-1"
    result = ctl(*line.split(), "--interrupt-on-cancel", "--schema", str(home / "schema.json"))
    assert result.code == 0, result.err
    request = fake.last(tpb.AskRequest)
    expected = tpb.AskRequest(
        instance={"id": "proj"},
        request_id="r-1",
        prompt="do_it",
        images=[str(home / "work" / "a.png")],
        cwd=str(home),
        fallback_cwd=str(home / "work"),
        profile="high",
        output_schema='{"type": "object"}',
        interrupt_on_cancel=True,
        show_reasoning=True,
        timeout={"seconds": 90},
    )
    assert request == expected


def test_what_was_not_said_is_left_to_the_service(ctl: Ctl, fake: FakeSupervisor, home: Path) -> None:
    ctl("ask", "hi")
    request = fake.last(tpb.AskRequest)
    assert request.instance.workspace == str(home / "work")
    assert len(request.request_id) == 36
    assert not request.HasField("show_reasoning")
    assert not request.HasField("timeout")
    assert not request.interactive
    assert (request.cwd, request.profile) == ("", "")


def test_a_new_instance_works_where_it_is_first_asked(ctl: Ctl, fake: FakeSupervisor) -> None:
    (ctl.directory / "sub").mkdir()
    ctl.directory = ctl.directory / "sub"
    root = str(ctl.directory.parent)
    ctl("ask", "hi", "-i", "unknown")
    request = fake.last(tpb.AskRequest)
    assert (request.cwd, request.fallback_cwd) == ("", root)
    ctl.environment["CLAUDE_CODE_SESSION_ID"] = "session-1"
    fake.instances.clear()
    ctl("ask", "hi")
    request = fake.last(tpb.AskRequest)
    assert (request.instance.claude_session, request.cwd, request.fallback_cwd) == ("session-1", "", root)


@pytest.mark.parametrize("arguments", [["-"], []])
def test_the_prompt_comes_from_stdin(ctl: Ctl, fake: FakeSupervisor, arguments: list[str]) -> None:
    ctl("ask", *arguments, stdin="größer\n".encode())
    assert fake.last(tpb.AskRequest).prompt == "größer\n"


def test_text_on_the_command_line_wins_over_stdin(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl("ask", "this", stdin=b"that")
    assert fake.last(tpb.AskRequest).prompt == "this"


@pytest.mark.parametrize(
    ("outcome", "cause", "code", "said"),
    [
        ("FAILED", "QUOTA", 1, "codexctl: the turn failed (quota): buy more"),
        ("CANCELLED", "USER", 6, "codexctl: the turn was cancelled (user): buy more"),
        ("INTERRUPTED", "CHILD_DIED", 7, "codexctl: the turn was interrupted (child died): buy more"),
        ("CANCELLED", "TIMED_OUT", 8, "codexctl: the turn was cancelled (timed out): buy more"),
    ],
)
def test_a_turn_that_did_not_complete_leaves_stdout_empty(
    ctl: Ctl, fake: FakeSupervisor, outcome: str, cause: str, code: int, said: str
) -> None:
    fake.script = lambda turn: turn.end("half an ans", outcome, cause, "buy more")
    result = ctl("ask", "hi")
    assert (result.code, result.out) == (code, "")
    assert result.err.splitlines()[-1] == said
    assert "    half an ans" in result.err.splitlines()


def test_detach_prints_the_turns_id(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = lambda turn: None
    result = ctl("ask", "hi", "--detach")
    assert (result.code, result.out) == (0, "01TURN0001\n")
    assert result.err.splitlines() == [RECEIPT]
    assert fake.last(tpb.AskRequest).detach


def test_attach_shows_a_turn_from_its_beginning_also_by_request_id(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl("ask", "hi", "--request-id", "mine")
    for name in ("01TURN0001", "mine"):
        result = ctl("attach", name)
        assert (result.code, result.out) == (0, "Hello\n")
        assert result.err.splitlines()[0] == RECEIPT


def test_the_same_request_id_attaches(ctl: Ctl, fake: FakeSupervisor) -> None:
    assert ctl("ask", "hi", "--request-id", "mine").out == ctl("ask", "hi", "--request-id", "mine").out
    assert len(fake.turns) == 1


def test_json_is_every_event_as_a_line(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = busy_turn
    result = ctl("ask", "hi", "--json")
    events = result.json_lines
    schema = printed_schema() | {"$ref": "#/$defs/TurnEvent"}
    for event in events:
        jsonschema.validate(event, schema)
    assert [event["event"] for event in events][:3] == ["accepted", "queued", "started"]
    assert events[-1]["ended"]["turn"]["answer"] == "The answer."
    assert result.err.splitlines() == [RECEIPT]


def test_streamed_text_and_the_answer_are_the_same(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.text("looking", "m0")
        turn.message("looking", "m0", "commentary")
        turn.text("The ")
        turn.text("answer.")
        turn.message("The answer.")
        turn.end("The answer.")

    fake.script = script
    assert ctl("ask", "hi", "--stream").out == "looking\nThe answer.\n"


def test_streamed_text_that_is_not_the_answer_is_followed_by_the_answer(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.text("void")
        turn.end("The answer.")

    fake.script = script
    result = ctl("ask", "hi", "--stream")
    assert result.out == "void\nThe answer.\n"
    assert "not the final answer" in result.err


def test_void_text_never_reaches_a_pipe(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.text("void te", "m1")
        turn.emit(
            recovery=tpb.RecoveryReport(
                what_happened="Codex died", what_next="it goes on", superseded_item_ids=["m1"], recovery=1
            )
        )
        answer_with("whole")(turn)

    fake.script = script
    result = ctl("ask", "hi")
    assert result.out == "whole\n"
    assert "recovery: Codex died (the text before this is void): it goes on" in result.err.splitlines()


def test_streamed_text_that_a_retry_made_void_is_said_to_be(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.text("void te", "m1")
        turn.emit(retry=tpb.ProviderRetry(message="begun anew", superseded_item_ids=["m1"]))
        turn.text("whole", "m2")
        turn.end("whole")

    fake.script = script
    result = ctl("ask", "hi", "--stream")
    assert result.out == "void te\nwhole\n"
    assert "the model provider failed: begun anew; the text before this is void" in result.err.splitlines()


def test_an_approval_in_a_pipe_says_how_to_answer(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.emit(approval=tpb.ApprovalRequested(approval_id="ap1", kind=tpb.APPROVAL_KIND_COMMAND, subject="rm x"))
        answer_with("done")(turn)

    fake.script = script
    result = ctl("ask", "hi", "--interactive")
    assert fake.last(tpb.AskRequest).interactive
    assert "    rm x" in result.err.splitlines()
    assert "answer with: codexctl approve ap1 (or: codexctl deny ap1)" in result.err.splitlines()


def test_a_reader_that_goes_away_ends_it_quietly(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = answer_with("long " * 100_000)
    read_end, write_end = os.pipe()
    os.close(read_end)
    with ctl.process("ask", "hi", stdout=write_end) as process:
        os.close(write_end)
        _, err = process.communicate(timeout=20)
    assert process.returncode == 141
    assert err.splitlines() == [RECEIPT]


def test_a_stderr_that_nobody_reads_loses_no_answer(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = busy_turn
    read_end, write_end = os.pipe()
    os.close(read_end)
    with ctl.process("ask", "hi", stderr=write_end) as process:
        os.close(write_end)
        out, _ = process.communicate(timeout=20)
    assert (process.returncode, out) == (0, "The answer.\n")


def test_a_locale_without_the_letters_ends_in_no_traceback(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = answer_with("ümlaut 漢")
    ctl.environment |= {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    with ctl.process("ask", "hi") as process:
        out, err = process.communicate(timeout=20)
    assert process.returncode == 0
    assert "Traceback" not in err
    assert out


def test_a_long_answer_comes_whole(ctl: Ctl, fake: FakeSupervisor) -> None:
    text = "0123456789abcdef" * (1 << 20)  # 16 MiB: four times gRPC's own limit
    fake.script = lambda turn: turn.end(text)
    assert ctl("ask", "hi").out == text + "\n"


def test_codexctl_in_a_process_of_its_own(ctl: Ctl, fake: FakeSupervisor) -> None:
    with ctl.process("ask", "-", stdin=subprocess.PIPE) as process:
        out, err = process.communicate("from a pipe", timeout=20)
    assert (process.returncode, out) == (0, "Hello\n"), err
    assert fake.last(tpb.AskRequest).prompt == "from a pipe"
