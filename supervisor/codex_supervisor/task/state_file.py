"""One state file: what it says, where it is, and how it is put there.

It is replaced as a whole, so that a reader finds a valid one at every instant. It is not synced to the disk: after a
cut of the power the next supervisor writes it anew. Its directory may belong to a repository of somebody else: no
symbolic link inside it is followed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from codex_supervisor.store.rows import to_json
from codex_supervisor.task.records import TaskRecord, TaskRequest

SCHEMA_FILE = Path(__file__).with_name("task.schema.json")
"""JSON Schema (draft-07) of the state files."""

FOLDER = (".codex", "tasks")
"""Where they are in the task's directory, if its request names no other place."""

# Nothing of it shall stand in the user's next commit.
_GITIGNORE = b"# State files of tasks, written by codex-supervisor.\n*\n"


@dataclass(frozen=True, slots=True)
class Place:
    """A directory for state files: `base` is what a user named, `below` is ours."""

    base: Path
    below: tuple[str, ...]

    @property
    def directory(self) -> Path:
        """The directory itself."""
        return self.base.joinpath(*self.below)


def place_of(request: TaskRequest) -> Place:
    """Return where the state file of a task belongs."""
    return Place(Path(request.state_dir), ()) if request.state_dir else Place(Path(request.cwd), FOLDER)


def state_file(request: TaskRequest, task_id: str) -> Path:
    """Return the path of a task's state file."""
    return place_of(request).directory / f"{task_id}.json"


def document(record: TaskRecord) -> bytes:
    """Return what the state file says: JSON that fits `task.schema.json`."""
    status = record.status
    said: dict[str, Any] = {
        "taskId": record.id,
        "sessionId": status.thread_id,
        "status": str(status.state),
        "submittedTime": _time(status.submitted_ns),
        "attempt": status.attempt,
        "progress": status.progress,
    }
    if status.outcome is not None:
        said["outcome"] = str(status.outcome)
    for name, moment in (
        ("startTime", status.started_ns),
        ("lastHeartbeat", status.heartbeat_ns),
        ("completedTime", status.ended_ns),
    ):
        if moment is not None:
            said[name] = _time(moment)
    if status.waits_for:
        said["waitsFor"] = status.waits_for
    if status.error:
        said["error"] = status.error
    if status.started_ns is not None:
        said["result"] = _result(record)
    return msgspec.json.format(to_json(said), indent=2) + b"\n"


def _result(record: TaskRecord) -> dict[str, Any]:
    result = record.status.result
    said: dict[str, Any] = {"filesChanged": list(result.files_changed)}
    if result.tests_run is not None:
        said["testsRun"] = result.tests_run
    if result.tests_passed is not None:
        said["testsPassed"] = result.tests_passed
    if result.summary:
        said["summary"] = result.summary
    usage = result.usage
    if usage.input or usage.output:
        said["usage"] = {
            "input": usage.input,
            "cachedInput": usage.cached_input,
            "output": usage.output,
            "reasoningOutput": usage.reasoning_output,
        }
    for name, value in (("diffPath", result.diff_path), ("branch", result.branch), ("worktree", result.worktree)):
        if value:
            said[name] = value
    return said


def _time(wall_ns: int) -> str:
    moment = datetime.fromtimestamp(wall_ns / 1e9, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def write_file(place: Place, name: str, content: bytes, *, run: str) -> None:
    """Put `content` in the place of the file `name`, at once. `run` tells two supervisors apart that share a directory.

    Directories below `base` are made where they are missing, and closed to other users. Raises `OSError`.
    """
    directory = _open(place)
    try:
        if place.below:
            _add_gitignore(directory)
        # Started with a dot and ending otherwise: no reader of *.json sees it.
        fresh = f".{name}.{run}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            descriptor = os.open(fresh, flags, 0o600, dir_fd=directory)
        except FileExistsError:
            os.unlink(fresh, dir_fd=directory)  # what a cut of the power left
            descriptor = os.open(fresh, flags, 0o600, dir_fd=directory)
        try:
            try:
                _write_all(descriptor, content)
            finally:
                os.close(descriptor)
            os.rename(fresh, name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(fresh, dir_fd=directory)
            raise
    finally:
        os.close(directory)


def _open(place: Place) -> int:
    """Open the directory; the caller closes it."""
    if not place.below:
        place.base.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The user named it: links on the way there are the user's own.
    directory = os.open(place.base, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in place.below:
            deeper = _enter(directory, name, place.base)
            os.close(directory)
            directory = deeper
    except BaseException:
        os.close(directory)
        raise
    return directory


def _enter(directory: int, name: str, base: Path) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        try:
            return os.open(name, flags, dir_fd=directory)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.mkdir(name, 0o700, dir_fd=directory)
            return os.open(name, flags, dir_fd=directory)
    except OSError as error:
        # Linux says ENOTDIR of a link where a directory is wanted, others say ELOOP.
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and stat.S_ISLNK(
            os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode
        ):
            raise OSError(errno.ELOOP, f"{name} is a symbolic link, which is not followed", str(base)) from None
        raise


def _add_gitignore(directory: int) -> None:
    try:
        descriptor = os.open(
            ".gitignore", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=directory
        )
    except FileExistsError:
        return
    try:
        _write_all(descriptor, _GITIGNORE)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[os.write(descriptor, view) :]
