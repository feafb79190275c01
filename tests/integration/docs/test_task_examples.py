"""The shell example of docs/tasks.md, on the state files that the service writes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from codex_control.errors import Exit
from codex_supervisor.task.records import TaskOutcome, TaskRecord, TaskRequest, TaskState, TaskStatus
from codex_supervisor.task.state_file import document, place_of, state_file, write_file

EXAMPLE = Path(__file__).parents[3] / "docs" / "examples" / "wait_for_task.sh"

RUNNING = TaskStatus(state=TaskState.RUNNING, progress='runs echo "status": "DONE" \\n $(touch pwned)', started_ns=1)


def put(directory: Path, status: TaskStatus) -> Path:
    """Write the state file as the service does."""
    request = TaskRequest("x", str(directory))
    write_file(place_of(request), "T-1.json", document(TaskRecord("T-1", 1, request, status)), run="1")
    return state_file(request, "T-1")


def start(file: Path, *more: str) -> subprocess.Popen[str]:
    environment = {"PATH": os.environ["PATH"]}
    command = [str(EXAMPLE), str(file), *more]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, cwd=file.parent, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize(
    ("outcome", "code"),
    [
        (TaskOutcome.COMPLETED, Exit.OK),
        (TaskOutcome.STALLED, Exit.FAILED),
        (TaskOutcome.CANCELLED, Exit.CANCELLED),
        (TaskOutcome.TIMED_OUT, Exit.TIMED_OUT),
    ],
)
def test_it_waits_for_the_end_and_exits_as_codexctl_does(tmp_path: Path, outcome: TaskOutcome, code: Exit) -> None:
    file = put(tmp_path, RUNNING)
    with start(file) as waiting:
        assert waiting.stdout is not None
        first = waiting.stdout.readline()
        assert first.startswith("RUNNING runs echo")
        error = "" if outcome is TaskOutcome.COMPLETED else "because of that"
        put(tmp_path, TaskStatus(state=outcome.state, outcome=outcome, error=error, ended_ns=1))
        out, err = waiting.communicate(timeout=20)
    assert waiting.returncode == code
    assert out.startswith(outcome.state)
    assert ("because of that" in err) == (outcome.state is TaskState.ERROR)
    assert not (file.parent / "pwned").exists()


def test_it_gives_up(tmp_path: Path) -> None:
    with start(tmp_path / "none.json", "0") as waiting:
        waiting.communicate(timeout=20)
    assert waiting.returncode == Exit.NOT_ENDED
