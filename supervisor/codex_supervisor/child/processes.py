"""The process table, read the same way on Linux (/proc) and macOS (ps and the kernel's own calls, see `darwin.py`).

Nothing here raises because a process went away while it was looked at: that is `None`, or the process is not listed.
"""

from __future__ import annotations

import functools
import os
import sys
from dataclasses import dataclass
from pathlib import Path

if sys.platform == "darwin":
    from codex_supervisor.child import darwin

_PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class ProcessInfo:
    """One row of the process table.

    `start_time` is in clock ticks since boot on Linux (field 22 of /proc/PID/stat, proc(5)) and in microseconds since
    the epoch on macOS: with the boot id and the pid it names one process for ever.
    """

    pid: int
    ppid: int
    pgid: int
    sid: int
    name: str
    zombie: bool
    start_time: int


@dataclass(frozen=True, slots=True)
class ResourceSample:
    """What a process uses: resident memory in bytes, processor time since its start in seconds."""

    rss_bytes: int
    cpu_s: float


@functools.cache
def boot_id() -> str:
    """Name of the running boot: another one means that every recorded pid is meaningless."""
    if sys.platform == "darwin":
        return darwin.boot_id()
    return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()


def read_process(pid: int) -> ProcessInfo | None:
    """Return one process, or None where there is none with this pid. A zombie is returned as such."""
    if sys.platform == "darwin":
        return _first([_from_darwin(row) for row in darwin.process_rows(pid)])
    try:
        line = (_PROC / str(pid) / "stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return parse_stat(line)


def list_processes() -> list[ProcessInfo]:
    """Return all processes that we may see. Takes some 15 microseconds for each: not for the event loop's thread."""
    if sys.platform == "darwin":
        return [_from_darwin(row) for row in darwin.process_rows(None)]
    found = (read_process(int(name)) for name in os.listdir(_PROC) if name.isdecimal())  # noqa: PTH208 (3 x faster)
    return [process for process in found if process is not None]


def parse_stat(line: bytes) -> ProcessInfo:
    """Read /proc/PID/stat. The name is in parentheses and may itself hold parentheses and spaces."""
    opening, closing = line.index(b"("), line.rindex(b")")
    fields = line[closing + 2 :].split()
    return ProcessInfo(
        pid=int(line[:opening]),
        ppid=int(fields[1]),
        pgid=int(fields[2]),
        sid=int(fields[3]),
        name=line[opening + 1 : closing].decode(errors="replace"),
        zombie=fields[0] in (b"Z", b"X"),
        start_time=int(fields[19]),
    )


def environment_of(pid: int) -> dict[str, str] | None:
    """Return the environment that a process was started with, or None where it is gone or not ours to read."""
    if sys.platform == "darwin":
        block = darwin.environment_block(pid)
    else:
        try:
            block = (_PROC / str(pid) / "environ").read_bytes()
        except OSError:
            # Another user's, a setuid program's, or gone between two looks.
            block = None
    return None if block is None else parse_environment(block)


def parse_environment(block: bytes) -> dict[str, str]:
    """Read a block of NUL-ended NAME=VALUE entries; the first of equal names counts, as for getenv(3)."""
    environment: dict[str, str] = {}
    for entry in block.split(b"\0"):
        name, equals, value = entry.partition(b"=")
        if equals:
            environment.setdefault(os.fsdecode(name), os.fsdecode(value))
    return environment


def own_memory(pid: int) -> int:
    """Return the resident bytes of a process that come from no file; 0 where it is gone. Linux only."""
    try:
        statm = (_PROC / str(pid) / "statm").read_bytes().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    # Of the resident pages those that are no file's and no shared memory's (proc_pid_statm(5)).
    return (int(statm[1]) - int(statm[2])) * os.sysconf("SC_PAGE_SIZE")


def sample(pid: int) -> ResourceSample | None:
    """Return what one process uses now, or None where it is gone."""
    if sys.platform == "darwin":
        usage = darwin.resource_usage(pid)
        return None if usage is None else ResourceSample(*usage)
    try:
        stat = (_PROC / str(pid) / "stat").read_bytes()
        statm = (_PROC / str(pid) / "statm").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()
    ticks = int(fields[11]) + int(fields[12])
    pages = int(statm.split()[1])
    return ResourceSample(pages * os.sysconf("SC_PAGE_SIZE"), ticks / os.sysconf("SC_CLK_TCK"))


def _first(found: list[ProcessInfo]) -> ProcessInfo | None:
    return found[0] if found else None


def _from_darwin(row: tuple[int, int, int, int, str, bool, int]) -> ProcessInfo:
    return ProcessInfo(*row)
