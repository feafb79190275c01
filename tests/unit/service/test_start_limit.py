"""Starts are counted over the life of processes, by the wall clock, which may jump."""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.service.start_limit import may_start


class WallClock:
    """A wall clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 1_000_000.0

    def monotonic(self) -> float:
        raise AssertionError("monotonic time means nothing to the next process")

    def wall_ns(self) -> int:
        return int(self.now_s * 1e9)


def starts(file: Path, clock: WallClock, count: int) -> list[bool]:
    return [may_start(file, clock, burst=3, interval_s=60.0) for _ in range(count)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state" / "starts.json"


def test_a_burst_is_let_through_and_no_more(file: Path) -> None:
    assert starts(file, WallClock(), 5) == [True, True, True, False, False]
    assert file.stat().st_mode & 0o777 == 0o600


def test_starts_are_forgotten_after_the_interval(file: Path) -> None:
    clock = WallClock()
    starts(file, clock, 3)
    clock.now_s += 59
    assert starts(file, clock, 1) == [False]
    clock.now_s += 2
    assert starts(file, clock, 4) == [True, True, True, False]


@pytest.mark.parametrize("jump_s", [-86_400, 86_400])
def test_a_clock_that_jumps_does_not_keep_the_service_down(file: Path, jump_s: int) -> None:
    clock = WallClock()
    starts(file, clock, 3)
    clock.now_s += jump_s
    assert starts(file, clock, 4) == [True, True, True, False]


@pytest.mark.parametrize("content", [b"", b"{", b'{"a": 1}', b'["x", null]', b"\xff"])
def test_a_damaged_file_counts_as_empty(file: Path, content: bytes) -> None:
    file.parent.mkdir(mode=0o700)
    file.write_bytes(content)
    assert starts(file, WallClock(), 1) == [True]
