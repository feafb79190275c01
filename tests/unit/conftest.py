"""Programs that check what we write."""

from __future__ import annotations

import pytest

from tests.support.missing import needed_program


@pytest.fixture(scope="session")
def promtool() -> str:
    """Prometheus' own checker of metrics, configurations and rules."""
    return needed_program("promtool", "prometheus")
