"""Where Codex keeps its logins, settings and threads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from codex_control.errors import BadConfig


def codex_home(configured: str, environ: Mapping[str, str]) -> Path:
    """Return the absolute path: `configured` (codex.home of the configuration), else `CODEX_HOME`, else `~/.codex`.

    Raises `BadConfig` where it is relative, or below a `HOME` that is not set.
    """
    wanted = configured or environ.get("CODEX_HOME", "") or "~/.codex"
    if wanted.startswith("~/"):
        wanted = f"{environ.get('HOME', '')}/{wanted[2:]}"
        if not environ.get("HOME", "").startswith("/"):
            raise BadConfig(
                what="Codex's own directory is not known",
                why="neither CODEX_HOME nor HOME is set",
                next_step="set HOME, or codex.home in config.yaml, to an absolute path",
            )
    if not wanted.startswith("/"):
        raise BadConfig(
            what=f"Codex's own directory {wanted} is a relative path",
            why="the service has no working directory of its own",
            next_step="set CODEX_HOME to an absolute path",
        )
    return Path(wanted)
