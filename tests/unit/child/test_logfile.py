"""A child's output file stays private and small, and its end is fit to be shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from codex_supervisor.child.logfile import open_append, rotate, tail


def test_the_file_is_private(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.touch(mode=0o644)
    os.close(open_append(path))
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(OSError, match="symbolic"):
        open_append(tmp_path / "log")
    assert not (tmp_path / "elsewhere").exists()


def test_rotating_under_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "log"
    fd = open_append(path)
    try:
        for round_number in range(4):
            os.write(fd, b"%d" % round_number * 11)
            assert rotate(path, limit_bytes=10, keep=2)
        os.write(fd, b"now")
    finally:
        os.close(fd)
    assert path.read_bytes() == b"now"
    assert (tmp_path / "log.1").read_bytes() == b"3" * 10
    assert (tmp_path / "log.2").read_bytes() == b"2" * 10
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["log", "log.1", "log.2"]
    assert (tmp_path / "log.1").stat().st_mode & 0o777 == 0o600


def test_only_the_end_of_a_flood_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 5_000_000 + b"the end")
    assert rotate(path, limit_bytes=1000, keep=1)
    assert path.stat().st_size == 0
    kept = (tmp_path / "log.1").read_bytes()
    assert len(kept) == 1000
    assert kept.endswith(b"the end")


def test_nothing_to_do(tmp_path: Path) -> None:
    path = tmp_path / "log"
    assert not rotate(path, limit_bytes=10)
    path.write_bytes(b"short")
    assert not rotate(path, limit_bytes=10)
    assert path.read_bytes() == b"short"


def test_keeping_none(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 11)
    assert rotate(path, limit_bytes=10, keep=0)
    assert [entry.name for entry in tmp_path.iterdir()] == ["log"]


def test_the_tail_is_fit_for_a_terminal(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"first\n\n\x1b[31mred\x1b[0m\xff\n" + b"y" * 3000 + b"\nlast")
    assert tail(path, 3) == ["[31mred[0m�", "y" * 2000, "last"]
    assert tail(path, 0) == []
    assert tail(tmp_path / "none", 3) == []


def test_the_tail_of_a_flood_reads_little(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it all would take for ever
        file.seek(0, os.SEEK_END)
        file.write(b"\nthe end\n")
    assert tail(path, 1) == ["the end"]
