"""Where the deployed files are, and Prometheus' own checker of them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

DEPLOY = Path(__file__).parents[3] / "deploy"


@pytest.fixture(scope="session")
def promtool() -> str:
    """The program `promtool`."""
    found = shutil.which("promtool")
    if found is None:
        reason = "no promtool here: apt-get install prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return found
