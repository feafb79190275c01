"""Where the gateway's files are: `codex_control.gateway_paths`, which the supervisor knows too."""

from __future__ import annotations

from codex_control.gateway_paths import NAME, GatewayPaths

__all__ = ["NAME", "GatewayPaths"]
