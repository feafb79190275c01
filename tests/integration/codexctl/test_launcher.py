"""`claude-codex`: it becomes Claude Code, with the plugin and nothing else added."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from codexctl.claude import launcher
from codexctl.claude.launcher import find_claude

from tests.support.spending import least_cpu_s
from tests.support.waiting import wait_for_sync

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor

# Tells its arguments and what it was given, and ends as it is told to.
CLAUDE = f"""#!{sys.executable}
import json, os, sys
print(json.dumps({{"arguments": sys.argv[1:], "pid": os.getpid(), "stdin": sys.stdin.read()}}))
sys.exit(int(os.environ.get("CLAUDE_ENDS_WITH", "0")))
"""
LAUNCH = (sys.executable, "-m", "codexctl.claude.launcher")

Launch = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def launch(environment: dict[str, str], home: Path) -> Launch:
    """Runs claude-codex with a stand-in for Claude Code on its PATH."""
    programs = home / "programs"
    programs.mkdir()
    (programs / "claude").write_text(CLAUDE)
    (programs / "claude").chmod(0o755)
    environment["PATH"] = f"{programs}:{environment['PATH']}"

    def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LAUNCH, *arguments], env=environment | more, input="typed", capture_output=True, text=True, timeout=30
        )

    return run


def test_arguments_input_and_exit_code_pass_through(launch: Launch, fake: FakeSupervisor, home: Path) -> None:
    arguments = ["-p", "why? $(id) 'x' \"y\"\n你好", "", "--continue", "--", "-x"]
    done = launch(*arguments, CLAUDE_ENDS_WITH="42")
    told = json.loads(done.stdout)
    plugin = home / ".local/share/codex-supervisor/claude/codex"
    assert told["arguments"] == [f"--plugin-dir={plugin}", *arguments]
    assert (plugin / "hooks/hooks.json").exists()
    assert (told["stdin"], done.returncode, done.stderr) == ("typed", 42, "")


def test_it_becomes_claude(launch: Launch, fake: FakeSupervisor, environment: dict[str, str]) -> None:
    with subprocess.Popen(LAUNCH, env=environment, stdin=-1, stdout=-1, text=True) as process:
        out, _ = process.communicate("", timeout=30)
    assert json.loads(out)["pid"] == process.pid


def test_claude_starts_also_where_the_service_cannot(launch: Launch, environment: dict[str, str]) -> None:
    del environment["CODEXCTL_NO_START"]
    environment["CODEX_SUPERVISOR_CONFIG"] = str(Path(environment["HOME"], "broken.yaml"))
    Path(environment["HOME"], "broken.yaml").write_text("nonsense: [")
    done = launch("x")
    assert json.loads(done.stdout)["arguments"][1:] == ["x"]
    assert "the service could not be started" in done.stderr


def test_unsafe_directory_is_told(launch: Launch, fake: FakeSupervisor) -> None:
    fake.socket_path.parent.chmod(0o755)
    done = launch("x")
    assert json.loads(done.stdout)["arguments"] == ["x"], "without a plugin that could reach nobody"
    assert "is open to other users" in done.stderr
    assert "Claude Code starts without" in done.stderr


def test_missing_claude_is_told_with_the_fix(environment: dict[str, str], home: Path) -> None:
    done = subprocess.run(LAUNCH, env=environment | {"PATH": str(home)}, capture_output=True, text=True, timeout=30)
    assert done.returncode == 127
    assert "next: install it" in done.stderr
    asked = [*LAUNCH, "--help"]
    done = subprocess.run(asked, env=environment | {"PATH": str(home)}, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout.split(" [")[0]) == (0, "Usage: claude-codex")
    assert "next: install it" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("--help",)])
def test_a_claude_that_cannot_be_run_is_told_with_the_fix(
    launch: Launch, home: Path, fake: FakeSupervisor, arguments: tuple[str, ...]
) -> None:
    claude = home / "programs" / "claude"
    claude.write_bytes(b"\0 no program of this machine")
    done = launch(*arguments)
    told, fix = done.stderr.splitlines()
    assert (done.returncode, told) == (126, f"claude-codex: {claude} cannot be run: Exec format error.")
    assert fix.startswith("  next: install Claude Code anew (npm install -g ")


def test_the_installation_tells_of_a_claude_that_cannot_be_run(ctl: Ctl, home: Path) -> None:
    claude = home / "claude"
    claude.write_bytes(b"\0 no program of this machine")
    claude.chmod(0o755)
    ctl.environment["PATH"] = str(home)
    result = ctl("claude", "install")
    told, fix = result.err.splitlines()
    assert told == f"codexctl: {claude} cannot be run: Exec format error."
    assert fix.startswith("  next: install Claude Code anew (npm install -g ")


@pytest.mark.parametrize("option", ["-h", "--help", "-v", "--version"])
def test_whoever_only_looks_starts_nothing(
    launch: Launch, environment: dict[str, str], home: Path, option: str
) -> None:
    del environment["CODEXCTL_NO_START"]
    done = launch(option)
    assert (json.loads(done.stdout)["arguments"], done.stderr) == ([option], "")
    assert not (home / ".local").exists()


def test_it_does_not_start_itself(launch: Launch, environment: dict[str, str], home: Path) -> None:
    (home / "first").mkdir()
    (home / "first/claude").symlink_to(launcher.__file__)
    path = f"{home}/first:{environment['PATH']}"
    assert find_claude({"PATH": path}, launcher.__file__) == str(home / "programs/claude")


def test_it_adds_less_than_100_ms(launch: Launch, fake: FakeSupervisor, environment: dict[str, str]) -> None:
    def spent_s(*command: str) -> float:
        return least_cpu_s(command, environment=environment)

    launch()
    assert spent_s(*LAUNCH) - spent_s(f"{environment['HOME']}/programs/claude") < 0.1


def test_it_adds_less_than_2_s_where_the_service_does_not_run(
    launch: Launch, environment: dict[str, str], home: Path
) -> None:
    del environment["CODEXCTL_NO_START"]
    environment["CODEX_SUPERVISOR_CONFIG"] = str(home / "config.yaml")
    (home / "config.yaml").write_text("codex: {binary: /nowhere/codex}\nmetrics: {port: 0}\n")
    began_s = time.monotonic()
    done = launch()
    took_s = time.monotonic() - began_s
    assert done.stderr == "the service is not running: starting it (codex-supervisor serve)\n"
    pid = int((home / "run/supervisor.lock").read_text())
    os.kill(pid, signal.SIGTERM)
    wait_for_sync(lambda: not Path(f"/proc/{pid}").exists(), 20, "the end of the service")
    assert took_s < 2


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_signals_are_as_they_were(launch: Launch, fake: FakeSupervisor, home: Path) -> None:
    (home / "programs/claude").write_text("#!/bin/sh\ngrep SigIgn /proc/self/status\n")
    ignored = int(launch().stdout.split()[1], 16)
    assert not ignored & (1 << (signal.SIGPIPE - 1) | 1 << (signal.SIGXFSZ - 1))


def test_it_loads_neither_grpc_nor_click() -> None:
    program = (
        "import sys, codexctl.claude.launcher\n"
        "print(*[name for name in ('grpc', 'click', 'asyncio', 'google.protobuf', 'json') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
