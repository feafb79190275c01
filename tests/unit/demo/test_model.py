"""The demo model's server, as far as it needs no client."""

from __future__ import annotations

import sys
import tomllib

import pytest
from codex_control.errors import BadConfig
from codex_supervisor.demo import DemoModel, demo_overrides
from codex_supervisor.demo.model import TOKEN_NAME


def test_overrides_are_toml_without_the_token() -> None:
    config = tomllib.loads("\n".join(demo_overrides(1234)))
    provider = config["model_providers"]["demo"]
    assert config["model_provider"] == "demo"
    assert provider["base_url"] == "http://127.0.0.1:1234/v1"
    assert provider["env_key"] == TOKEN_NAME
    assert "no AI" in provider["name"]


def test_every_model_has_a_token_of_its_own_and_hides_it() -> None:
    first, second = DemoModel(), DemoModel()
    assert first.environment != second.environment
    assert len(first.environment[TOKEN_NAME]) >= 32
    assert first.environment[TOKEN_NAME] not in repr(first)


async def test_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    with pytest.raises(BadConfig, match=r"needs the package aiohttp\. Run `pip install 'codex-supervisor\[demo\]'`"):
        await DemoModel().start()


async def test_stops_twice_and_starts_again() -> None:
    model = DemoModel()
    await model.stop()
    first = await model.start()
    await model.stop()
    await model.stop()
    assert await model.start(first) == first
    await model.stop()
