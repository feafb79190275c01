"""By what the service would be started."""

from __future__ import annotations

from pathlib import Path

import pytest
from codexctl.service import installed_agent, installed_unit, start_command, supervisor_program


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """The environment of a user whose systemd user manager runs and has the unit."""
    (tmp_path / "run" / "systemd" / "private").mkdir(parents=True)
    unit = tmp_path / ".config" / "systemd" / "user" / "codex-supervisor.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]")
    return {"HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path / "run"), "PATH": ""}


def test_the_unit_is_found(environ: dict[str, str], tmp_path: Path) -> None:
    assert installed_unit(environ) == tmp_path / ".config/systemd/user/codex-supervisor.service"
    assert start_command(environ) == "systemctl --user start codex-supervisor"


@pytest.mark.parametrize(
    "change",
    [
        {"XDG_RUNTIME_DIR": ""},
        {"XDG_RUNTIME_DIR": "/nonexistent"},
        {"CODEX_SUPERVISOR_RUNTIME_DIR": "/elsewhere"},
        {"CODEX_SUPERVISOR_STATE_DIR": "/elsewhere"},
        {"XDG_CONFIG_HOME": "/nonexistent"},
    ],
    ids=str,
)
def test_the_unit_is_not_used_where_it_would_not_serve_us(environ: dict[str, str], change: dict[str, str]) -> None:
    assert installed_unit(environ | change) is None
    assert start_command(environ | change) == "codexctl start"


def test_the_launchd_agent_is_found_on_macos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plist = tmp_path / "Library" / "LaunchAgents" / "codex-supervisor.plist"
    plist.parent.mkdir(parents=True)
    plist.write_text("")
    environ = {"HOME": str(tmp_path)}
    assert installed_agent(environ) is None
    monkeypatch.setattr("sys.platform", "darwin")
    assert installed_agent(environ) == plist
    assert start_command(environ).endswith("/codex-supervisor")


def test_the_program_beside_ours_comes_before_the_one_on_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("beside", "path"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "codex-supervisor").touch(mode=0o700)
    monkeypatch.setattr("sys.executable", str(tmp_path / "beside" / "python"))
    environ = {"PATH": str(tmp_path / "path")}
    assert supervisor_program(environ) == str(tmp_path / "beside" / "codex-supervisor")
    (tmp_path / "beside" / "codex-supervisor").unlink()
    assert supervisor_program(environ) == str(tmp_path / "path" / "codex-supervisor")
