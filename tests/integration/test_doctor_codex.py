"""The doctor's checks of Codex, with the real binary."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from codex_control.paths import Paths
from codex_control.service.clock import SystemClock
from codex_supervisor.config.children import CodexConfig
from codex_supervisor.config.model import Config
from codex_supervisor.doctor import codex as doctor_codex
from codex_supervisor.doctor.check import CheckStatus, Surroundings
from codex_supervisor.doctor.examining import examine

from tests.support.codex_home import CodexHome


@pytest.fixture
def surroundings(real_codex: Path, codex_home: CodexHome) -> Surroundings:
    codex_home.config_file.unlink()
    return Surroundings(
        paths=Paths(codex_home.home / "config.yaml", codex_home.home / "state", codex_home.home / "run"),
        config=Config(codex=CodexConfig(binary=str(real_codex))),
        environ=codex_home.environment(),
        clock=SystemClock(),
    )


async def test_the_binary_is_found_with_its_version(surroundings: Surroundings, real_codex: Path) -> None:
    result = await doctor_codex.binary(surroundings)
    assert result.status is CheckStatus.OK
    assert str(real_codex) in result.found


async def test_a_missing_login_is_told(surroundings: Surroundings, real_codex: Path) -> None:
    for folder, word in ((real_codex.parent, "codex"), ("/nonexistent", str(real_codex))):
        given = Surroundings(**{**vars(surroundings), "environ": {**surroundings.environ, "PATH": str(folder)}})
        result = await doctor_codex.login(given)
        assert (result.status, result.found, result.fix) == (CheckStatus.ERROR, "not logged in", f"{word} login")


async def test_a_key_in_the_environment_is_no_login(surroundings: Surroundings, real_codex: Path) -> None:
    key = "sk-test-abcdefghijklmnopqrstuvwx"
    given = Surroundings(**{**vars(surroundings), "environ": {**surroundings.environ, "OPENAI_API_KEY": key}})
    result = await doctor_codex.login(given)
    assert result.status is CheckStatus.ERROR
    assert result.fix == f"printenv OPENAI_API_KEY | {real_codex} login --with-api-key"
    assert key not in result.found


async def test_a_login_is_found_and_no_part_of_the_key_is_shown(surroundings: Surroundings, real_codex: Path) -> None:
    key = "sk-test-abcdefghijklmnopqrstuvwx"
    subprocess.run(
        [real_codex, "login", "--with-api-key"],
        input=key.encode(),
        env=dict(surroundings.environ),
        check=True,
        capture_output=True,
        timeout=30,
    )
    result = await doctor_codex.login(surroundings)
    assert (result.status, result.found) == (CheckStatus.OK, "logged in with an API key")


async def test_a_broken_settings_file_is_told_by_login_and_sandbox(
    surroundings: Surroundings, codex_home: CodexHome
) -> None:
    codex_home.config_file.write_text("model = [")
    results = {
        result.name: result for result in await examine(surroundings.paths, surroundings.config, surroundings.environ)
    }
    assert "config.toml is broken" in results["login"].found
    assert "correct" in results["sandbox"].fix
    assert results["Codex"].status is CheckStatus.OK


async def test_the_sandbox_is_tried(surroundings: Surroundings) -> None:
    result = await doctor_codex.sandbox(surroundings)
    expected = CheckStatus.OK if bubblewrap_works() else CheckStatus.ERROR
    assert result.status is expected, result
    assert bool(result.fix) is (expected is CheckStatus.ERROR)


def bubblewrap_works() -> bool:
    """Whether this machine lets a process have a user namespace, which is all that the sandbox needs."""
    unshare = shutil.which("unshare")
    return (
        unshare is not None
        and subprocess.run([unshare, "-Ur", "true"], capture_output=True, check=False).returncode == 0
    )
