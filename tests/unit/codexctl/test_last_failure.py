"""What is told of a service that ended by itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from codex_control.paths import Paths
from codex_control.service.logs import log_file
from codexctl.last_failure import last_failure, log_hint
from codexctl.service import not_running

READY = {"event": "ready"}
TOLD = {"event": "stopping", "because": "told to"}
FAILED = [
    {"event": "task_failed", "error": "OSError('the disk')"},
    {"event": "stopping", "because": "failure"},
    {"event": "stopped_by_failure", "error": "OSError('the disk')"},
]
SENTENCE = "it ended by itself at 2026-01-02T03:04:05Z: OSError('the disk')"


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    state, run = str(tmp_path / "state"), str(tmp_path / "run")
    home = {"HOME": str(tmp_path), "CODEX_SUPERVISOR_STATE_DIR": state, "CODEX_SUPERVISOR_RUNTIME_DIR": run}
    return Paths.from_environment(home)


def write(paths: Paths, *events: dict[str, str]) -> None:
    log_file(paths).parent.mkdir(parents=True)
    lines = [json.dumps({"at": "2026-01-02T03:04:05.678Z", "level": "info", **event}) for event in events]
    log_file(paths).write_text("no JSON\n" + "\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("events", "of_the_one_before", "told"),
    [
        ([READY, *FAILED], False, SENTENCE),
        ([READY, *FAILED[:2]], False, SENTENCE),
        ([READY, *FAILED, READY], False, ""),
        ([READY, *FAILED, READY, TOLD], False, ""),
        ([READY, *FAILED, READY], True, SENTENCE),
        ([READY, *FAILED, READY, TOLD, READY], True, ""),
        ([], False, ""),
    ],
)
def test_the_last_failure(paths: Paths, events: list[dict[str, str]], of_the_one_before: bool, told: str) -> None:
    write(paths, *events)
    assert last_failure(paths, of_the_one_before=of_the_one_before) == told


def test_who_finds_no_service_hears_why_it_ended_and_where_its_log_is(paths: Paths) -> None:
    assert (last_failure(paths), log_hint(paths)) == ("", "")
    write(paths, READY, *FAILED)
    error = not_running(paths)
    assert SENTENCE in error.why
    assert str(log_file(paths)) in error.next_step
