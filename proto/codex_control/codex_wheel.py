"""The Codex of the PyPI package `openai-codex-cli-bin`, where that is installed with us."""

from __future__ import annotations

from pathlib import Path


def codex_of_wheel() -> Path | None:
    """Its binary; None without the package."""
    try:
        import codex_cli_bin
    except ImportError:
        return None
    try:
        return Path(codex_cli_bin.bundled_codex_path())
    except OSError:
        return None
