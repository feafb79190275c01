"""A control group for each child, where systemd has delegated ours: then nothing that the child starts can hide.

A group with controllers for those below it may hold no process itself (the rule against processes in inner nodes,
cgroups(7)). So the kernel limits the children's memory only where systemd starts us in a leaf of our own
(`DelegateSubgroup=`, since 254). We do not move there ourselves: an older systemd starts each supervisor in the
delegated group itself, and after a crash, with children left, it could not any more (seen with 252: the unit fails with
219/CGROUP). Without controllers the groups still say what belongs to which child, and memory is sampled.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from codex_supervisor.child.processes import own_memory

_log = logging.getLogger(__name__)

_MOUNTS = Path("/proc/self/mountinfo")
_OWN = Path("/proc/self/cgroup")

LEAF = "supervisor"
"""Our own group below the delegated one; the unit names it."""

# What is wanted for the children's groups: limits of memory, and the number of processes for whoever looks.
_CONTROLLERS = ("memory", "pids")


def delegated_cgroup(environ: Mapping[str, str]) -> Path | None:
    """Return the directory of our service's control group where it is systemd's and we may write to it.

    systemd gives a service with `Delegate=yes` its group (systemd.resource-control(5)). Without systemd, or in a group
    that we share with others, there is None.
    """
    if not environ.get("INVOCATION_ID"):
        return None
    root, own = _cgroup2_root(), _own_group()
    if root is None or own is None:
        return None
    own = own.removesuffix(f"/{LEAF}")
    if not own.endswith(".service"):
        return None
    directory = Path(f"{root}{own}")
    return directory if os.access(directory / "cgroup.procs", os.W_OK) and os.access(directory, os.W_OK) else None


def start_controllers(directory: Path) -> tuple[str, ...]:
    """Have the kernel count and limit what is in the groups below `directory`; return the controllers that do.

    There are none where our own process has no leaf (see above), where the machine has the memory controller in the
    hierarchy of control groups v1, or where the kernel refuses; everything else works all the same.
    """
    wanted = [name for name in _words(directory / "cgroup.controllers") if name in _CONTROLLERS]
    if "memory" not in wanted or not _is_in(directory / LEAF):
        return ()
    try:
        (directory / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in wanted), encoding="ascii")
    except OSError as error:
        # A process that is there beside us.
        _log.warning("controllers_not_started", extra={"group": str(directory), "why": str(error)})
        return ()
    return tuple(wanted)


def make_group(parent: Path, name: str) -> Path | None:
    """Make a group for one child; None where the kernel refuses, as the child can do without."""
    group = parent / f"child-{name}"
    try:
        group.mkdir(mode=0o755)
    except OSError:
        return None
    return group


def limit_memory(group: Path, limit_bytes: int) -> bool:
    """Have the kernel hold everything in `group` below a limit; return whether it does. 0 means no limit.

    What passes it ends as a whole (`memory.max`, `memory.oom.group`, cgroup-v2.rst): a child whose command alone were
    killed would begin the same again. It can where the memory controller is on for the group (`start_controllers`).
    """
    try:
        (group / "memory.oom.group").write_text("1" if limit_bytes else "0", encoding="ascii")
        (group / "memory.max").write_text(str(limit_bytes) if limit_bytes else "max", encoding="ascii")
    except OSError:
        return False
    return bool(limit_bytes)


def memory_of(group: Path) -> int:
    """Return the bytes that everything in `group` holds and cannot give back; files in the cache are no part of it.

    One read where the kernel counts; else one for each process, where pages that a fork shares are counted twice.
    """
    counts = _counts(group / "memory.stat")
    if counts:
        return counts.get("anon", 0) + counts.get("shmem", 0)
    return sum(own_memory(int(pid)) for pid in _words(group / "cgroup.procs"))


def killed_for_memory(group: Path) -> Literal["", "limit", "system"]:
    """Return whether the kernel killed in `group` for memory: because of its limit, or of the whole system's lack."""
    counts = _counts(group / "memory.events")
    if not counts.get("oom_kill", 0):
        return ""
    return "limit" if counts.get("oom", 0) else "system"


def remove_group(group: Path) -> None:
    """Remove a child's group with those that were made in it. What still has a process stays."""
    with contextlib.suppress(OSError):
        for below in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            below.rmdir()
        group.rmdir()


def _is_in(leaf: Path) -> bool:
    root, own = _cgroup2_root(), _own_group()
    return root is not None and own is not None and Path(f"{root}{own}") == leaf


def _words(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").split()
    except OSError:
        return []


def _counts(path: Path) -> dict[str, int]:
    """Read a flat keyed file (cgroup-v2.rst): "NAME NUMBER" in each line."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except OSError:
        return {}
    return {name: int(number) for name, _, number in (line.partition(" ") for line in lines) if number.isdigit()}


def _cgroup2_root() -> str | None:
    # "… ID PARENT MAJOR:MINOR ROOT MOUNTPOINT OPTIONS … - TYPE SOURCE OPTIONS" (proc_pid_mountinfo(5)).
    try:
        lines = _MOUNTS.read_text().splitlines()
    except OSError:
        return None
    for line in lines:
        left, _, right = line.partition(" - ")
        fields = left.split()
        if right.startswith("cgroup2 ") and len(fields) > 4 and fields[3] == "/":
            return fields[4]
    return None


def _own_group() -> str | None:
    # The line of the unified hierarchy: "0::/path" (cgroups(7)).
    try:
        lines = _OWN.read_text().splitlines()
    except OSError:
        return None
    return next((line[3:] for line in lines if line.startswith("0::/")), None)
