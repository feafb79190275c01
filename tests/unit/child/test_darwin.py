"""What macOS writes, in the forms that its headers and manual pages give."""

from __future__ import annotations

import os
import struct

import pytest
from codex_supervisor.child.darwin import parse_procargs, parse_ps, parse_start_time, parse_usage
from codex_supervisor.child.processes import parse_environment


def test_ps() -> None:
    own = os.getpid()
    text = f"    1     0     1      0 Ss   launchd\n{own}  1  {own}  0 R+   my program\n 4194305 1 9 0 Z\ngarbage\n"
    assert parse_ps(text) == [
        (1, 0, 1, os.getsid(1), "launchd", False),
        (own, 1, own, os.getsid(own), "my program", False),
        (4194305, 1, 9, 0, "", True),
    ]


def test_start_time() -> None:
    # struct proc_bsdinfo of <sys/proc_info.h>: 12 words, two names, 5 words, nice, then the two times.
    info = struct.pack("=12I16s32s5IiQQ", *range(12), b"codex", b"codex", *range(5), 0, 1_700_000_000, 123_456)
    assert len(info) == 136
    assert parse_start_time(info) == 1_700_000_000_123_456


def test_procargs() -> None:
    raw = struct.pack("=i", 2) + b"/bin/codex\0\0\0\0codex\0app-server\0A=1\0CODEX_THREAD_ID=x\0\0"
    assert parse_environment(parse_procargs(raw)) == {"A": "1", "CODEX_THREAD_ID": "x"}


@pytest.mark.parametrize("raw", [b"", b"\1", struct.pack("=i", 3) + b"/bin/codex\0codex\0"])
def test_procargs_that_are_hidden(raw: bytes) -> None:
    assert parse_procargs(raw) == b""


@pytest.mark.parametrize(
    ("text", "usage"),
    [
        ("  1024   0:01.50\n", (1024 * 1024, 1.5)),
        ("1 61:00.00", (1024, 3660.0)),
        ("1 2-03:04:05", (1024, 183845.0)),
        ("", None),
    ],
)
def test_usage(text: str, usage: tuple[int, float] | None) -> None:
    assert parse_usage(text) == usage
