"""Keys from where the configuration says they are kept."""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.errors import BadConfig, TimedOut, UnsafePath
from codex_gateway.config import secrets
from codex_gateway.config.endpoint import PoolKey
from codex_gateway.config.secrets import fetch_key


async def test_keys_come_from_four_places(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-file\n")
    file.chmod(0o600)
    assert await fetch_key(PoolKey(api_key="sk-literal")) == "sk-literal"
    assert await fetch_key(PoolKey(env="MY_KEY"), {"MY_KEY": " sk-env "}) == "sk-env"
    assert await fetch_key(PoolKey(file=str(file))) == "sk-file"
    assert await fetch_key(PoolKey(command=("printf", "%s", "sk-$(id)"))) == "sk-$(id)"
    assert await fetch_key(PoolKey()) == ""


async def test_a_key_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadConfig, match="no key came from env MY_KEY: the variable is not set"):
        await fetch_key(PoolKey(env="MY_KEY"), {})
    with pytest.raises(BadConfig, match="cannot be read: No such file"):
        await fetch_key(PoolKey(file=str(tmp_path / "absent")))
    with pytest.raises(BadConfig, match="the key command false failed: it ended with 1"):
        await fetch_key(PoolKey(command=("false", "sk-secret")))
    with pytest.raises(BadConfig, match="cannot be started"):
        await fetch_key(PoolKey(command=("/absent/program",)))
    with pytest.raises(BadConfig, match="it holds a line break") as caught:
        await fetch_key(PoolKey(command=("printf", "sk-a\\nsk-b")))
    assert "sk-a" not in str(caught.value)


async def test_a_key_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "key"
    file.write_text("sk-file\n")
    file.chmod(0o640)
    with pytest.raises(UnsafePath, match="chmod 600"):
        await fetch_key(PoolKey(file=str(file)))


async def test_a_command_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "COMMAND_TIMEOUT_S", 0.2)
    with pytest.raises(TimedOut, match="the key command sleep did not end"):
        await fetch_key(PoolKey(command=("sleep", "1000")))
