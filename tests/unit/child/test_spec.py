"""How a child is started, as words."""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.errors import BadConfig
from codex_supervisor.child.locate import CodexBinary
from codex_supervisor.child.spawn import ChildSpec, arguments, pending_record


def spec(socket: str = "/run/s", *overrides: str) -> ChildSpec:
    return ChildSpec(
        instance="i",
        generation=3,
        token="secret mark",
        binary=CodexBinary("/opt/codex", "0.163.0", "config"),
        socket=Path(socket),
        environment={"OPENAI_API_KEY": "secret key"},
        overrides=overrides,
        stderr_log=Path("/log"),
        cwd="/work",
    )


def test_arguments() -> None:
    words = arguments(spec("/run/s", 'model="a b"', "features.plugins=false"))
    assert words == [
        *("/opt/codex", "app-server", "--listen", "unix:///run/s"),
        *("-c", 'model="a b"', "-c", "features.plugins=false"),
    ]
    assert "secret" not in " ".join(words)


def test_a_socket_path_that_is_too_long() -> None:
    with pytest.raises(BadConfig, match="too long"):
        arguments(spec("/run/" + "x" * 103))


def test_the_record_before_the_spawn_has_no_pid() -> None:
    record = pending_record(spec(), started_ns=7)
    assert (record.pid, record.start_time, record.token, record.generation) == (0, 0, "secret mark", 3)
    assert (record.socket, record.codex_version, record.started_ns) == ("/run/s", "0.163.0", 7)
