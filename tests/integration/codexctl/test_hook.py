"""The hooks of the Claude Code plugin: JSON in, a decision out, and Claude Code never held up."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from codex_control.errors import BadInput, NotFound
from codex_control.v1 import claude_pb2 as cpb
from codex_control.v1 import turns_pb2 as tpb
from codex_control.v1.instances_pb2 import ConfigureRequest, InstanceRef, StopRequest
from codex_control.v1.outcome_pb2 import CAUSE_QUOTA, OUTCOME_FAILED
from codexctl.claude.plugin import ensure_plugin

from tests.support.repository import make_repository
from tests.support.spending import least_cpu_s
from tests.support.waiting import wait_for_sync

from .conftest import Ctl, Result
from .fake_supervisor import FakeSupervisor, FakeTurn, answer_with

INJECTIONS = [
    "quotes \"double\" and 'single'",
    "$(touch pwned) `touch pwned` ; touch pwned & | > pwned",
    "two\nlines\n\n  and an indented one",
    "你好世界 😀 ñ",
    "--help",
    "-",
    "\\n \\$HOME %s {} \t tab",
]

Hook = Callable[..., Result]


@pytest.fixture
def hook(ctl: Ctl, fake: FakeSupervisor) -> Hook:
    """Runs a hook with what Claude Code tells it."""

    def run(event: str, *options: str, **told: Any) -> Result:
        given = {"session_id": "s-1", "cwd": str(ctl.directory), "command_name": "", "command_args": ""} | told
        return ctl("hook", event, *options, stdin=json.dumps(given).encode())

    return run


def reason(result: Result) -> str:
    """What the person is shown."""
    assert result.code == 0
    answer = result.json
    assert answer["decision"] == "block"
    text: str = answer["reason"]
    return text


def slash(hook: Hook, name: str, text: str = "", *options: str) -> str:
    return reason(hook("expand", *options, command_name=f"codex:{name}", command_args=text))


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_arrives_byte_for_byte(hook: Hook, fake: FakeSupervisor, ctl: Ctl, text: str) -> None:
    slash(hook, "ask", text)
    assert fake.last(tpb.AskRequest).prompt == text
    assert not (ctl.directory / "pwned").exists()


def test_answer_comes_with_its_source_and_details(hook: Hook, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.record.commands.add(command="pytest -x", exit_code=0, status="completed")
        turn.record.files.add(path="a.py", kind="update", status="completed")
        turn.end("It is \x1b[31m42\x1b[0m.")

    fake.script = script
    shown = slash(hook, "ask", "why?")
    assert shown.startswith("It is 42.\n")
    assert "Codex · instance project · turn 01TURN0001" in shown
    assert "1,200 tokens in, 34 out" in shown
    assert "ran: pytest -x (exit 0)" in shown
    assert "changed: a.py" in shown


def test_turn_is_named_before_its_end(hook: Hook, fake: FakeSupervisor) -> None:
    fake.script = lambda turn: turn.wait_for(lambda: turn.watchers == 0)
    late = hook("expand", "--limit", "0.3s", command_name="codex:ask", command_args="why?")
    assert late.err == "turn 01TURN0001 is accepted; codexctl attach 01TURN0001 follows it in a terminal\n"


@pytest.mark.parametrize(("text", "repeated"), [("why?", True), ("line\n" * 4 + "x", False), ("x" * 401, False)])
def test_long_question_is_not_repeated_below_its_answer(hook: Hook, text: str, repeated: bool) -> None:
    answer = hook("expand", command_name="codex:ask", command_args=text).json
    quiet = {"hookEventName": "UserPromptExpansion", "suppressOriginalPrompt": True}
    assert answer.get("hookSpecificOutput") == (None if repeated else quiet)


def test_final_only_shows_the_answer_alone(hook: Hook, fake: FakeSupervisor) -> None:
    fake.instances["project"].settings.final_only = True
    fake.script = answer_with("Forty-two.")
    assert slash(hook, "ask", "why?") == "Forty-two."


def test_what_was_recovered_is_told_even_then(hook: Hook, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.emit(recovery=tpb.RecoveryReport(what_happened="Codex died", what_next="it goes on"))
        turn.end("Done.")

    fake.instances["project"].settings.final_only = True
    fake.script = script
    assert slash(hook, "ask", "why?") == "recovery: Codex died: it goes on\nDone."


def test_turn_that_failed_has_no_answer(hook: Hook, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.record.outcome, turn.record.cause, turn.record.error = OUTCOME_FAILED, CAUSE_QUOTA, "The quota is used up."
        turn.record.answer = "half a"
        turn.emit(ended=tpb.TurnEnded(turn=turn.record))

    fake.script = script
    shown = slash(hook, "ask", "why?")
    assert shown.startswith("No answer from Codex: the turn failed (quota): The quota is used up.")
    assert "    half a" in shown
    assert "turn 01TURN0001" in shown


def test_past_the_limit_the_line_that_fetches_the_answer(hook: Hook, fake: FakeSupervisor) -> None:
    fake.script = lambda turn: turn.wait_for(lambda: turn.watchers == 0)
    shown = slash(hook, "ask", "why?", "--limit", "0.3s")
    assert "nothing is lost" in shown
    assert shown.endswith("Fetch the answer with: codexctl attach 01TURN0001")
    assert fake.turn().interrupts == 0


@pytest.mark.parametrize(
    ("name", "text", "mistake", "example"),
    [
        ("ask", "  ", "the question is missing", "/codex-ask why"),
        ("reasoning", "", "on or off is missing", "/codex-reasoning on"),
        ("final_only", "maybe", "'maybe' is neither on nor off", "/codex-final_only on"),
        ("config", "high low", "one profile is named at a time", "/codex-config high"),
        ("stop", "now", "'now' is not --force", "/codex-stop --force"),
        ("status", "please", "it takes nothing, and there is 'please'", "/codex-status"),
        ("review", "--bass main", "there is no option '--bass'", "/codex-review --base main"),
        ("review", "--base", "--base names no branch", "/codex-review --base main"),
    ],
)
def test_bad_input_is_named_with_an_example(
    hook: Hook, fake: FakeSupervisor, name: str, text: str, mistake: str, example: str
) -> None:
    shown = slash(hook, name, text)
    assert mistake in shown
    assert f"usage: /codex-{name}" in shown
    assert f"for example: {example}" in shown
    assert fake.requests == [], "nothing was sent"


def test_settings(hook: Hook, fake: FakeSupervisor) -> None:
    assert "reasoning summaries: on" in slash(hook, "reasoning", "on")
    assert fake.last(ConfigureRequest).show_reasoning is True
    assert "final answer only: off" in slash(hook, "final_only", "OFF")
    assert fake.last(ConfigureRequest).final_only is False
    assert "profile: high" in slash(hook, "config", "high")
    assert fake.last(ConfigureRequest).instance == InstanceRef(id="project")
    shown = slash(hook, "config")
    assert "profile          high  (there are: high)" in shown
    assert "reasoning        on" in shown
    assert "approval_policy  " in shown


def test_unknown_profile_is_told_as_the_service_says_it(hook: Hook, fake: FakeSupervisor) -> None:
    fake.errors["Instances.Configure"] = NotFound("there is no profile hihg", next_step="did you mean high?")
    assert slash(hook, "config", "hihg") == "there is no profile hihg.\ndid you mean high?"


def test_status_names_the_running_turn(hook: Hook, fake: FakeSupervisor) -> None:
    fake.instances["project"].turn_id = "01RUNS"
    shown = slash(hook, "status")
    assert shown.startswith("instance project · ready · profile default")
    assert "codexctl attach 01RUNS" in shown
    assert "codex-supervisor 9.9.9" in shown


def test_stop_and_start(hook: Hook, fake: FakeSupervisor) -> None:
    assert "stopped" in slash(hook, "stop", "--force")
    assert fake.last(StopRequest).force is True
    assert "instance project" in slash(hook, "start")


def test_review(hook: Hook, fake: FakeSupervisor, ctl: Ctl) -> None:
    assert "is in no git repository" in slash(hook, "review", "--base main")
    make_repository(ctl.directory)
    assert "git knows no commit 'trunk'" in slash(hook, "review", "--base trunk")
    assert fake.requests == [], "nothing was sent"
    fake.script = answer_with("All is well.")
    assert slash(hook, "review", "--base main error  handling").startswith("All is well.")
    request = fake.last(tpb.ReviewRequest)
    assert request.target == tpb.ReviewTarget(base="main")
    assert request.focus == "error  handling"
    slash(hook, "review")
    assert fake.last(tpb.ReviewRequest).target == tpb.ReviewTarget(uncommitted=True)


def test_service_that_does_not_run_is_no_error_of_claude(ctl: Ctl) -> None:
    told = json.dumps({"session_id": "s", "command_name": "codex:ask", "command_args": "hi"}).encode()
    assert "the service is not running" in reason(ctl("hook", "expand", stdin=told))
    assert "/codex-start" in reason(ctl("hook", "expand", stdin=told.replace(b":ask", b":status").replace(b"hi", b"")))
    for event in ("session-start", "session-end", "stop"):
        assert ctl("hook", event, stdin=told) == Result(0, "", "")


@pytest.mark.parametrize(
    "told", [b"", b"{", b"[1]", b'{"session_id": 1}', b"\xff", b'{"session_id": "s"' + b" " * 9_000_000]
)
def test_input_that_is_none_leaves_claude_alone(ctl: Ctl, told: bytes) -> None:
    result = ctl("hook", "expand", stdin=told)
    assert (result.code, result.out) == (0, "")
    assert "hook's input" in result.err


@pytest.mark.parametrize("name", ["codex:codex", "codex:unknown", "other:ask", "ask", ""])
def test_other_commands_are_none_of_ours(hook: Hook, name: str) -> None:
    assert hook("expand", command_name=name, command_args="x") == Result(0, "", "")


def test_session_start_binds_the_parent(hook: Hook, fake: FakeSupervisor, ctl: Ctl) -> None:
    assert hook("session-start", source="clear") == Result(0, "", "")
    bound = fake.last(cpb.BindRequest)
    assert (bound.session_id, bound.source, bound.process.pid) == ("s-1", cpb.SESSION_SOURCE_CLEAR, os.getppid())
    assert bound.cwd == str(ctl.directory)
    ctl.environment["CLAUDE_PID"] = "4711"
    hook("session-start", source="a word of tomorrow")
    bound = fake.last(cpb.BindRequest)
    assert (bound.source, bound.process.pid) == (cpb.SESSION_SOURCE_UNSPECIFIED, 4711)


def test_session_start_brings_the_installed_plugin_up_to_date(hook: Hook, fake: FakeSupervisor, ctl: Ctl) -> None:
    root = ensure_plugin(ctl.environment)
    (root / ".made-from").write_text("of an earlier version")
    (root / "codex/commands/gone.md").write_text("")
    ctl.environment["CLAUDE_PLUGIN_ROOT"] = "/elsewhere"
    hook("session-start")
    assert (root / "codex/commands/gone.md").exists(), "it is not the one that runs"
    ctl.environment["CLAUDE_PLUGIN_ROOT"] = str(root / "codex")
    assert hook("session-start") == Result(0, "", "")
    assert not (root / "codex/commands/gone.md").exists()


def test_session_end_is_one_message(hook: Hook, fake: FakeSupervisor) -> None:
    assert hook("session-end", reason="prompt_input_exit") == Result(0, "", "")
    assert [type(request).__name__ for request in fake.requests] == ["EndRequest"]
    assert fake.last(cpb.EndRequest).reason == cpb.SESSION_END_REASON_PROMPT_INPUT_EXIT


def test_binding_that_fails_is_silent_at_the_start_and_told_at_a_command(hook: Hook, fake: FakeSupervisor) -> None:
    fake.errors["Bind"] = BadInput("no such process")
    assert (hook("session-start").code, hook("session-start").out) == (0, "")
    assert slash(hook, "ask", "hi") == "no such process."


def test_named_instance_of_the_environment_counts(hook: Hook, fake: FakeSupervisor, ctl: Ctl) -> None:
    ctl.environment["CODEX_INSTANCE"] = "mine"
    slash(hook, "ask", "hi")
    assert fake.last(tpb.AskRequest).instance == InstanceRef(id="mine")
    assert not any(isinstance(request, cpb.BindRequest) for request in fake.requests)


def test_esc_interrupts_the_turn(ctl: Ctl, fake: FakeSupervisor, tmp_path: Path) -> None:
    def script(turn: FakeTurn) -> None:
        turn.wait_for(lambda: turn.interrupts)
        turn.end("")

    fake.script = script
    # Nothing is imported from the session's directory, whoever wrote what is there.
    (tmp_path / "codexctl").mkdir()
    told = {"session_id": "s", "cwd": str(tmp_path), "command_name": "codex:ask", "command_args": "hi"}
    (tmp_path / "codexctl/__init__.py").write_text("open('pwned', 'w')")
    waiting = ctl.process("hook", "expand", stdin=-1)
    assert waiting.stdin is not None
    waiting.stdin.write(json.dumps(told))
    waiting.stdin.close()
    wait_for_sync(lambda: fake.turns and fake.turn().watchers, 20, "the hook to wait for the turn")
    waiting.send_signal(signal.SIGTERM)
    assert waiting.wait(20) == 0
    # What it was is decided when the hook has ended: here its parent, this test, does not go away.
    wait_for_sync(lambda: fake.turn().interrupts, 20, "the turn to be interrupted")
    assert fake.turn().interrupts == 1
    assert not (tmp_path / "pwned").exists()
    for stream in (waiting.stdout, waiting.stderr):
        assert stream is not None
        stream.close()


def test_session_end_takes_little_time(ctl: Ctl, fake: FakeSupervisor) -> None:
    # All plugins together have 1.5 s.
    told = json.dumps({"session_id": "s", "reason": "other"}).encode()
    command = [sys.executable, "-m", "codexctl", "hook", "session-end"]
    assert least_cpu_s(command, environment=ctl.environment, stdin=told) < 0.3
    assert len(fake.requests) == 5
