"""Where the deployed files are."""

from __future__ import annotations

from pathlib import Path

DEPLOY = Path(__file__).parents[3] / "deploy"
