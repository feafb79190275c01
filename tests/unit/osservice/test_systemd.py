"""The texts of the units, and what is asked of systemctl. How systemd reads them: tests/integration/osservice."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from codex_control.errors import ServiceUnavailable
from codex_control.service import systemd
from codex_control.service.plan import Run
from codex_control.service.program import Program
from codex_supervisor.osservice import units

PROGRAM = Program({"codex-supervisor": ("/b/codex-supervisor",), "codexctl": ("/b/codexctl",)}, {"PATH": "/b:/bin"})


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (("/b/p", "serve"), '"/b/p" "serve"'),
        (("/a b/50%/$x", "a$b"), '"/a b/50%%/$x" "a$$b"'),
        (('/a"b', "c"), """"/bin/sh" "-c" "exec \\"$$0\\" \\"$$@\\"" "/a\\"b" "c\""""),
    ],
)
def test_command_lines(argv: tuple[str, ...], line: str) -> None:
    assert systemd.command_line(argv) == line


def test_nothing_is_left_of_the_template() -> None:
    texts = units.unit_texts(PROGRAM, 252)
    assert set(texts) == {units.UNIT, units.SWEEP_UNIT}
    for text in texts.values():
        assert "@" not in text.replace("$$@", "")
        assert 'Environment="PATH=/b:/bin"' in text


@pytest.mark.parametrize(("version", "expected"), [(252, False), (254, True), (257, True)])
def test_crashes_leave_the_sweep_alone_on_every_version(version: int, expected: bool) -> None:
    assert ("RestartMode=direct" in units.unit_texts(PROGRAM, version)[units.UNIT]) is expected


@pytest.mark.parametrize(("version", "expected"), [(252, False), (254, True), (257, True)])
def test_the_supervisor_has_a_group_of_its_own_where_systemd_can_start_it_there(version: int, expected: bool) -> None:
    assert ("\nDelegateSubgroup=supervisor\n" in units.unit_texts(PROGRAM, version)[units.UNIT]) is expected


def test_start_comes_last_and_only_when_asked_for() -> None:
    def commands(start: bool) -> list[str]:
        plan = units.install_plan(PROGRAM, Path("/u"), 252, start=start)
        return [step.argv[2] for step in plan.steps if isinstance(step, Run)]

    assert commands(start=False) == ["daemon-reload", "enable", "reset-failed"]
    assert commands(start=True) == ["daemon-reload", "enable", "reset-failed", "start"]


def test_notes_name_codex_and_lingering(tmp_path: Path) -> None:
    (tmp_path / "codex").write_text("#!/bin/sh\n")
    (tmp_path / "codex").chmod(0o700)
    program = Program(PROGRAM.commands, {"PATH": str(tmp_path)})
    notes = " ".join(units.install_plan(program, Path("/u"), 252, start=False).notes)
    assert f"Codex is {tmp_path}/codex" in notes
    assert "enable-linger" in notes


def test_unit_dir_follows_xdg() -> None:
    assert systemd.unit_dir({"HOME": "/h"}) == Path("/h/.config/systemd/user")
    assert systemd.unit_dir({"HOME": "/h", "XDG_CONFIG_HOME": "rel"}) == Path("/h/.config/systemd/user")
    assert systemd.unit_dir({"HOME": "/h", "XDG_CONFIG_HOME": "/c"}) == Path("/c/systemd/user")


def test_an_unreachable_manager_is_explained() -> None:
    def run(argv: Sequence[str]) -> str:
        if "--version" in argv:
            return "systemd 252 (252.38-1~deb12u1)\n+PAM"
        raise ServiceUnavailable("failed", why="Failed to connect to bus: No medium found")

    assert systemd.version(run) == 252
    with pytest.raises(ServiceUnavailable, match=r"No medium found.*og in as this user"):
        systemd.reachable_version("x serve", run)


def test_state_is_read_whatever_is_missing() -> None:
    shown = "LoadState=loaded\nActiveState=active\nMainPID=7\nStatusText=2 instances, a=b\n"
    state = systemd.unit_state("x.service", lambda _: shown)
    assert (state.load, state.active, state.pid, state.restarts) == ("loaded", "active", 7, 0)
    assert state.status == "2 instances, a=b"
