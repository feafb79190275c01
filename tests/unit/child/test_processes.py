"""Reading what /proc writes."""

from __future__ import annotations

from codex_supervisor.child.processes import ProcessInfo, parse_environment, parse_stat
from hypothesis import given
from hypothesis import strategies as st

STAT = "{pid} ({name}) {state} 7 8 9 0 -1 4194304 1 0 0 0 11 12 0 0 20 0 1 0 {start} 1000 250 184 0 0"


def test_stat() -> None:
    line = STAT.format(pid=42, name="codex", state="S", start=777).encode()
    assert parse_stat(line) == ProcessInfo(42, 7, 8, 9, "codex", zombie=False, start_time=777)


@given(st.binary(max_size=15))
def test_a_name_may_be_anything(name: bytes) -> None:
    before, after = STAT.format(pid=42, name="|", state="Z", start=777).encode().split(b"|")
    process = parse_stat(before + name + after)
    assert (process.pid, process.ppid, process.zombie, process.start_time) == (42, 7, True, 777)


def test_environment() -> None:
    block = b"A=1\0EMPTY=\0EQUALS=a=b\0no equals sign\0A=2\0BYTES=\xff\0\0"
    assert parse_environment(block) == {"A": "1", "EMPTY": "", "EQUALS": "a=b", "BYTES": "\udcff"}
