"""The property list as launchd reads it. Where plutil is there (macOS), it has its say too."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from codex_control.errors import ServiceUnavailable
from codex_control.paths import Paths
from codex_control.service import launchd
from codex_control.service.own_file import Owner, owner_of
from codex_control.service.plan import MakeDir, RemoveFile, Run, WriteFile
from codex_control.service.program import Program
from codex_supervisor.osservice import agent

PROGRAM = Program(
    {"codex-supervisor": ("/a b/<&>/codex-supervisor",), "codexctl": ("/b/codexctl",)}, {"PATH": "/ü:/bin"}
)
PATHS = Paths(Path("/c"), Path("/s"), Path("/r"))

PRINTED = """gui/501/codex-supervisor = {
\tactive count = 1
\tpath = /Users/u/Library/LaunchAgents/codex-supervisor.plist
\tstate = running

\truns = 3
\tpid = 4711
\tlast exit code = (never exited)
\tspawn type = interactive (4)
\tendpoints = {
\t\tstate = other
\t}
}
"""


def test_the_property_list_says_what_launchd_needs() -> None:
    content = plistlib.loads(agent.agent_text(PROGRAM, PATHS).encode())
    assert content["Label"] == agent.LABEL
    assert content["ProgramArguments"] == ["/a b/<&>/codex-supervisor", "serve-under-launchd"]
    assert content["EnvironmentVariables"] == {"PATH": "/ü:/bin"}
    assert content["KeepAlive"] == {"SuccessfulExit": False}
    assert content["ThrottleInterval"] >= 10
    assert content["Umask"] == 0o077
    assert content["StandardErrorPath"] == "/s/log/launchd.log"


def test_plutil_accepts_it(tmp_path: Path) -> None:
    if shutil.which("plutil") is None:
        pytest.skip("plutil is a program of macOS")
    file = tmp_path / "agent.plist"
    file.write_text(agent.agent_text(PROGRAM, PATHS))
    subprocess.run(["plutil", "-lint", str(file)], check=True, timeout=10)


def test_it_is_known_again_as_ours(tmp_path: Path) -> None:
    file = tmp_path / "agent.plist"
    file.write_text(agent.agent_text(PROGRAM, PATHS))
    assert owner_of(file) is Owner.OURS
    file.write_text(file.read_text().replace("/bin", "/sbin"))
    assert owner_of(file) is Owner.EDITED


def test_installing_loads_the_new_text_in_place_of_the_old() -> None:
    file = launchd.agent_file(agent.LABEL, {"HOME": "/Users/u"})
    plan = agent.install_plan(PROGRAM, PATHS, file, 501)
    assert [type(step) for step in plan.steps] == [MakeDir, WriteFile, Run, Run, Run]
    assert [step.argv[1:] for step in plan.steps if isinstance(step, Run)] == [
        ("bootout", "gui/501/codex-supervisor"),
        ("enable", "gui/501/codex-supervisor"),
        ("bootstrap", "gui/501", "/Users/u/Library/LaunchAgents/codex-supervisor.plist"),
    ]


def test_uninstalling_stops_first() -> None:
    plan = agent.uninstall_plan(Path("/x.plist"), 501)
    assert plan.steps == (
        Run(("launchctl", "bootout", "gui/501/codex-supervisor"), may_fail=True),
        RemoveFile(Path("/x.plist")),
    )


def test_state_is_read_from_what_launchctl_prints() -> None:
    state = launchd.agent_state(agent.LABEL, 501, lambda _: PRINTED)
    assert state == launchd.AgentState(True, "running", 4711, 3, "(never exited)")


def test_an_agent_that_is_not_loaded_is_no_error() -> None:
    def run(argv: Sequence[str]) -> str:
        raise ServiceUnavailable("Could not find service")

    assert launchd.agent_state(agent.LABEL, 501, run) == launchd.AgentState(loaded=False)
