"""The segment for Claude Code's status line: what it says, and that it costs next to nothing."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.support.spending import least_cpu_s

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor

BUSY = {
    "instance": "claude-1",
    "state": "busy",
    "profile": "high",
    "turn": "01T",
    "queued": 2,
    "tasks": 0,
}
TOLD = b'{"session_id": "s-1", "model": {"display_name": "Opus"}}'


@pytest.fixture
def status_file(home: Path) -> Path:
    """The file of session s-1, as the service writes it."""
    file = home / "run/status/s-1.json"
    file.parent.mkdir(mode=0o700, parents=True)
    file.parent.parent.chmod(0o700)
    file.write_text(json.dumps(BUSY))
    return file


def test_what_it_says(ctl: Ctl, fake: FakeSupervisor, status_file: Path) -> None:
    assert ctl("statusline", stdin=TOLD).out == "codex: busy · high · turn 01T · 2 waiting\n"
    assert ctl("statusline", "--json", stdin=TOLD).json == {"text": "codex: busy · high · turn 01T · 2 waiting"}
    status_file.write_text(json.dumps(BUSY | {"state": "ready\x1b[31m", "turn": "", "queued": 0}))
    assert ctl("statusline", stdin=TOLD).out == "codex: ready · high\n"
    status_file.write_text(json.dumps(BUSY | {"tasks": 1}))
    assert ctl("statusline", stdin=TOLD).out == "codex: busy · high · turn 01T · 2 waiting · 1 task\n"
    status_file.write_text(json.dumps(BUSY | {"turn": "", "queued": 0, "tasks": 3}))
    assert ctl("statusline", stdin=TOLD).out == "codex: busy · high · 3 tasks\n"
    assert fake.requests == []


def test_service_that_is_gone_is_said(ctl: Ctl, status_file: Path) -> None:
    assert ctl("statusline", stdin=TOLD).out == "codex: service stopped\n"


@pytest.mark.parametrize(
    "told", [b"", b"{}", b"[]", b'{"session_id": 1}', b'{"session_id": "../status/s-1"}', b'{"session_id": "other"}']
)
def test_nothing_to_say(ctl: Ctl, fake: FakeSupervisor, status_file: Path, told: bytes) -> None:
    result = ctl("statusline", stdin=told)
    assert (result.code, result.out, result.err) == (0, "", "")


def test_broken_file_says_nothing(ctl: Ctl, fake: FakeSupervisor, status_file: Path) -> None:
    status_file.write_text("{")
    assert ctl("statusline", stdin=TOLD).out == ""


def test_it_adds_less_than_50_ms_to_a_start_of_python(ctl: Ctl, fake: FakeSupervisor, status_file: Path) -> None:
    def spent_s(*command: str) -> float:
        return least_cpu_s([sys.executable, *command], environment=ctl.environment, stdin=TOLD)

    assert spent_s("-m", "codexctl", "statusline") - spent_s("-c", "pass") < 0.05
