"""Profiles by name."""

from __future__ import annotations

import pytest
from codex_control.errors import NotFound
from codex_supervisor.config.choosing import all_profiles, profile
from codex_supervisor.config.model import Config
from codex_supervisor.config.profiles import Effort
from codex_supervisor.config.reading import parse_config


def test_the_built_in_profiles_always_exist() -> None:
    assert list(all_profiles(Config())) == ["high", "default", "low"]
    assert profile(Config(), "high").effort is Effort.HIGH
    assert profile(Config(), "low").effort is Effort.LOW


def test_no_name_means_the_configured_default() -> None:
    config = parse_config("defaults: {profile: low}", "config.yaml")
    assert profile(config, "") == profile(config, "low")


def test_an_unknown_name_is_told_with_the_nearest_and_all() -> None:
    config = parse_config("profiles: {reviewer: {}}", "config.yaml")
    with pytest.raises(NotFound, match=r"high, default, low, reviewer. Did you mean 'reviewer'\?"):
        profile(config, "reviewr")
    with pytest.raises(NotFound, match=r"Name one of them"):
        profile(config, "\x00" * 1000)
