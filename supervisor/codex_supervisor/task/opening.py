"""Opens the engine that the configuration names."""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from codex_control.errors import BadConfig, CodexError
from codex_control.paths import Paths, read_private_file
from codex_control.service.clock import Clock

from codex_supervisor.child.processes import boot_id
from codex_supervisor.config.tasks import TaskEngine, TasksConfig
from codex_supervisor.task.contract import Engine
from codex_supervisor.task.records import Policy, Seat, Worker

_MAX_DSN_BYTES = 4096


def policy_of(tasks: TasksConfig) -> Policy:
    """Return the limits of tasks as the engines take them."""
    return Policy(
        retries=tasks.retries,
        timeout_s=tasks.timeout or None,
        max_deaths=tasks.max_deaths,
        backoff_base_s=tasks.backoff_initial,
        backoff_cap_s=tasks.backoff_max,
        max_events=tasks.events_kept,
    )


def worker_of(tasks: TasksConfig) -> Worker:
    """Return who this run of the supervisor is. The embedded engine has one only, whatever the host is called."""
    run = secrets.token_hex(8)
    if tasks.engine is TaskEngine.SQLITE:
        return Worker("local", run)
    host = re.sub(r"[^A-Za-z0-9_.-]+", "-", socket.gethostname()).strip("-.") or "host"
    return Worker(tasks.worker or f"{host[:50]}.{os.getuid()}", run)


def seat_of(paths: Paths) -> Seat:
    """Return where this supervisor runs. Its lock on the state directory says that no other one runs there."""
    state = paths.state_dir.stat()
    where = f"on {socket.gethostname()}, with its state in {paths.state_dir}"
    return Seat(f"{boot_id()}:{state.st_dev}:{state.st_ino}", where)


async def open_engine(
    tasks: TasksConfig,
    paths: Paths,
    *,
    clock: Clock,
    environ: Mapping[str, str],
    on_failure: Callable[[BaseException], None],
) -> Engine:
    """Open the configured engine.

    The embedded one is there then; PostgreSQL is not waited for: calls fail until it answers. Raises `BadConfig`,
    `UnsafePath` (the file of the DSN), and for the embedded one `StoreUnavailable` and `LimitExceeded`.
    """
    policy = policy_of(tasks)
    if tasks.engine is TaskEngine.SQLITE:
        from codex_supervisor.task.sqlite_engine import SqliteEngine

        return await SqliteEngine.open(paths.state_dir / "tasks.db", clock=clock, policy=policy)
    try:
        # Part of an extra, and large.
        from codex_supervisor.task.postgresql_engine import PostgresqlEngine
    except ImportError as error:
        raise BadConfig(
            what="tasks.engine is postgresql, and what it needs is not installed",
            why=f"there is no {error.name}",
            next_step="install codex-supervisor[postgresql]",
        ) from error
    return await PostgresqlEngine.open(dsn_of(tasks, environ), policy=policy, on_failure=on_failure)


def dsn_of(tasks: TasksConfig, environ: Mapping[str, str]) -> str:
    """Return the DSN from where it is kept. No error holds it. Raises `BadConfig`, `UnsafePath`."""
    if tasks.dsn:
        return tasks.dsn
    if tasks.dsn_env:
        dsn, where = environ.get(tasks.dsn_env, "").strip(), f"variable {tasks.dsn_env} (tasks.dsn_env)"
    else:
        dsn, where = _read(Path(tasks.dsn_file).expanduser()).strip(), f"file {tasks.dsn_file} (tasks.dsn_file)"
    if not dsn:
        raise BadConfig(what=f"the {where} holds no DSN", why="it is not set, or empty", next_step="put it there")
    return dsn


def _read(path: Path) -> str:
    try:
        return read_private_file(path, f"the file {path}", _MAX_DSN_BYTES)
    except OSError as error:
        raise BadConfig(
            what=f"the file {path} (tasks.dsn_file) cannot be read",
            why=error.strerror or str(error),
            next_step="put the DSN there, or name another file",
        ) from error


class _MissingEngine:
    """Stands where an engine could not be opened: everything that is asked of it raises why."""

    def __init__(self, error: CodexError) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


def missing_engine(error: CodexError) -> Engine:
    """Return what takes the place of an engine that could not be opened because of `error`."""
    return cast(Engine, _MissingEngine(error))
