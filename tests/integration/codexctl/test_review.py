"""codexctl review."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from codex_control.errors import WrongState
from codex_control.v1 import turns_pb2 as tpb

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor, FakeTurn, answer_with

RECEIPT = "turn 01TURN0001 · attach with: codexctl attach 01TURN0001"


@pytest.fixture
def repository(ctl: Ctl) -> Path:
    """A git repository with one commit, in codexctl's working directory."""
    shutil.rmtree(ctl.directory / ".git")  # it only looks like one
    git = ("git", "-C", str(ctl.directory), "-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init", "-q", "-b", "main"), ("commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run([*git, *arguments], check=True, env=ctl.environment, stdin=subprocess.DEVNULL)
    return ctl.directory


def reviewed(turn: FakeTurn) -> None:
    """A review as the service tells of it: no pieces of text, a commentary, a command, the review."""
    turn.emit(started=tpb.TurnStarted(thread_id="th", codex_turn_id="ct"))
    turn.message("I look at the locks.", "m0", "commentary")
    turn.emit(command=tpb.CommandRun(item_id="c1", command="git diff", status="completed", exit_code=0))
    turn.message("- [P1] A lock is missing", "x")
    turn.end("- [P1] A lock is missing")


def test_the_review_is_on_stdout_alone(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = reviewed
    result = ctl("review")
    assert (result.code, result.out) == (0, "- [P1] A lock is missing\n")
    assert result.err.splitlines() == [RECEIPT, "I look at the locks.", "ran: git diff (exit 0)"]
    request = fake.last(tpb.ReviewRequest)
    assert request.target == tpb.ReviewTarget(uncommitted=True)
    assert (request.focus, request.interactive, request.instance.workspace) == ("", False, str(ctl.directory))


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (("--base", "main"), tpb.ReviewTarget(base="main")),
        (("--commit", "HEAD"), tpb.ReviewTarget(commit="HEAD")),
        (("--commit", "HEAD^0", "--cwd", "."), tpb.ReviewTarget(commit="HEAD^0")),
    ],
)
@pytest.mark.usefixtures("repository")
def test_what_is_reviewed(ctl: Ctl, fake: FakeSupervisor, arguments: tuple[str, ...], target: tpb.ReviewTarget) -> None:
    fake.script = reviewed
    result = ctl("review", *arguments, "-i", "named")
    assert result.code == 0, result.err
    assert fake.last(tpb.ReviewRequest).target == target
    assert ctl("review", *arguments).code == 0


@pytest.mark.parametrize(
    ("arguments", "stdin", "focus"),
    [
        (("locks", "and", "errors"), b"", "locks and errors"),
        (('$(id) "`x`"; 错误 🙂',), b"", '$(id) "`x`"; 错误 🙂'),
        (("-",), "line\nline 二".encode(), "line\nline 二"),
        (("--", "--base", "is a word"), b"", "--base is a word"),
    ],
)
def test_the_focus_arrives_as_it_is(
    ctl: Ctl, fake: FakeSupervisor, arguments: tuple[str, ...], stdin: bytes, focus: str
) -> None:
    fake.script = reviewed
    assert ctl("review", *arguments, stdin=stdin).code == 0
    assert fake.last(tpb.ReviewRequest).focus == focus


def test_options_are_those_of_ask(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = reviewed
    result = ctl(
        "review", "--profile", "high", "--timeout", "2m", "--reasoning", "--interrupt-on-cancel", "--request-id", "mine"
    )
    assert result.code == 0
    request = fake.last(tpb.ReviewRequest)
    assert (request.profile, request.timeout.seconds, request.show_reasoning) == ("high", 120, True)
    assert (request.interrupt_on_cancel, request.request_id) == (True, "mine")
    detached = ctl("review", "--detach")
    assert (detached.code, detached.out) == (0, "01TURN0002\n")
    lines = ctl("review", "--json").json_lines
    assert "accepted" in lines[0]
    assert lines[-1]["ended"]["turn"]["answer"] == "- [P1] A lock is missing"


def test_a_lost_connection_attaches_to_the_same_turn(ctl: Ctl, fake: FakeSupervisor) -> None:
    def breaks(turn: FakeTurn) -> None:
        turn.emit(started=tpb.TurnStarted(thread_id="th", codex_turn_id="ct"))
        fake.stop()
        fake.start()
        answer_with("the review")(turn)

    fake.script = breaks
    result = ctl("review")
    assert (result.code, result.out) == (0, "the review\n")
    assert len(fake.turns) == 1


@pytest.mark.usefixtures("repository")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--base", "main", "--commit", "HEAD"), "give one of them"),
        (("--base", "mian"), "git knows no commit 'mian'"),
        (("--base", ""), "cannot be a branch"),
        (("--commit", "--output=x"), "cannot be a branch"),
        (("--commit", "HEAD~9"), "git knows no commit 'HEAD~9'"),
        (("--cwd", "/", "--base", "main"), "in no git repository"),
        (("--timeout", "0"), "no duration"),
        ((" ",), "the focus is empty"),
    ],
)
def test_bad_input_is_named_and_nothing_is_sent(
    ctl: Ctl, fake: FakeSupervisor, arguments: tuple[str, ...], words: str
) -> None:
    result = ctl("review", *arguments)
    assert result.code == 2
    assert words in result.err
    assert not fake.turns


def test_an_error_of_the_service_is_one_sentence(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.errors["Review"] = WrongState("the supervisor is draining", next_step="wait")
    result = ctl("review")
    assert (result.code, result.out) == (10, "")
    assert result.err == "codexctl: the supervisor is draining.\n  next: wait\n"
