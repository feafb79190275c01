"""What is written to the log, and where."""

from __future__ import annotations

import io
import json
import logging
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from codex_control.service.logs import MAX_TEXT, JsonFormatter, Logs, TerminalFormatter, start_logs
from codex_supervisor.metrics import Metrics

LOG = logging.getLogger("codex_supervisor.something")


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log_path(tmp_path: Path) -> Path:
    return tmp_path / "supervisor.log"


@pytest.fixture
def logs(written: io.StringIO, log_path: Path) -> Iterator[Logs]:
    started = start_logs("info", file=log_path, file_limit_bytes=2000, files_kept=2, stderr=written)
    yield started
    started.close()


def test_a_record_is_one_json_line_in_both_places(logs: Logs, written: io.StringIO, log_path: Path) -> None:
    LOG.info("state_changed", extra={"instance": "a", "pid": 7, "state": "ready", "attempt": 2})
    (line,) = log_path.read_text().splitlines()
    assert line == written.getvalue().rstrip("\n")
    record = json.loads(line)
    assert record.pop("at").endswith("Z")
    assert record == {
        "level": "info",
        "event": "state_changed",
        "logger": "codex_supervisor.something",
        "instance": "a",
        "pid": 7,
        "state": "ready",
        "attempt": 2,
    }


def test_the_file_is_private_whatever_the_umask(logs: Logs, log_path: Path) -> None:
    before = os.umask(0)
    try:
        for number in range(60):
            LOG.info("event", extra={"number": number})
    finally:
        os.umask(before)
    files = sorted(log_path.parent.iterdir())
    assert [file.name for file in files] == ["supervisor.log", "supervisor.log.1", "supervisor.log.2"]
    for file in files:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert file.stat().st_size <= 2000


def test_a_link_in_the_files_place_is_not_followed(tmp_path: Path, written: io.StringIO) -> None:
    (tmp_path / "target").touch()
    (tmp_path / "log").symlink_to(tmp_path / "target")
    started = start_logs("info", file=tmp_path / "log", stderr=written)
    try:
        LOG.info("event")
    finally:
        started.close()
    assert (tmp_path / "target").read_text() == ""


def test_nothing_is_kept_where_no_file_is_to_be_kept(tmp_path: Path, written: io.StringIO) -> None:
    started = start_logs("info", file=tmp_path / "log", file_limit_bytes=1000, files_kept=0, stderr=written)
    try:
        for number in range(100):
            LOG.info("event", extra={"number": number})
    finally:
        started.close()
    assert [file.name for file in tmp_path.iterdir()] == ["log"]
    assert (tmp_path / "log").stat().st_size <= 1000


def test_the_level_changes_while_it_runs(logs: Logs, written: io.StringIO) -> None:
    LOG.debug("before")
    logs.set_level("debug")
    LOG.debug("after")
    logs.set_level("error")
    LOG.warning("no_more")
    assert [json.loads(line)["event"] for line in written.getvalue().splitlines()] == ["after"]


def test_other_libraries_speak_only_when_something_is_wrong(logs: Logs, written: io.StringIO) -> None:
    logs.set_level("debug")
    logging.getLogger("websockets").info("chatter")
    logging.getLogger("websockets").warning("trouble")
    assert [json.loads(line)["event"] for line in written.getvalue().splitlines()] == ["trouble"]


def test_secrets_are_taken_out_everywhere(logs: Logs, written: io.StringIO) -> None:
    secret = "sk-abcdefghijklmnop"
    try:
        int(secret)
    except ValueError:
        LOG.exception("failed with %s", secret, extra={"api_key": "plain", "error": f"said {secret}"})
    assert secret not in written.getvalue()
    assert "plain" not in written.getvalue()
    assert "ValueError" in json.loads(written.getvalue())["traceback"]


@pytest.mark.parametrize("formatter", [JsonFormatter(), TerminalFormatter()])
@pytest.mark.parametrize(
    "value",
    ["x" * 10**6, ["y" * 10**6], {"k": "z" * 10**6}, "\ud800", "\x1b[31m\n", object(), 10**30, float("nan"), b"\xff"],
)
def test_any_field_becomes_one_bounded_line(formatter: logging.Formatter, value: object) -> None:
    record = logging.makeLogRecord({"msg": "event", "levelname": "INFO", "value": value, "level": "mine"})
    line = formatter.format(record)
    assert "\n" not in line
    assert "\x1b" not in line
    assert len(line) < 2 * MAX_TEXT + 500
    line.encode()


def test_a_terminal_gets_short_lines() -> None:
    record = logging.makeLogRecord({"msg": "state_changed", "levelname": "WARNING", "instance": "a", "created": 0.0})
    assert TerminalFormatter().format(record).endswith("warning  state_changed instance=a")


def test_the_journal_gets_priorities(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with (tmp_path / "journal").open("w") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        started = start_logs("info", stderr=stream)
        try:
            LOG.warning("event")
        finally:
            started.close()
    assert (tmp_path / "journal").read_text().startswith('<4>{"at":')


def test_a_full_disk_loses_records_and_nothing_else(written: io.StringIO, capsys: pytest.CaptureFixture[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    started = start_logs("info", file=Path("/dev/full"), stderr=written)
    try:
        LOG.info("one")
        LOG.info("two")
    finally:
        started.close()
    assert [json.loads(line)["event"] for line in written.getvalue().splitlines()] == ["one", "two"]
    assert capsys.readouterr().err.count("log records are lost: /dev/full") == 1


def test_records_are_counted_by_level() -> None:
    metrics = Metrics()
    started = start_logs("info", stderr=io.StringIO(), more=(metrics.log_handler(),))
    try:
        LOG.warning("one")
        LOG.warning("two")
        LOG.debug("not logged")
    finally:
        started.close()
    assert metrics.registry.get_sample_value("codex_supervisor_log_records_total", {"level": "warning"}) == 2
    assert metrics.registry.get_sample_value("codex_supervisor_log_records_total", {"level": "debug"}) == 0
