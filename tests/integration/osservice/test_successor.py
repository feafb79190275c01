"""The installed version is asked whether it can serve, and says why not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from codex_control.errors import WrongState
from codex_supervisor.osservice.successor import check_successor


async def test_a_version_that_can_serve_is_a_successor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_SUPERVISOR_CONFIG", str(tmp_path / "config.yaml"))
    await check_successor()


async def test_one_that_does_not_take_the_configuration_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "config.yaml"
    config.write_text("turns: {timeot: 5}\n")
    monkeypatch.setenv("CODEX_SUPERVISOR_CONFIG", str(config))
    why = f"codex-supervisor: {config}, line 1, column 9: there is no key `turns.timeot`"
    with pytest.raises(WrongState, match=re.escape(why)):
        await check_successor()


async def test_one_that_is_not_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    monkeypatch.setattr("sys.executable", str(python))
    with pytest.raises(WrongState, match=f"{python}: No such file"):
        await check_successor()
