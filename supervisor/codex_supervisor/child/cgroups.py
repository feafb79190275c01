"""A control group for each child, where systemd has delegated ours: then nothing that the child starts can hide.

Groups are made below our own without any controller, so that our own process may stay where it is (the rule against
processes in inner nodes is for groups with controllers; cgroups(7)). Elsewhere `tree.py` finds members by other marks.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

_MOUNTS = Path("/proc/self/mountinfo")
_OWN = Path("/proc/self/cgroup")


def delegated_cgroup(environ: Mapping[str, str]) -> Path | None:
    """Return the directory of our own control group where it is a systemd service's and we may write to it.

    systemd gives a service with `Delegate=yes` its group (systemd.resource-control(5)). Without systemd, or in a group
    that we share with others, there is None.
    """
    if not environ.get("INVOCATION_ID"):
        return None
    root, own = _cgroup2_root(), _own_group()
    if root is None or own is None or not own.endswith(".service"):
        return None
    directory = Path(f"{root}{own}")
    return directory if os.access(directory / "cgroup.procs", os.W_OK) and os.access(directory, os.W_OK) else None


def make_group(parent: Path, name: str) -> Path | None:
    """Make a group for one child; None where the kernel refuses, as the child can do without."""
    group = parent / f"child-{name}"
    try:
        group.mkdir(mode=0o755)
    except OSError:
        return None
    return group


def limit_memory(group: Path, limit_bytes: int) -> bool:
    """Have the kernel hold everything in `group` below a limit; return whether it does.

    It can where the memory controller is on for the group (`memory.max`, cgroup-v2.rst), which it is not where our own
    process shares the parent group with it.
    """
    try:
        (group / "memory.max").write_text(str(limit_bytes) if limit_bytes else "max", encoding="ascii")
    except OSError:
        return False
    return True


def remove_group(group: Path) -> None:
    """Remove a child's group with those that were made in it. What still has a process stays."""
    with contextlib.suppress(OSError):
        for below in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
            below.rmdir()
        group.rmdir()


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
