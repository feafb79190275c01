"""Our unit under a real user manager, with a stand-in for the supervisor whose behaviour each test chooses."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from codex_control.errors import ServiceUnavailable
from codex_control.service import systemd
from codex_control.service.plan import carry_out
from codex_control.service.program import Program
from codex_supervisor.osservice import units

from tests.support.codex_home import REPOSITORY
from tests.support.user_manager import UserManager
from tests.support.waiting import wait_for_sync

pytestmark = pytest.mark.real_systemd

# The real limits are minutes; the mechanics are the same.
QUICK = """
[Unit]
StartLimitBurst=3
[Service]
RestartSec=20ms
WatchdogSec=600ms
"""


class Service:
    """Our units, installed and ready to be started, around a stand-in program."""

    def __init__(self, manager: UserManager, folder: Path) -> None:
        self.manager = manager
        self.knobs = folder / "knobs"
        self.knobs.mkdir()
        # The worst names that a home directory may have.
        bin_dir = folder / """a b%h$HOME;'q"\\"""
        bin_dir.mkdir()
        script = bin_dir / "codex-supervisor"
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m tests.support.notify_program "{self.knobs}" "$@"\n')
        script.chmod(0o755)
        environment = {
            "PATH": f"{bin_dir}:{os.environ['PATH']}",
            "PYTHONPATH": str(REPOSITORY),
            "ODD": """50% of $HOME is "q" \\ 'p'""",
        }
        self.program = Program({"codex-supervisor": (str(script),), "codexctl": (str(script),)}, environment)

    def run(self, argv: object) -> str:
        """Runs the plan's commands where the manager is."""
        assert isinstance(argv, tuple)
        ended = self.manager.run(*argv, check=False)
        if ended.returncode != 0:
            raise ServiceUnavailable(f"{argv} failed", why=ended.stderr)
        return ended.stdout

    def install(self, *, start: bool = True) -> None:
        version = systemd.reachable_version("codex-supervisor serve", self.run)
        plan = units.install_plan(self.program, self.manager.unit_dir, version, start=False)
        carry_out(plan, run=self.run)
        self.manager.drop_in(units.UNIT, QUICK)
        if start:
            self.manager.systemctl("start", units.UNIT)

    @property
    def state(self) -> systemd.UnitState:
        return systemd.unit_state(units.UNIT, self.run)

    def lines(self, knob: str) -> list[str]:
        file = self.knobs / knob
        return file.read_text().splitlines() if file.exists() else []

    @property
    def child(self) -> int:
        return int((self.knobs / "child").read_text())

    def wait_for_restart(self, before: int) -> systemd.UnitState:
        """Wait until another main process than `before` is ready."""

        def restarted() -> systemd.UnitState | None:
            state = self.state
            return state if state.pid not in (0, before) and state.sub == "running" else None

        found = wait_for_sync(restarted, what="the unit to run again")
        assert found is not None
        return found


def runs(pid: int) -> bool:
    """Whether a process lives (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def service(user_manager: UserManager, tmp_path: Path) -> Service:
    return Service(user_manager, tmp_path)


def test_installed_unit_starts_and_shows_its_status_line(service: Service) -> None:
    service.install()
    state = service.state
    assert (state.load, state.enabled, state.active, state.sub) == ("loaded", "enabled", "active", "running")
    assert state.status == "started a child"
    assert runs(state.pid)
    assert f"{state.pid} " in service.manager.systemctl("status", units.UNIT).replace("Main PID: ", "")


def test_program_and_environment_arrive_unchanged_by_systemds_syntax(service: Service) -> None:
    service.install()
    environ = Path(f"/proc/{service.state.pid}/environ").read_text().split("\0")
    for name, value in service.program.environment.items():
        assert f"{name}={value}" in environ
    assert Path(f"/proc/{service.state.pid}/status").read_text().split("Umask:")[1].split()[0] == "0077"


def test_secrets_come_from_the_environment_file(service: Service) -> None:
    file = service.manager.home / ".config/codex-supervisor/environment"
    file.parent.mkdir(parents=True)
    file.write_text("SOME_KEY=x%h y\n")
    service.install()
    assert "SOME_KEY=x%h y" in Path(f"/proc/{service.state.pid}/environ").read_text().split("\0")


def test_units_are_sound_in_systemds_own_eyes(service: Service) -> None:
    service.install(start=False)
    files = [str(service.manager.unit_dir / name) for name in (units.UNIT, units.SWEEP_UNIT)]
    verified = service.manager.run("systemd-analyze", "--user", "--man=no", "--recursive-errors=no", "verify", *files)
    assert verified.stderr == ""


def test_stop_ends_the_child_and_sweeps_once_more(service: Service) -> None:
    service.install()
    (service.knobs / "careless").touch()
    child = service.child
    service.manager.systemctl("stop", units.UNIT)
    assert not runs(child)
    assert service.lines("swept") == ["success"]
    assert service.state.active == "inactive"


def test_restart_brings_a_new_process_and_a_new_child(service: Service) -> None:
    service.install()
    before, child = service.state.pid, service.child
    service.manager.systemctl("restart", units.UNIT)
    assert service.state.pid != before
    assert not runs(child)
    assert runs(service.child)


def test_reload_executes_a_new_version_in_the_same_process(service: Service) -> None:
    service.install()
    before, child = service.state.pid, service.child
    service.manager.systemctl("reload", units.UNIT)
    assert service.state.pid == before
    assert service.state.status == "adopted a child"
    assert len(service.lines("begun")) == 2
    assert service.child == child
    assert runs(child)
    assert service.lines("swept") == []


def test_killed_supervisor_is_restarted_and_finds_its_child_alive(service: Service) -> None:
    service.install()
    before, child = service.state.pid, service.child
    os.kill(before, signal.SIGKILL)
    state = service.wait_for_restart(before)
    assert state.status == "adopted a child"
    assert state.restarts == 1
    assert runs(child)
    assert service.lines("swept") == []


def test_watchdog_kills_a_supervisor_that_no_longer_answers(service: Service) -> None:
    service.install()
    before, child = service.state.pid, service.child
    (service.knobs / "deaf").touch()
    wait_for_sync(lambda: not runs(before), what="the watchdog to kill it")
    (service.knobs / "deaf").unlink()
    assert service.wait_for_restart(before).status == "adopted a child"
    assert runs(child)
    assert service.lines("swept") == []


def test_crash_loop_ends_in_failed_and_the_sweep(service: Service) -> None:
    service.install()
    before, child = service.state.pid, service.child
    (service.knobs / "broken").write_text("1")
    os.kill(before, signal.SIGKILL)
    service.manager.wait_for_state(units.UNIT, "failed")
    wait_for_sync(lambda: service.lines("swept"), what="the sweep")
    assert service.lines("swept") == ["- --after-failure"]
    # The sweep says that it runs, and then ends what is left.
    wait_for_sync(lambda: not runs(child), what="the end of the child")
    assert len(service.lines("begun")) == 3
    (service.knobs / "broken").unlink()
    service.manager.systemctl("reset-failed", units.UNIT)
    service.manager.systemctl("start", units.UNIT)
    assert service.state.active == "active"


@pytest.mark.parametrize("code", [9, 10])
def test_wrong_configuration_is_not_tried_again(service: Service, code: int) -> None:
    (service.knobs / "broken").write_text(str(code))
    service.install(start=False)
    service.manager.systemctl("start", units.UNIT, check=False)
    service.manager.wait_for_state(units.UNIT, "failed")
    assert len(service.lines("begun")) == 1


def test_uninstall_stops_everything_and_leaves_no_unit(service: Service) -> None:
    service.install()
    child = service.child
    carry_out(units.uninstall_plan(service.manager.unit_dir), run=service.run)
    assert not runs(child)
    assert not list(service.manager.unit_dir.glob("*.service"))
    assert service.state.load == "not-found"
    # Twice does no harm.
    carry_out(units.uninstall_plan(service.manager.unit_dir), run=service.run)


def test_installing_again_takes_over_a_new_path(service: Service) -> None:
    service.install(start=False)
    service.program = replace(service.program, environment={**service.program.environment, "ODD": "new"})
    service.install()
    assert "ODD=new" in Path(f"/proc/{service.state.pid}/environ").read_text().split("\0")
