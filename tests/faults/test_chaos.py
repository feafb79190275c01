"""A short run of the chaos: 20 s, two minutes in CI, or what CHAOS_SECONDS says; CHAOS_SEED repeats one."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import pytest

from tests.faults.chaos.__main__ import run

SECONDS = float(os.environ.get("CHAOS_SECONDS", "120" if os.environ.get("CI") == "true" else "20"))
# Clients wait for their last outcomes, and then everything is looked through.
AFTERWARDS_S = 240.0


@pytest.mark.chaos
@pytest.mark.timeout(SECONDS + AFTERWARDS_S)
async def test_chaos(real_codex: Path) -> None:
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))
    result = await run(SECONDS, seed, real_codex)
    assert result["violations"] == [], f"repeat it with CHAOS_SECONDS={SECONDS:g} CHAOS_SEED={seed}"
    assert result["recorded"] > 0
    assert result["faults"], "nothing was killed"
