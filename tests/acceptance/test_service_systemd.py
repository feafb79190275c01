"""A person installs the service with systemd, uses systemctl on it, and removes it: real manager, real supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.codex_home import codex_home_below
from tests.support.user_manager import BIN, AtATerminal, UserManager, user_manager
from tests.support.waiting import wait_for_sync

__all__ = ["user_manager"]

pytestmark = pytest.mark.real_systemd

UNIT = "codex-supervisor.service"


class Person(AtATerminal):
    """Installs the supervisor, and looks after it."""

    def status(self) -> dict[str, object]:
        """What `codex-supervisor status` says."""
        found: dict[str, object] = json.loads(self.tries("codex-supervisor", "status", "--json").stdout)
        return found

    def configures(self, text: str) -> None:
        """Write the configuration file."""
        config = self.manager.home / ".config/codex-supervisor/config.yaml"
        config.parent.mkdir(parents=True)
        config.write_text(text)

    def installs_and_starts(self, more: str = "") -> int:
        """Install the service, start it, and return its pid."""
        # Another port than a supervisor of the machine has.
        self.configures("metrics: {port: 0}\n" + more)
        self.types("codex-supervisor", "install", "--now")
        pid = self.status()["pid"]
        assert isinstance(pid, int)
        assert pid > 0
        return pid


@pytest.fixture
def person(user_manager: UserManager) -> Person:
    return Person(user_manager)


def test_dry_run_shows_the_unit_and_changes_nothing(person: Person) -> None:
    shown = person.types("codex-supervisor", "install", "--dry-run")
    assert f'ExecStart="{BIN}/codex-supervisor" serve' in shown
    assert f' reload "{BIN}/codexctl" reload --exec\n' in shown
    assert f'Environment="PATH={BIN}:' in shown
    assert "# run: systemctl --user enable codex-supervisor.service" in shown
    assert not person.manager.unit_dir.exists()
    assert person.status()["installed"] == "no"


def test_install_start_use_and_uninstall(person: Person) -> None:
    pid = person.installs_and_starts()
    status = person.status()
    assert status["installed"] == "yes"
    assert (status["active"], status["sub"], status["enabled"]) == ("active", "running", "enabled")
    assert "0 instances" in str(status["status"])
    assert json.loads(person.types("codexctl", "version", "--json"))["service"]["pid"] == pid
    assert "uninstalled" in person.types("codex-supervisor", "uninstall")
    assert person.status()["installed"] == "no"
    assert not Path(f"/proc/{pid}").exists()
    assert (person.manager.home / ".local/state/codex-supervisor/supervisor.db").exists()


def test_install_names_lingering_and_codex(person: Person) -> None:
    ended = person.tries("codex-supervisor", "install")
    assert ended.stdout == "installed\n"
    assert "enable-linger" in ended.stderr
    assert "odex" in ended.stderr


def test_a_unit_of_somebody_else_is_not_overwritten(person: Person) -> None:
    person.manager.unit_dir.mkdir(parents=True)
    unit = person.manager.unit_dir / UNIT
    unit.write_text("[Service]\nExecStart=/bin/true\n")
    ended = person.tries("codex-supervisor", "install")
    assert ended.returncode == 10
    assert "is not ours" in ended.stderr
    assert "--force" in ended.stderr
    assert unit.read_text() == "[Service]\nExecStart=/bin/true\n"
    person.types("codex-supervisor", "install", "--force")
    assert "ExecStart=" in unit.read_text()
    assert person.status()["installed"] == "yes"


def test_an_edited_unit_is_kept(person: Person) -> None:
    person.types("codex-supervisor", "install")
    unit = person.manager.unit_dir / UNIT
    unit.write_text(unit.read_text().replace("WatchdogSec=20", "WatchdogSec=99"))
    assert "edited" in str(person.status()["installed"])
    for command in ("install", "uninstall"):
        ended = person.tries("codex-supervisor", command)
        assert ended.returncode == 10
        assert "drop-in" in ended.stderr
    assert "WatchdogSec=99" in unit.read_text()


def test_without_a_user_manager_the_error_says_what_to_do(person: Person) -> None:
    ended = person.manager.run(
        "codex-supervisor",
        "install",
        check=False,
        environ={**person.environ, "XDG_RUNTIME_DIR": "/nonexistent", "DBUS_SESSION_BUS_ADDRESS": ""},
    )
    assert ended.returncode == 3
    assert ended.stderr.startswith("codex-supervisor: your systemd user manager cannot be reached: ")
    assert "enable-linger" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_killed_service_comes_back_by_itself(person: Person) -> None:
    pid = person.installs_and_starts()
    os.kill(pid, signal.SIGKILL)
    wait_for_sync(lambda: person.status()["pid"] not in (0, pid), what="a new main process")
    person.manager.wait_for_state(UNIT, "active")
    assert person.status()["restarts"] == 1


def test_reload_runs_the_installed_version_in_the_same_process(person: Person) -> None:
    pid = person.installs_and_starts()
    before = started_at(person)
    person.manager.systemctl("reload", UNIT)
    wait_for_sync(lambda: started_at(person) not in ("", before), what="the program to be replaced")
    person.manager.wait_for_state(UNIT, "active")
    assert person.status()["pid"] == pid
    assert person.status()["restarts"] == 0


def started_at(person: Person) -> str:
    """When the running program began; empty while it does not answer."""
    service = json.loads(person.types("codexctl", "version", "--json"))["service"]
    return str(service["started_at"]) if service else ""


def test_stop_and_restart_do_as_people_expect(person: Person) -> None:
    pid = person.installs_and_starts()
    person.manager.systemctl("restart", UNIT)
    second = person.status()["pid"]
    assert second not in (0, pid)
    person.manager.systemctl("stop", UNIT)
    status = person.status()
    assert (status["active"], status["result"], status["pid"]) == ("inactive", "success", 0)


def test_a_bad_configuration_fails_at_once_with_its_reason(person: Person) -> None:
    person.configures("turns: {timeot: 5}\n")
    ended = person.tries("codex-supervisor", "install", "--now")
    assert ended.returncode == 3
    status = person.status()
    assert (status["active"], status["restarts"]) == ("failed", 0)


def test_codexctl_starts_the_installed_service(person: Person) -> None:
    person.installs_and_starts()
    person.manager.systemctl("stop", UNIT)
    person.types("codexctl", "profiles")
    assert person.status()["active"] == "active"


def test_shutdown_goes_through_systemd_so_that_it_stays_down(person: Person) -> None:
    pid = person.installs_and_starts()
    told = person.types("codexctl", "shutdown")
    assert told == f"the service (pid {pid}) has ended through systemd\n"
    status = person.status()
    assert (status["active"], status["result"], status["pid"]) == ("inactive", "success", 0)
    assert person.types("codexctl", "shutdown") == "the service is not running\n"


@pytest.fixture
def awake_child(person: Person, real_codex: Path) -> Iterator[int]:
    """The pid of the real Codex that an installed and started service keeps for the instance `one`."""
    with codex_home_below() as made:
        # Nobody listens there: no turn is asked for.
        made.configure("http://127.0.0.1:9/v1")
        person.installs_and_starts(f"codex: {{binary: {real_codex}, home: {made.codex_home}}}\n")
        person.types("codexctl", "start", "one")
        yield child_of(person)
        person.manager.systemctl("stop", UNIT, check=False)


def child_of(person: Person) -> int:
    pid = json.loads(person.types("codexctl", "status", "one", "--json"))["child"]["pid"]
    assert isinstance(pid, int)
    return pid


def main_process_changes(person: Person, before: object) -> None:
    wait_for_sync(lambda: person.status()["pid"] not in (0, before), what="a new main process")
    person.manager.wait_for_state(UNIT, "active")


def test_children_outlive_a_crash_of_the_service_and_are_adopted(person: Person, awake_child: int) -> None:
    before = person.status()["pid"]
    assert isinstance(before, int)
    os.kill(before, signal.SIGKILL)
    main_process_changes(person, before)
    assert child_of(person) == awake_child


def test_children_outlive_a_reload(person: Person, awake_child: int) -> None:
    before = started_at(person)
    person.manager.systemctl("reload", UNIT)
    wait_for_sync(lambda: started_at(person) not in ("", before), what="the program to be replaced")
    assert child_of(person) == awake_child


def test_a_reload_with_a_mistake_fails_and_the_service_goes_on(person: Person) -> None:
    pid = person.installs_and_starts()
    before = started_at(person)
    (person.manager.home / ".config/codex-supervisor/config.yaml").write_text("turns: {timeot: 5}\n")
    assert person.manager.run("systemctl", "--user", "reload", UNIT, check=False).returncode == 1
    status = person.status()
    assert (status["active"], status["pid"], started_at(person)) == ("active", pid, before)


def test_a_stop_in_a_reload_is_a_stop(person: Person, awake_child: int) -> None:
    reload = person.manager.begins("systemctl", "--user", "reload", UNIT)
    wait_for_sync(lambda: person.status()["sub"] == "reload", what="the reload to begin")
    person.manager.systemctl("stop", UNIT)
    reload.communicate()
    status = person.status()
    assert (status["active"], status["result"]) == ("inactive", "success")
    assert not Path(f"/proc/{awake_child}").exists()


def test_a_stop_leaves_no_child(person: Person, awake_child: int) -> None:
    person.manager.systemctl("stop", UNIT)
    assert not Path(f"/proc/{awake_child}").exists()
    assert person.status()["result"] == "success"


def test_a_service_that_cannot_come_up_again_leaves_no_child(person: Person, awake_child: int) -> None:
    before = person.status()["pid"]
    assert isinstance(before, int)
    # From now on every start fails at once, and is not tried again.
    config = person.manager.home / ".config/codex-supervisor/config.yaml"
    config.write_text("turns: {timeot: 5}\n")
    os.kill(before, signal.SIGKILL)
    person.manager.wait_for_state(UNIT, "failed")
    wait_for_sync(lambda: not Path(f"/proc/{awake_child}").exists(), what="the sweep to end the child")


def own_group(pid: int) -> str:
    """The process's group in the unified hierarchy."""
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    return next(line.removeprefix("0::") for line in lines if line.startswith("0::"))


def unified_root() -> Path:
    """Where the unified hierarchy is mounted: below a hybrid one it has a directory of its own."""
    hybrid = Path("/sys/fs/cgroup/unified")
    return hybrid if hybrid.is_dir() else Path("/sys/fs/cgroup")


def test_a_stop_ends_what_hides_from_everything_but_the_childs_group(person: Person, awake_child: int) -> None:
    group = own_group(awake_child)
    assert "/codex-supervisor.service/child-" in group
    # A session, an environment and a parent of its own: nothing but the group says whose it is.
    hidden = subprocess.Popen(["sleep", "300"], env={}, start_new_session=True)
    try:
        (unified_root() / group.removeprefix("/") / "cgroup.procs").write_text(str(hidden.pid))
        person.manager.systemctl("stop", UNIT)
        assert hidden.wait(timeout=5) in (-signal.SIGTERM, -signal.SIGKILL)
        assert not (unified_root() / group.removeprefix("/")).exists()
    finally:
        if hidden.poll() is None:
            hidden.kill()
            hidden.wait()


def test_the_watchdog_replaces_a_supervisor_whose_loop_stands_still(person: Person, awake_child: int) -> None:
    person.manager.drop_in(UNIT, "[Service]\nWatchdogSec=2\n")
    person.manager.systemctl("restart", UNIT)
    person.types("codexctl", "start", "one")
    child = child_of(person)
    before = person.status()["pid"]
    assert isinstance(before, int)
    # Stopped, it is as good as a loop that never turns again.
    os.kill(before, signal.SIGSTOP)
    main_process_changes(person, before)
    assert child_of(person) == child
