"""State files: always whole, always valid, never outside of their place."""

from __future__ import annotations

import json
import stat
import threading
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from codex_supervisor.store.records import Usage
from codex_supervisor.task.records import TaskOutcome, TaskRecord, TaskRequest, TaskResult, TaskState, TaskStatus
from codex_supervisor.task.state_file import SCHEMA_FILE, document, place_of, state_file, write_file
from hypothesis import given
from hypothesis import strategies as st

SCHEMA = json.loads(SCHEMA_FILE.read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA, format_checker=jsonschema.Draft7Validator.FORMAT_CHECKER)

_NS = st.integers(0, 4_000_000_000 * 10**9)
_STATUSES = st.builds(
    TaskStatus,
    state=st.sampled_from(TaskState),
    outcome=st.none() | st.sampled_from(TaskOutcome),
    error=st.text(max_size=20),
    waits_for=st.text(max_size=20),
    thread_id=st.text(max_size=20),
    progress=st.text(st.characters(), max_size=20),
    submitted_ns=_NS,
    started_ns=st.none() | _NS,
    heartbeat_ns=st.none() | _NS,
    ended_ns=st.none() | _NS,
    attempt=st.integers(0, 9),
    result=st.builds(
        TaskResult,
        files_changed=st.lists(st.text(max_size=9)).map(tuple),
        tests_run=st.none() | st.integers(0, 99),
        tests_passed=st.none() | st.integers(0, 99),
        usage=st.builds(Usage, input=st.integers(0, 9)),
        branch=st.text(max_size=9),
    ),
)


def record(cwd: Path, status: TaskStatus | None = None, **request: Any) -> TaskRecord:
    return TaskRecord("T-1", 1, TaskRequest("do it", str(cwd), **request), status or TaskStatus())


def write(task: TaskRecord, run: str = "r") -> Path:
    write_file(place_of(task.request), f"{task.id}.json", document(task), run=run)
    return state_file(task.request, task.id)


def test_the_schema_is_one() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["required"] == ["taskId", "sessionId", "status"]
    assert SCHEMA["properties"]["status"]["enum"] == [state.value for state in TaskState]


@given(_STATUSES)
def test_every_record_fits_the_schema(status: TaskStatus) -> None:
    said = json.loads(document(record(Path("/w"), status)))
    VALIDATOR.validate(said)
    assert said["taskId"] == "T-1"
    assert said["status"] == status.state
    assert said["sessionId"].encode("utf-8", "replace") == status.thread_id.encode("utf-8", "replace")


def test_times_are_written_for_every_reader() -> None:
    said = json.loads(document(record(Path("/w"), TaskStatus(submitted_ns=1_760_000_000_123_000_000))))
    assert said["submittedTime"] == "2025-10-09T08:53:20.123Z"
    assert "startTime" not in said


def test_it_is_private_and_git_does_not_see_it(tmp_path: Path) -> None:
    path = write(record(tmp_path))
    assert path == tmp_path / ".codex/tasks/T-1.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert (path.parent / ".gitignore").read_text().endswith("*\n")
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".gitignore", "T-1.json"]


def test_a_directory_of_the_users_own_gets_the_file_alone(tmp_path: Path) -> None:
    path = write(record(tmp_path / "gone", state_dir=str(tmp_path / "a/b")))
    assert path == tmp_path / "a/b/T-1.json"
    assert [entry.name for entry in path.parent.iterdir()] == ["T-1.json"]


@pytest.mark.parametrize("link", [".codex", ".codex/tasks"])
def test_a_link_inside_the_directory_is_not_followed(tmp_path: Path, link: str) -> None:
    target, cwd = tmp_path / "target", tmp_path / "w"
    target.mkdir()
    (cwd / link).parent.mkdir(parents=True)
    (cwd / link).symlink_to(target)
    with pytest.raises(OSError, match="symbolic link"):
        write(record(cwd))
    assert list(target.iterdir()) == []


def test_a_link_in_the_files_place_is_replaced(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("keep me")
    path = write(record(tmp_path))
    path.unlink()
    path.symlink_to(precious)
    write(record(tmp_path))
    assert precious.read_text() == "keep me"
    assert not path.is_symlink()


def test_what_a_cut_of_the_power_left_is_no_hindrance(tmp_path: Path) -> None:
    path = write(record(tmp_path))
    (path.parent / ".T-1.json.r").write_text("half")
    write(record(tmp_path))
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".gitignore", "T-1.json"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(record(tmp_path))
    before = path.read_bytes()

    def full(descriptor: int, _content: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("codex_supervisor.task.state_file.os.write", full)
    with pytest.raises(OSError, match="No space"):
        write(record(tmp_path, TaskStatus(TaskState.DONE)))
    assert path.read_bytes() == before
    assert sorted(entry.name for entry in path.parent.iterdir()) == [".gitignore", "T-1.json"]


def test_a_reader_at_full_speed_never_sees_an_invalid_file(tmp_path: Path) -> None:
    path = write(record(tmp_path))
    stop, seen, wrong = threading.Event(), set[str](), list[str]()

    def read() -> None:
        while not stop.is_set():
            try:
                said = json.loads(path.read_text())
                VALIDATOR.validate(said)
                seen.add(said["progress"])
            except (ValueError, OSError, jsonschema.ValidationError) as error:
                wrong.append(repr(error))
                return

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for number in range(2000):
            write(record(tmp_path, TaskStatus(TaskState.RUNNING, progress="x" * (number % 700))))
    finally:
        stop.set()
        reader.join()
    assert wrong == []
    assert len(seen) > 10, "it really read while it was written"
