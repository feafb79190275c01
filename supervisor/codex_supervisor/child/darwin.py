"""What macOS tells about processes: ps for the table, proc_pidinfo and sysctl for what ps tells too roughly.

Written from Apple's headers (<libproc.h>, <sys/proc_info.h>, <sys/sysctl.h>) and ps(1). The parsers are tested
everywhere; the calls only run on a Mac.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import functools
import os
import struct
import subprocess
from pathlib import Path

# ps and sysctl answer in milliseconds; a hanging one must not hang a stop.
TOOL_TIMEOUT_S = 5.0
PS_COLUMNS = "pid=,ppid=,pgid=,sess=,state=,ucomm="

# <sys/proc_info.h>
_PROC_PIDTBSDINFO = 3
_BSDINFO_SIZE = 136
_BSDINFO_START_OFFSET = 120
# <sys/sysctl.h>
_CTL_KERN = 1
_KERN_ARGMAX = 8
_KERN_PROCARGS2 = 49

Row = tuple[int, int, int, int, str, bool, int]


def boot_id() -> str:
    """kern.bootsessionuuid: a new one at each boot."""
    return _run("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid").strip()


def process_rows(pid: int | None) -> list[Row]:
    """Rows of `ProcessInfo`, of one process or of all."""
    which = ["-ax"] if pid is None else ["-p", str(pid)]
    rows = parse_ps(_run("/bin/ps", *which, "-o", PS_COLUMNS))
    return [(*row, start_time(row[0])) for row in rows]


def parse_ps(text: str) -> list[tuple[int, int, int, int, str, bool]]:
    """Read the output of `ps -o pid=,ppid=,pgid=,sess=,state=,ucomm=`.

    macOS prints sess as a kernel address, or 0: where it is no number of ours, the session counts as 0 (unknown).
    """
    rows = []
    for line in text.splitlines():
        fields = line.split(None, 5)
        if len(fields) < 5 or not all(field.isdecimal() for field in fields[:3]):
            continue
        pid, ppid, pgid = (int(field) for field in fields[:3])
        rows.append((pid, ppid, pgid, _session(pid), fields[5].strip() if len(fields) > 5 else "", fields[4][0] == "Z"))
    return rows


def _session(pid: int) -> int:
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def start_time(pid: int) -> int:
    """Microseconds since the epoch at which the process began, from proc_pidinfo; 0 where it is gone or not ours."""
    buffer = ctypes.create_string_buffer(_BSDINFO_SIZE)
    size = _libproc().proc_pidinfo(pid, _PROC_PIDTBSDINFO, ctypes.c_uint64(0), buffer, _BSDINFO_SIZE)
    return parse_start_time(buffer.raw) if size == _BSDINFO_SIZE else 0


def parse_start_time(bsdinfo: bytes) -> int:
    """Read pbi_start_tvsec and pbi_start_tvusec, the last two fields of struct proc_bsdinfo."""
    seconds, microseconds = struct.unpack_from("=QQ", bsdinfo, _BSDINFO_START_OFFSET)
    return int(seconds) * 1_000_000 + int(microseconds)


def environment_block(pid: int) -> bytes | None:
    """The NUL-ended environment of a process of ours. macOS hides that of its own protected programs: empty then."""
    libc = _libc()
    maximum = ctypes.c_int(0)
    size = ctypes.c_size_t(ctypes.sizeof(maximum))
    if libc.sysctl((ctypes.c_int * 2)(_CTL_KERN, _KERN_ARGMAX), 2, ctypes.byref(maximum), ctypes.byref(size), None, 0):
        return None
    buffer = ctypes.create_string_buffer(maximum.value)
    size = ctypes.c_size_t(maximum.value)
    if libc.sysctl((ctypes.c_int * 3)(_CTL_KERN, _KERN_PROCARGS2, pid), 3, buffer, ctypes.byref(size), None, 0):
        return None
    return parse_procargs(buffer.raw[: size.value])


def parse_procargs(raw: bytes) -> bytes:
    """Cut the environment out of KERN_PROCARGS2: int argc, the program's path, NULs, argc arguments, environment."""
    if len(raw) < 4:
        return b""
    (argc,) = struct.unpack_from("=i", raw)
    after_path = raw[4:].partition(b"\0")[2].lstrip(b"\0")
    return after_path.split(b"\0", argc)[-1] if after_path.count(b"\0") >= argc else b""


def resource_usage(pid: int) -> tuple[int, float] | None:
    """Resident bytes and processor seconds, from ps: proc_pidinfo gives the time in units of the machine."""
    return parse_usage(_run("/bin/ps", "-o", "rss=,time=", "-p", str(pid)))


def parse_usage(text: str) -> tuple[int, float] | None:
    """Read `ps -o rss=,time=`: KiB, and [days-][hours:]minutes:seconds.hundredths."""
    fields = text.split()
    if len(fields) != 2:
        return None
    days, dash, clock = fields[1].rpartition("-")
    seconds = 0.0
    for part in clock.split(":"):
        seconds = seconds * 60 + float(part)
    return int(fields[0]) * 1024, seconds + (int(days) * 86400 if dash else 0)


@functools.cache
def _libproc() -> ctypes.CDLL:
    return ctypes.CDLL(ctypes.util.find_library("proc") or "/usr/lib/libproc.dylib", use_errno=True)


@functools.cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _run(program: str, *arguments: str) -> str:
    # ps exits with 1 where no process matches: that is an answer.
    done = subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TOOL_TIMEOUT_S,
        check=False,
        cwd=Path("/"),
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin:/usr/sbin"},
    )
    return done.stdout.decode(errors="replace")
