"""What a person sees on a terminal, and what the terminal sends back."""

from __future__ import annotations

import re
import threading

from codex_control.v1 import instances_pb2 as ipb
from codex_control.v1 import turns_pb2 as tpb

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor, FakeTurn, answer_with

COMMAND = tpb.ApprovalRequested(
    approval_id="ap1", kind=tpb.APPROVAL_KIND_COMMAND, subject="rm -r \x1b[8mbuild", cwd="/w", reason="to clean"
)


def plain(text: str) -> str:
    """`text` without colours and cursor movements."""
    return re.sub(r"\x1b\[[0-?]*[ -/]*[@-~]", "", text).replace("\r", "")


def test_markdown_is_rendered(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = answer_with("# Title\n\nSome **bold** words and [a link](http://example.org).\n\n- one\n- two\n")
    with ctl.on_terminal("ask", "hi") as terminal:
        assert terminal.wait_for_exit() == 0
    shown = plain(terminal.shown)
    assert "\x1b[1mbold\x1b[0m" in terminal.shown
    assert " • one" in shown
    assert "http://example.org" in shown
    assert "\x1b]8" not in terminal.shown
    assert "completed in 1.5 s · 1,200 tokens in, 34 out" in shown


def test_no_color(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl.environment["NO_COLOR"] = "1"
    with ctl.on_terminal("ask", "hi") as terminal:
        assert terminal.wait_for_exit() == 0
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", terminal.shown)


def test_however_long_a_line_is_it_says_for_how_long(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.emit(retry=tpb.ProviderRetry(count=1, message="x" * 300))
        shown.wait(20)
        turn.end("done")

    shown = threading.Event()
    fake.script = script
    with ctl.on_terminal("ask", "hi") as terminal:
        terminal.wait_for_text("x… · ")
        shown.set()
        assert terminal.wait_for_exit() == 0


def test_text_appears_as_it_comes_below_it_what_codex_does(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.emit(queued=tpb.TurnQueued(position=2, reason="the turn before it"))
        steps[0].wait(20)
        turn.emit(started=tpb.TurnStarted())
        turn.text("First block.\n\nSecond bl")
        steps[1].wait(20)
        turn.emit(command=tpb.CommandRun(item_id="c", command="make test", status="inProgress"))
        steps[2].wait(20)
        turn.message("First block.\n\nSecond block.")
        turn.end("First block.\n\nSecond block.")

    steps = [threading.Event() for _ in range(3)]
    fake.script = script
    with ctl.on_terminal("ask", "hi") as terminal:
        terminal.wait_for_text("waiting in the queue, position 2 (the turn before it)")
        steps[0].set()
        terminal.wait_for_text("Second bl")
        terminal.wait_for_text("answering")
        steps[1].set()
        terminal.wait_for_text("running: make test")
        steps[2].set()
        assert terminal.wait_for_exit() == 0
    assert plain(terminal.shown).count("Second block.") == 1


def test_a_model_cannot_steer_the_terminal(ctl: Ctl, fake: FakeSupervisor) -> None:
    evil = "\x1b]0;owned\x07\x1b]52;c;cGF3bmVk\x07\x1b[2Jtext\x9b31m"

    def script(turn: FakeTurn) -> None:
        turn.emit(warning=tpb.Warning(message=evil))
        answer_with(evil)(turn)

    fake.script = script
    with ctl.on_terminal("ask", "hi") as terminal:
        assert terminal.wait_for_exit() == 0
    for sequence in ("\x1b]0", "\x1b]52", "\x1b[2J", "\x9b"):
        assert sequence not in terminal.shown
    assert "text" in terminal.shown


def test_an_approval_is_answered_in_the_terminal(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.text("Before. ")
        turn.emit(approval=COMMAND)
        turn.wait_for(lambda: "ap1" in turn.responses)
        turn.emit(approval_resolved=tpb.ApprovalResolved(approval_id="ap1", decision=tpb.DECISION_ACCEPT, by="person"))
        answer_with("Done.")(turn)

    fake.script = script
    with ctl.on_terminal("ask", "hi") as terminal:
        terminal.wait_for_text("allow? ")
        assert "Codex wants to run a command:" in terminal.shown
        assert "rm -r \\x1b[8mbuild" in terminal.shown
        terminal.type("what\n")
        terminal.wait_for_text("what")
        terminal.type("a\n")
        assert terminal.wait_for_exit() == 0
    assert fake.last(tpb.AskRequest).interactive
    assert fake.last(tpb.RespondRequest) == tpb.RespondRequest(
        approval_id="ap1", decision=tpb.DECISION_ACCEPT_FOR_SESSION
    )
    assert "Done." in terminal.shown


def test_what_was_typed_before_the_question_is_no_answer(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        typed.wait(20)
        turn.emit(approval=COMMAND)
        turn.wait_for(lambda: "ap1" in turn.responses)
        turn.end("ok")

    typed = threading.Event()
    fake.script = script
    with ctl.on_terminal("ask", "hi") as terminal:
        terminal.wait_for_text("accepted")
        terminal.type("y\n")
        terminal.wait_for_text("y\r\n")
        typed.set()
        terminal.wait_for_text("allow? ")
        terminal.type("n\n")
        assert terminal.wait_for_exit() == 0
    assert fake.last(tpb.RespondRequest).decision == tpb.DECISION_DECLINE


def test_an_approval_that_is_over_is_taken_back(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.emit(approval=COMMAND)
        asked.wait(20)
        turn.emit(approval_resolved=tpb.ApprovalResolved(approval_id="ap1", by="timeout"))
        answer_with("Went on.")(turn)

    asked = threading.Event()
    fake.script = script
    with ctl.on_terminal("ask", "hi") as terminal:
        terminal.wait_for_text("allow? ")
        asked.set()
        assert terminal.wait_for_exit() == 0
    assert "that was answered by timeout" in terminal.shown
    assert "Went on." in terminal.shown


def test_questions_are_answered_in_the_terminal(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.emit(
            approval=tpb.ApprovalRequested(
                approval_id="ap2",
                kind=tpb.APPROVAL_KIND_QUESTION,
                questions=[{"id": "q1", "text": "Which?", "options": ["red", "blue"]}, {"id": "q2", "text": "Why?"}],
            )
        )
        turn.wait_for(lambda: "ap2" in turn.responses)
        turn.end("ok")

    fake.script = script
    with ctl.on_terminal("ask", "hi") as terminal:
        terminal.wait_for_text("(1-2 or text; an empty line declines): ")
        terminal.type("2\n")
        terminal.wait_for_text("(text; an empty line declines): ")
        terminal.type("because\n")
        assert terminal.wait_for_exit() == 0
    assert dict(fake.last(tpb.RespondRequest).answers) == {"q1": "blue", "q2": "because"}


def test_void_text_is_taken_off_the_screen_with_a_notice(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.text("A void pie", "m1")
        seen.wait(20)
        turn.emit(
            recovery=tpb.RecoveryReport(
                what_happened="Codex died", what_next="it goes on", superseded_item_ids=["m1"], recovery=1
            )
        )
        answer_with("The answer.")(turn)

    seen = threading.Event()
    fake.script = script
    with ctl.on_terminal("ask", "hi") as terminal:
        terminal.wait_for_text("A void pie")
        before = len(terminal.shown)
        seen.set()
        assert terminal.wait_for_exit() == 0
    after = plain(terminal.shown[before:])
    assert "recovery: Codex died (the text before this is void): it goes on" in after
    assert after.count("The answer.") == 1
    assert "void pie" not in after.partition("recovery:")[2]


def test_final_only_shows_the_answer_alone(ctl: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.text("I will look.", "m0")
        turn.message("I will look.", "m0", "commentary")
        turn.emit(command=tpb.CommandRun(item_id="c", command="ls", status="completed", exit_code=0))
        answer_with("The answer.")(turn)

    fake.script = script
    with ctl.on_terminal("ask", "hi", "--final-only") as terminal:
        assert terminal.wait_for_exit() == 0
    shown = plain(terminal.shown)
    assert shown.count("The answer.") == 1
    assert "I will look." not in shown
    assert "ran: ls" not in shown


def test_ctrl_c_interrupts_and_a_second_one_leaves(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = lambda turn: turn.text("so far")
    with ctl.on_terminal("ask", "hi") as terminal:
        terminal.wait_for_text("so far")
        terminal.interrupt()
        terminal.wait_for_text("interrupting the turn")
        terminal.interrupt()
        assert terminal.wait_for_exit() == 130
    assert "left; the turn goes on · attach with: codexctl attach 01TURN0001" in terminal.shown
    fake.turn().end()


def test_an_error_in_the_middle_of_a_turn(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = lambda turn: turn.end("so far", "FAILED", "AUTH", "log in with codex login")
    with ctl.on_terminal("ask", "hi") as terminal:
        assert terminal.wait_for_exit() == 1
    assert "codexctl: the turn failed (auth): log in with codex login" in terminal.shown
    assert "so far" in terminal.shown


def test_a_dumb_terminal_gets_the_answer(ctl: Ctl, fake: FakeSupervisor) -> None:
    ctl.environment["TERM"] = "dumb"
    with ctl.on_terminal("ask", "hi") as terminal:
        assert terminal.wait_for_exit() == 0
    assert "Hello" in terminal.shown
    assert "\x1b" not in terminal.shown


def test_top_shows_all_instances_until_ctrl_c(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.hold_watch = True
    fake.instances["busy"] = ipb.Instance(id="busy", state=ipb.INSTANCE_STATE_BUSY, turn_id="01T")
    with ctl.on_terminal("top") as terminal:
        terminal.wait_for_text("project")
        terminal.wait_for_text("busy")
        terminal.interrupt()
        assert terminal.wait_for_exit() == 130
    assert "Traceback" not in terminal.shown


def test_history_is_cleared_after_a_yes_alone(ctl: Ctl, fake: FakeSupervisor) -> None:
    for answer, code in (("n\n", 130), ("y\n", 0)):
        with ctl.on_terminal("history", "--clear") as terminal:
            terminal.wait_for_text("[y/N]")
            terminal.type(answer)
            assert terminal.wait_for_exit() == code


def test_a_missing_prompt_on_a_terminal(ctl: Ctl, fake: FakeSupervisor) -> None:
    with ctl.on_terminal("ask") as terminal:
        assert terminal.wait_for_exit() == 2
    assert "the prompt is missing" in terminal.shown


def test_without_a_connection_nobody_knows_what_codex_does(ctl: Ctl, fake: FakeSupervisor) -> None:
    back = threading.Event()

    def script(turn: FakeTurn) -> None:
        turn.emit(started=tpb.TurnStarted())
        turn.text("Half")
        back.wait(20)
        turn.message("Half and whole")
        turn.end("Half and whole")

    fake.script = script
    with ctl.on_terminal("ask", "hi") as terminal:
        terminal.wait_for_text("answering")
        fake.stop()
        terminal.wait_for_text("not connected to the service")
        fake.start()
        terminal.wait_for_text("the connection is back")
        back.set()
        assert terminal.wait_for_exit() == 0
    assert "Half and whole" in plain(terminal.shown)
