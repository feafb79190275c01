"""The installed service has the kernel hold its children below memory limits: real manager, real control groups."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.test_service_systemd import UNIT, Person, main_process_changes, own_group, person, unified_root
from tests.support.codex_home import CodexHome, codex_home_below
from tests.support.fake_codex.knobs import Knobs, Stage
from tests.support.fake_codex.place import FakeCodex
from tests.support.user_manager import user_manager
from tests.support.waiting import wait_for_sync

__all__ = ["person", "user_manager"]

pytestmark = pytest.mark.real_systemd

LIMIT_BYTES = 128 << 20


@pytest.fixture
def codex_home() -> Iterator[CodexHome]:
    with codex_home_below() as made:
        made.configure("http://127.0.0.1:9/v1")
        yield made


@pytest.fixture
def codex(codex_home: CodexHome) -> FakeCodex:
    return FakeCodex(codex_home.root / "bin", codex_home.codex_home)


@pytest.fixture
def service(person: Person, codex: FakeCodex, codex_home: CodexHome) -> Iterator[Person]:
    """The service, with tasks that may use 128 MiB and are not tried again."""
    person.installs_and_starts(
        f"codex: {{binary: {codex.binary}, home: {codex_home.codex_home}}}\n"
        "tasks: {memory_limit: 128MiB, max_deaths: 1, retries: 0}\n"
    )
    # No failures under CI either: the kernel, systemd and where the tests run decide, not what is installed there.
    group = directory(supervisor_pid(person))
    if group.name != "supervisor":
        pytest.skip("systemd before 254 starts the service in the group of its children, which then has no limits")
    if "memory" not in (group.parent / "cgroup.controllers").read_text().split():
        pytest.skip("no memory controller here: control groups v1 have it, or our own group does not pass it on")
    yield person
    person.manager.systemctl("stop", UNIT, check=False)


def directory(pid: int) -> Path:
    return unified_root() / own_group(pid).removeprefix("/")


def supervisor_pid(service: Person) -> int:
    pid = service.status()["pid"]
    assert isinstance(pid, int)
    return pid


def task_child(service: Person, task: str) -> int:
    """The pid of the child that runs the task, once there is one."""

    def found() -> int:
        known = json.loads(service.types("codexctl", "status", "--all", "--json"))["instances"]
        (child,) = [entry["child"] for entry in known if entry["id"].startswith(f"task-{task}-")]
        return child["pid"] if child else 0

    return wait_for_sync(found, what=f"the child of {task}")


def is_limited(service: Person, task: str) -> bool:
    group = directory(task_child(service, task))
    return (group / "memory.max").read_text().strip() == str(LIMIT_BYTES)


def test_a_task_over_its_limit_ends_as_a_whole_and_says_why(service: Person, codex: FakeCodex) -> None:
    codex.turn_knobs(Knobs(memory_bytes=256 << 20, stall_at=Stage.DELTA))
    ended = service.tries("codexctl", "task", "submit", "--id", "grows", "--cwd", "/", "--wait", "grow")
    assert ended.returncode == 1, ended.stderr
    task = json.loads(service.types("codexctl", "task", "show", "grows", "--json"))
    assert task["outcome"] == "child_died"
    assert "the kernel ended it" in task["error"]
    assert "128 MiB of tasks.memory_limit" in task["error"]
    # The next one has a group, and a count of its own.
    codex.turn_knobs(Knobs())
    assert service.types("codexctl", "task", "submit", "--id", "small", "--cwd", "/", "--wait", "stay small")


def test_limits_and_children_outlive_crash_and_reload(service: Person, codex: FakeCodex) -> None:
    codex.turn_knobs(Knobs(stall_at=Stage.DELTA))
    service.types("codexctl", "task", "submit", "--id", "long", "--cwd", "/", "work")
    wait_for_sync(lambda: is_limited(service, "long"), what="the limit")
    child, before = task_child(service, "long"), supervisor_pid(service)
    assert directory(before).name == "supervisor"
    assert directory(before).parent == directory(child).parent
    assert directory(before).parent.name == UNIT

    os.kill(before, signal.SIGKILL)
    main_process_changes(service, before)
    after = supervisor_pid(service)
    assert directory(after).name == "supervisor"
    wait_for_sync(lambda: is_limited(service, "long"), what="the limit under the next supervisor")
    assert task_child(service, "long") == child

    service.manager.systemctl("reload", UNIT)
    wait_for_sync(lambda: directory(supervisor_pid(service)).name == "supervisor", what="the new program to serve")
    assert supervisor_pid(service) == after
    assert task_child(service, "long") == child
    assert is_limited(service, "long")

    group = directory(child)
    service.manager.systemctl("stop", UNIT)
    assert not Path(f"/proc/{child}").exists()
    assert not group.exists()
