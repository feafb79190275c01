"""What is read of control groups and written to them. The kernel itself: acceptance/test_service_memory.py."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from codex_supervisor.child import cgroups
from codex_supervisor.child.cgroups import killed_for_memory, limit_memory, memory_of, start_controllers

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="control groups are Linux's")

# As the kernel writes them (Documentation/admin-guide/cgroup-v2.rst), shortened.
STAT = "anon 1000\nfile 50000\nkernel 300\nshmem 24\npgfault 9\n"


@pytest.mark.parametrize(
    ("events", "found"),
    [
        ("low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 1\n", "limit"),
        ("low 0\nhigh 0\nmax 0\noom 0\noom_kill 1\noom_group_kill 0\n", "system"),
        ("low 0\nhigh 0\nmax 12\noom 1\noom_kill 0\noom_group_kill 0\n", ""),
        (None, ""),
    ],
)
def test_whom_the_kernel_killed_for_memory(tmp_path: Path, events: str | None, found: str) -> None:
    if events is not None:
        (tmp_path / "memory.events").write_text(events)
    assert killed_for_memory(tmp_path) == found


def test_memory_is_what_cannot_be_given_back(tmp_path: Path) -> None:
    (tmp_path / "memory.stat").write_text(STAT)
    assert memory_of(tmp_path) == 1024


def test_without_a_controller_the_processes_are_counted(tmp_path: Path) -> None:
    assert memory_of(tmp_path) == 0
    gone = 2**22 + 1  # above every pid_max
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n{gone}\n")
    held = bytearray(b"\x01") * (32 << 20)
    assert memory_of(tmp_path) > len(held)


@pytest.mark.parametrize(("limit", "written"), [(64 << 20, ("67108864", "1")), (0, ("max", "0"))])
def test_a_limit_ends_the_child_as_a_whole(tmp_path: Path, limit: int, written: tuple[str, str]) -> None:
    assert limit_memory(tmp_path, limit) is bool(limit)
    assert ((tmp_path / "memory.max").read_text(), (tmp_path / "memory.oom.group").read_text()) == written


def test_what_cannot_be_limited_is_not(tmp_path: Path) -> None:
    assert limit_memory(tmp_path / "gone", 1) is False


@pytest.mark.parametrize(
    ("own", "available", "started"),
    [
        ("s.service/supervisor", "cpu memory pids", ("memory", "pids")),
        ("s.service/supervisor", "memory", ("memory",)),
        ("s.service/supervisor", "hugetlb pids", ()),
        ("s.service", "cpu memory pids", ()),
    ],
)
def test_controllers_are_started_where_we_have_a_leaf(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, available: str, started: tuple[str, ...]
) -> None:
    service = tmp_path / "s.service"
    service.mkdir()
    (service / "cgroup.controllers").write_text(available + "\n")
    (service / "cgroup.procs").touch()
    mounts, group = tmp_path / "mountinfo", tmp_path / "cgroup"
    mounts.write_text(f"31 24 0:27 / {tmp_path} rw,nosuid shared:9 - cgroup2 cgroup2 rw\n")
    group.write_text(f"1:name=systemd:/x\n0::/{own}\n")
    monkeypatch.setattr(cgroups, "_MOUNTS", mounts)
    monkeypatch.setattr(cgroups, "_OWN", group)
    assert cgroups.delegated_cgroup({"INVOCATION_ID": "1"}) == service
    assert start_controllers(service) == started
    control = service / "cgroup.subtree_control"
    assert (control.read_text() if control.exists() else "") == " ".join(f"+{name}" for name in started)
