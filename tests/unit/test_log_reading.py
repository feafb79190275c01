"""Reading logs back, across rotation."""

from __future__ import annotations

import asyncio
import contextlib
import io
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from codex_control.service.logs import start_logs
from codex_supervisor.child.logfile import rotate
from codex_supervisor.log_reading import MAX_LINE_BYTES, LogLine, Wanted, of_instance, parse_line, read_log
from hypothesis import given
from hypothesis import strategies as st

LOG = logging.getLogger("codex_supervisor.something")
DEADLINE_S = 10.0
EVERY = of_instance("")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


def append(path: Path, text: str) -> None:
    with path.open("a") as file:
        file.write(text)


def tail_records(path: Path, count: int, wanted: Wanted = EVERY) -> list[LogLine]:
    async def read() -> list[LogLine]:
        return [line async for line in read_log(path, tail=count, follow=False, wanted=wanted)]

    return asyncio.run(read())


async def wait_for_messages(records: AsyncIterator[LogLine], count: int) -> list[str]:
    async with asyncio.timeout(DEADLINE_S):
        return [(await anext(records)).message for _ in range(count)]


def test_a_record_is_read_as_it_was_written(path: Path) -> None:
    logs = start_logs("info", file=path, stderr=io.StringIO())
    try:
        LOG.info("state_changed", extra={"instance": "a", "pid": 7})
    finally:
        logs.close()
    (line,) = tail_records(path, 10)
    assert (line.message, line.level) == ("state_changed", "info")
    assert line.fields == {"instance": "a", "pid": "7", "logger": "codex_supervisor.something"}
    assert line.at_ns is not None
    # The kernel stamps files with the clock of its last tick, up to 10 ms ago.
    assert -(10**7) <= path.stat().st_mtime_ns - line.at_ns < 10**9


def test_a_childs_output_is_read_line_by_line_without_secrets(path: Path) -> None:
    path.write_bytes(b"one\n\xff two\r\n\nkey sk-abcdefghijkl\nlast without an end")
    assert [line.message for line in tail_records(path, 10)] == [
        "one",
        "\ufffd two",
        "key [redacted]",
        "last without an end",
    ]


@given(st.binary())
def test_any_line_is_read(line: bytes) -> None:
    assert isinstance(parse_line(line), LogLine)


@pytest.mark.parametrize(
    "line", [b'{"at": 1}', b'{"at":"2026-01-01","level":"x","event":"y"}', b"[]", b"[" * 9999, b"1"]
)
def test_json_that_is_no_record_is_text(line: bytes) -> None:
    assert parse_line(line) == LogLine(line.decode())


def test_the_tail_goes_on_in_rotated_files(path: Path) -> None:
    path.with_name("log.2").write_text("1\n2\n")
    path.with_name("log.1").write_text("3\n4\n")
    path.write_text("5\n6\n")
    assert [line.message for line in tail_records(path, 5)] == ["2", "3", "4", "5", "6"]
    assert [line.message for line in tail_records(path, 100)] == ["1", "2", "3", "4", "5", "6"]
    assert tail_records(path, 0) == []


def test_the_tail_of_one_instance(path: Path) -> None:
    logs = start_logs("info", file=path, file_limit_bytes=5000, files_kept=9, stderr=io.StringIO())
    try:
        for number in range(100):
            LOG.info("event", extra={"instance": "odd" if number % 2 else "even", "number": number})
    finally:
        logs.close()
    numbers = [line.fields["number"] for line in tail_records(path, 30, wanted=of_instance("odd"))]
    assert numbers == [str(number) for number in range(41, 100, 2)]


def test_the_tail_crosses_blocks_and_cuts_endless_lines(path: Path) -> None:
    path.write_bytes(b"first\n" + b"x" * (5 * MAX_LINE_BYTES) + b"\n" + b"".join(b"%d\n" % n for n in range(50_000)))
    lines = tail_records(path, 9_999)
    assert [line.message for line in lines] == [str(number) for number in range(40_001, 50_000)]
    path.write_bytes(b"first\n" + b"x" * (5 * MAX_LINE_BYTES) + b"\nlast\n")
    first, endless, last = tail_records(path, 10)
    assert (first.message, last.message) == ("first", "last")
    assert endless.message == "x" * MAX_LINE_BYTES


def test_a_log_that_does_not_exist_has_no_tail(path: Path) -> None:
    assert tail_records(path, 10) == []


async def test_without_following_it_ends(path: Path) -> None:
    path.write_text("1\n2\n3")
    assert [line.message async for line in read_log(path, tail=2, follow=False)] == ["2", "3"]


async def test_following_goes_on_after_the_tail(path: Path) -> None:
    path.write_text("1\n2\npart")
    async with contextlib.aclosing(read_log(path, tail=1, follow=True, poll_s=0.01)) as records:
        assert await wait_for_messages(records, 1) == ["2"]
        append(path, "ial\n4\n")
        assert await wait_for_messages(records, 2) == ["partial", "4"]


async def test_following_crosses_a_renaming(path: Path) -> None:
    path.write_text("1\n")
    async with contextlib.aclosing(read_log(path, tail=1, follow=True, poll_s=0.01)) as records:
        assert await wait_for_messages(records, 1) == ["1"]
        append(path, "2\n")
        path.rename(path.with_name("log.1"))
        append(path, "3\n")
        assert await wait_for_messages(records, 2) == ["2", "3"]


async def test_following_crosses_a_cut(path: Path) -> None:
    path.write_text("1\n" * 100)
    async with contextlib.aclosing(read_log(path, tail=1, follow=True, poll_s=0.01)) as records:
        assert await wait_for_messages(records, 1) == ["1"]
        assert rotate(path, limit_bytes=10)
        append(path, "2\n")
        assert await wait_for_messages(records, 1) == ["2"]


async def test_following_waits_for_the_log(path: Path) -> None:
    async with contextlib.aclosing(read_log(path, tail=5, follow=True, poll_s=0.01)) as records:
        waiting = asyncio.get_running_loop().create_task(wait_for_messages(records, 2))
        await asyncio.sleep(0)
        append(path, "1\n2\n")
        assert await waiting == ["1", "2"]


async def test_following_one_instance_holds_no_more_than_it_must(path: Path) -> None:
    async with contextlib.aclosing(
        read_log(path, tail=0, follow=True, wanted=of_instance("a"), poll_s=0.01)
    ) as records:
        waiting = asyncio.get_running_loop().create_task(wait_for_messages(records, 1))
        await asyncio.sleep(0)
        append(path, "x" * (3 * MAX_LINE_BYTES) + "\n")
        append(path, '{"at":"2026-01-01T00:00:00Z","level":"info","event":"other","instance":"b"}\n')
        append(path, '{"at":"2026-01-01T00:00:00Z","level":"info","event":"mine","instance":"a"}\n')
        assert await waiting == ["mine"]


def test_a_link_is_not_followed(path: Path) -> None:
    path.with_name("secret").write_text("secret\n")
    path.symlink_to(path.with_name("secret"))
    assert tail_records(path, 10) == []
