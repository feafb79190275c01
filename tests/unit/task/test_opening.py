"""Where the engine and its secrets come from."""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.errors import BadConfig, StoreUnavailable, UnsafePath
from codex_supervisor.config.tasks import TaskEngine, TasksConfig
from codex_supervisor.task.opening import dsn_of, missing_engine, policy_of, worker_of


def test_the_dsn_comes_from_where_it_is_kept(tmp_path: Path) -> None:
    file = tmp_path / "dsn"
    file.write_text("postgresql:///tasks\n")
    file.chmod(0o600)
    assert dsn_of(TasksConfig(dsn="a"), {}) == "a"
    assert dsn_of(TasksConfig(dsn_env="DSN"), {"DSN": "b"}) == "b"
    assert dsn_of(TasksConfig(dsn_file=str(file)), {}) == "postgresql:///tasks"


def test_a_dsn_that_is_not_there_is_said_without_it(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="variable DSN"):
        dsn_of(TasksConfig(dsn_env="DSN"), {})
    with pytest.raises(BadConfig, match="cannot be read"):
        dsn_of(TasksConfig(dsn_file=str(tmp_path / "gone")), {})
    file = tmp_path / "dsn"
    file.write_text("geheim")
    file.chmod(0o644)
    with pytest.raises(UnsafePath, match="chmod 600") as raised:
        dsn_of(TasksConfig(dsn_file=str(file)), {})
    assert "geheim" not in str(raised.value)


def test_workers() -> None:
    first, second = worker_of(TasksConfig()), worker_of(TasksConfig())
    assert first.name == second.name
    assert first.run != second.run
    assert worker_of(TasksConfig(engine=TaskEngine.POSTGRESQL, worker="w1")).name == "w1"
    assert worker_of(TasksConfig(engine=TaskEngine.POSTGRESQL)).name != first.name


def test_limits() -> None:
    assert policy_of(TasksConfig(timeout=0)).timeout_s is None
    assert policy_of(TasksConfig(timeout=5, max_deaths=7)).timeout_s == 5
    assert policy_of(TasksConfig(max_deaths=7)).max_deaths == 7


def test_what_is_asked_of_a_missing_engine_says_why() -> None:
    with pytest.raises(StoreUnavailable, match="gone"):
        _ = missing_engine(StoreUnavailable("gone")).signals
