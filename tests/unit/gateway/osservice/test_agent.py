"""The property list as launchd reads it. Where plutil is there (macOS), it has its say too."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from codex_control.gateway_paths import GatewayPaths
from codex_control.service.own_file import Owner, owner_of
from codex_control.service.plan import MakeDir, RemoveFile, Run, WriteFile
from codex_control.service.program import Program
from codex_control.service.start_limit import BURST
from codex_gateway.config.model import DrainConfig
from codex_gateway.osservice import agent

PROGRAM = Program({"codex-gateway": ("/a b/<&>/codex-gateway",)}, {"PATH": "/ü:/bin"})
PATHS = GatewayPaths(Path("/c"), Path("/s"), Path("/r"))


def test_the_property_list_says_what_launchd_needs() -> None:
    content = plistlib.loads(agent.agent_text(PROGRAM, PATHS).encode())
    assert content["Label"] == "codex-gateway"
    assert content["ProgramArguments"] == ["/a b/<&>/codex-gateway", "serve-under-launchd"]
    assert content["EnvironmentVariables"] == {"PATH": "/ü:/bin"}
    assert content["KeepAlive"] == {"SuccessfulExit": False}
    assert content["Umask"] == 0o077
    assert content["StandardErrorPath"] == "/s/log/launchd.log"
    assert content["ExitTimeOut"] > DrainConfig().timeout + 2


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


def test_installing_loads_the_new_text_in_place_of_the_old() -> None:
    plan = agent.install_plan(PROGRAM, PATHS, Path("/Users/u/x.plist"), 501)
    assert [type(step) for step in plan.steps] == [MakeDir, WriteFile, Run, Run, Run]
    assert [step.argv[1:] for step in plan.steps if isinstance(step, Run)] == [
        ("bootout", "gui/501/codex-gateway"),
        ("enable", "gui/501/codex-gateway"),
        ("bootstrap", "gui/501", "/Users/u/x.plist"),
    ]
    assert any("keychain" in note for note in plan.notes)


def test_uninstalling_stops_first() -> None:
    assert agent.uninstall_plan(Path("/x.plist"), 501).steps == (
        Run(("launchctl", "bootout", "gui/501/codex-gateway"), may_fail=True),
        RemoveFile(Path("/x.plist")),
    )


def under_launchd(home: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codex_gateway", "serve-under-launchd"]
    return subprocess.run(command, env={"HOME": str(home)}, capture_output=True, text=True, timeout=30)


def test_a_crash_loop_ends_with_the_code_on_which_launchd_leaves_it(tmp_path: Path) -> None:
    config = tmp_path / ".config/codex-gateway/config.yaml"
    config.parent.mkdir(parents=True, mode=0o700)
    config.write_text("lisden: {}\n")
    # `serve` itself is what ends here.
    codes = [under_launchd(tmp_path).returncode for _ in range(BURST)]
    assert codes == [9] * BURST
    ended = under_launchd(tmp_path)
    assert ended.returncode == 0
    assert "started too often" in ended.stderr
