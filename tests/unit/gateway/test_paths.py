"""Where the gateway's files are."""

from __future__ import annotations

from pathlib import Path

import pytest
from codex_control.errors import BadConfig
from codex_gateway.paths import GatewayPaths


def test_places_come_from_the_environment() -> None:
    plain = GatewayPaths.from_environment({"HOME": "/h"})
    assert plain.config_file == Path("/h/.config/codex-gateway/config.yaml")
    assert plain.database == Path("/h/.local/state/codex-gateway/gateway.db")
    assert plain.runtime_dir == Path("/h/.local/state/codex-gateway/run")
    named = GatewayPaths.from_environment(
        {"CODEX_GATEWAY_CONFIG": "/c.yaml", "CODEX_GATEWAY_STATE_DIR": "/s", "XDG_RUNTIME_DIR": "/run/user/1"}
    )
    assert (named.config_file, named.state_dir, named.lock_file) == (
        Path("/c.yaml"),
        Path("/s"),
        Path("/run/user/1/codex-gateway/gateway.lock"),
    )


def test_without_a_home_it_is_told() -> None:
    with pytest.raises(BadConfig, match="HOME is not set"):
        GatewayPaths.from_environment({})
