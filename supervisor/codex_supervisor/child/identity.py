"""Whether a recorded child is still that child: a pid alone names nobody, it may be a stranger's by now."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path
from typing import Literal

from codex_supervisor.child.processes import boot_id, environment_of, list_processes, read_process
from codex_supervisor.store.records import ChildRecord

TOKEN_VARIABLE = "CODEX_SUPERVISOR_CHILD"  # noqa: S105 (a name that is looked for, no secret)

_MARK_CHARACTERS = 8

Verdict = Literal["same", "gone", "stranger"]


def new_token(runtime_dir: Path) -> str:
    """Return a token for a child of the supervisor in `runtime_dir`; its beginning says whose child it is."""
    return f"{_mark(runtime_dir)}-{secrets.token_urlsafe(24)}"


def _mark(runtime_dir: Path) -> str:
    return hashlib.sha256(os.fsencode(runtime_dir)).hexdigest()[:_MARK_CHARACTERS]


def verify(record: ChildRecord) -> Verdict:
    """Compare `record` with the process that has its pid now.

    "gone" where the machine was started anew, or nothing alive has the pid. "same" where start time and token match.
    "stranger" in every other case: it must not be signalled, and the recorded child is gone as well. A record that was
    committed before its spawn (pid 0) is "gone": see `find_by_token`.

    The answer is about now; hold the process first (`exitwatch.ProcessHandle`) where a signal depends on it.
    """
    if record.boot_id != boot_id() or record.pid <= 0:
        return "gone"
    process = read_process(record.pid)
    if process is None or (process.zombie and process.start_time == record.start_time):
        return "gone"
    if process.start_time != record.start_time:
        return "stranger"
    environment = environment_of(record.pid)
    if environment is None:
        # Gone since, or not ours to read: another user's process that was given the pid within one clock tick.
        return "gone" if read_process(record.pid) is None else "stranger"
    return "same" if environment.get(TOKEN_VARIABLE) == record.token else "stranger"


def find_by_token(token: str) -> list[int]:
    """Return the living processes that carry `token`, the oldest first: the child of a supervisor that died between
    spawn and commit, and what such a child started. Reads the whole process table: not for the event loop's thread.
    """
    carriers = [
        process
        for process in list_processes()
        if not process.zombie
        and process.pid != os.getpid()
        and (environment_of(process.pid) or {}).get(TOKEN_VARIABLE) == token
    ]
    return [process.pid for process in sorted(carriers, key=lambda process: (process.start_time, process.pid))]


def living_tokens(runtime_dir: Path) -> set[str]:
    """Return the tokens of living processes that are ours by their mark.

    Reads the whole process table, as `find_by_token` does.
    """
    mark = f"{_mark(runtime_dir)}-"
    tokens = {
        (environment_of(process.pid) or {}).get(TOKEN_VARIABLE, "")
        for process in list_processes()
        if not process.zombie and process.pid != os.getpid()
    }
    return {token for token in tokens if token.startswith(mark)}
