"""The real Claude Code and the real Codex, both against stubs, with the real service between them."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.claude_code import ClaudeCode, place_of_claude
from tests.support.codex_home import CodexHome
from tests.support.stub_claude_model import StubClaudeModel
from tests.support.supervisor import RunningSupervisor, supervisor_of

BIN = Path(sys.executable).parent


@pytest.fixture
async def stub_claude() -> AsyncIterator[StubClaudeModel]:
    """What Claude Code takes for its model."""
    async with StubClaudeModel() as stub:
        yield stub


@pytest.fixture
async def supervisor(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path
) -> AsyncIterator[RunningSupervisor]:
    """A running service; instances are left for good one second after their Claude Code has gone."""
    settings = {"codex": {"binary": str(real_codex)}, "claude": {"grace": "1s"}}
    async with supervisor_of(codex_home, short_runtime_dir, settings) as made:
        yield made


@pytest.fixture
async def claude(
    codex_home: CodexHome, short_runtime_dir: Path, real_claude: Path, stub_claude: StubClaudeModel
) -> AsyncIterator[ClaudeCode]:
    """Claude Code, as a person starts it: `claude-codex` unless the test says otherwise."""
    async with place_of_claude(codex_home, short_runtime_dir, real_claude, stub_claude, BIN) as made:
        yield made
