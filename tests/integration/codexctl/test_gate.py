"""The review gate as a Stop hook: it holds Claude up for findings alone."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from codex_control.errors import LimitExceeded
from codex_control.v1.turns_pb2 import AskRequest

from tests.support.repository import make_repository

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor, answer_with

PASS = json.dumps({"verdict": "pass", "findings": []})
FINDINGS = json.dumps({"verdict": "findings", "findings": [{"place": "a.py:1", "problem": "It is wrong."}]})


@pytest.fixture
def work(ctl: Ctl) -> Ctl:
    """A codexctl in a repository with something that is not committed, and the gate on."""
    make_repository(ctl.directory)
    (ctl.directory / "a.py").write_text("1")
    assert ctl("claude", "gate").out == "off\n"
    assert ctl("claude", "gate", "on", "--rounds", "2", "--tokens", "2000").code == 0
    assert ctl("claude", "gate").out == "on: 2 rounds, 2,000 tokens for each session\n"
    return ctl


def stop(ctl: Ctl, *options: str) -> Any:
    result = ctl("hook", "stop", *options, stdin=json.dumps({"session_id": "s", "cwd": str(ctl.directory)}).encode())
    assert result.code == 0
    return result.json if result.out else None


def test_off_it_asks_nobody(work: Ctl, fake: FakeSupervisor) -> None:
    assert work("claude", "gate", "off").out == "the review gate is off\n"
    assert stop(work) is None
    assert fake.requests == []


def test_findings_send_claude_back_once(work: Ctl, fake: FakeSupervisor) -> None:
    fake.script = answer_with(FINDINGS)
    decision = stop(work)
    assert decision["decision"] == "block"
    assert "- a.py:1: It is wrong." in decision["reason"]
    assert "turn 01TURN0001" in decision["reason"]
    assert json.loads(fake.last(AskRequest).output_schema)["required"] == ["verdict", "findings"]
    assert stop(work) is None, "the same changes are not reviewed twice"
    assert len(fake.turns) == 1


def test_review_that_was_cut_off_is_made_again(work: Ctl, fake: FakeSupervisor) -> None:
    fake.script = lambda turn: turn.end(outcome="CANCELLED", cause="USER")
    assert "could not run" in stop(work)["systemMessage"]
    fake.script = answer_with(FINDINGS)
    assert stop(work)["decision"] == "block"
    assert len(fake.turns) == 2
    assert stop(work) is None


def test_findings_that_nobody_was_there_for_are_told(work: Ctl, fake: FakeSupervisor) -> None:
    fake.script = answer_with(FINDINGS)
    stop(work)
    told = next(file for file in gate_folder(work).iterdir())
    told.unlink()  # Claude Code was killed while the review ran
    again = stop(work)
    assert again["decision"] == "block"
    assert "turn 01TURN0001" in again["reason"]
    assert len(fake.turns) == 1, "it is not made again"
    assert stop(work) is None


def test_findings_that_cannot_be_remembered_as_told_do_not_hold_claude_up_for_ever(
    work: Ctl, fake: FakeSupervisor
) -> None:
    fake.script = answer_with(FINDINGS)
    gate_folder(work).parent.mkdir()
    gate_folder(work).write_text("in the way")
    assert "could not run" in stop(work)["systemMessage"]


def gate_folder(ctl: Ctl) -> Path:
    return Path(ctl.environment["CODEX_SUPERVISOR_STATE_DIR"]) / "review-gate"


def test_pass_lets_it_stop(work: Ctl, fake: FakeSupervisor) -> None:
    fake.script = answer_with(PASS)
    assert stop(work)["systemMessage"].startswith("Codex's review gate: pass · instance project · turn 01TURN0001")


def test_nothing_changed_is_a_pass_without_a_review(work: Ctl, fake: FakeSupervisor) -> None:
    (work.directory / "a.py").unlink()
    assert stop(work) is None
    assert fake.requests == []


def start(ctl: Ctl, session_id: str) -> None:
    hook = {"session_id": session_id, "cwd": str(ctl.directory), "source": "startup"}
    assert ctl("hook", "session-start", stdin=json.dumps(hook).encode()).code == 0


def test_what_was_committed_in_the_session_is_reviewed_too(work: Ctl, fake: FakeSupervisor) -> None:
    start(work, "s")
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    for arguments in (["add", "."], ["commit", "--quiet", "-m", "second"]):
        subprocess.run(["git", "-C", str(work.directory), *identity, *arguments], check=True, capture_output=True)
    fake.script = answer_with(FINDINGS)
    assert stop(work)["decision"] == "block"
    assert "since commit" in fake.last(AskRequest).prompt
    assert stop(work) is None, "the same changes are not reviewed twice"


def test_without_a_gate_no_start_is_remembered(work: Ctl, fake: FakeSupervisor) -> None:
    work("claude", "gate", "off")
    start(work, "s")
    assert not gate_folder(work).exists()


def test_tokens_are_limited(work: Ctl, fake: FakeSupervisor) -> None:
    # The fake's turns use 1,234 tokens each.
    for number in range(3):
        fake.script = answer_with(PASS)
        (work.directory / "a.py").write_text("x" * (number + 2))
        decision = stop(work)
    assert len(fake.turns) == 2
    assert "could not run: all 2 rounds of this session are used" in decision["systemMessage"]
    work("claude", "gate", "on", "--rounds", "9", "--tokens", "2000")
    assert "2,000 tokens of this session are used (2,468)" in stop(work)["systemMessage"]


def test_what_goes_wrong_never_blocks(work: Ctl, fake: FakeSupervisor) -> None:
    fake.script = answer_with("I like it.")
    assert "could not run: Codex gave no verdict" in stop(work)["systemMessage"]
    (work.directory / "a.py").write_text("22")
    fake.errors["Ask"] = LimitExceeded("the queue is full")
    assert "could not run: the queue is full" in stop(work)["systemMessage"]
    fake.stop()
    assert "could not run: the service is not running" in stop(work)["systemMessage"]


def test_past_the_limit_the_review_is_stopped(work: Ctl, fake: FakeSupervisor) -> None:
    def script(turn: Any) -> None:
        turn.wait_for(lambda: turn.interrupts)
        turn.end("")

    fake.script = script
    assert "could not run: Codex took longer" in stop(work, "--limit", "0.5s")["systemMessage"]
    assert fake.turn().interrupts == 1
