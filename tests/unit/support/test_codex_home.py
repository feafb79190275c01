"""Homes for Codex are private, apart, and gone afterwards."""

from __future__ import annotations

import os
import stat
import tomllib
from pathlib import Path

import pytest
from codex_control.paths import checked_socket_path

from tests.support.codex_home import HOMES, STUB_MODEL, CodexHome, codex_home_below, short_private_dir


@pytest.fixture
def home() -> CodexHome:
    return CodexHome(Path("/somewhere"))


def test_is_private_and_removed() -> None:
    with codex_home_below() as made:
        (made.workspace / "left").write_text("x")
        assert made.root.parent == HOMES
        assert not made.root.is_relative_to("/tmp")
        assert stat.S_IMODE(made.codex_home.stat().st_mode) == 0o700
    assert not made.root.exists()


def test_configuration() -> None:
    with codex_home_below() as made:
        made.configure(
            "http://127.0.0.1:1/v1",
            top='sandbox_mode = "read-only"',
            provider="request_max_retries = 0",
            tail="[history]\npersistence = 'none'\n",
        )
        config = tomllib.loads(made.config_file.read_text())
        assert Path(config["model_catalog_json"]).is_file()
    assert config["model"] == STUB_MODEL
    assert config["model_providers"]["stub"]["request_max_retries"] == 0
    assert config["sandbox_mode"] == "read-only"
    assert config["history"] == {"persistence": "none"}
    assert config["analytics"] == {"enabled": False}


def test_environment_holds_nothing_of_ours(home: CodexHome, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOME_SECRET", "x")
    environment = home.environment(Path("/run/x"), MORE="1")
    assert "SOME_SECRET" not in environment
    assert environment["PATH"] == os.environ["PATH"]
    assert environment["XDG_RUNTIME_DIR"] == "/run/x"
    assert environment["MORE"] == "1"
    ours = {name: value for name, value in environment.items() if value.startswith("/") and name != "PATH"}
    assert all(value.startswith(("/somewhere", "/run/x")) for value in ours.values())


def test_short_private_dir() -> None:
    with short_private_dir() as made:
        assert stat.S_IMODE(made.stat().st_mode) == 0o700
        checked_socket_path(made / "codex-supervisor" / "children" / ("c" * 40))
    assert not made.exists()
