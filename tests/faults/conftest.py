"""Supervisors with other settings than the usual ones: `with_codex({…})`, `with_fake({…})`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import pytest

from tests.support.codex_home import CodexHome
from tests.support.fake_codex.place import FakeCodex
from tests.support.supervisor import RunningSupervisor, supervisor_of


class Supervise(Protocol):
    """Starts a supervisor with these settings for the length of a block."""

    def __call__(
        self, settings: Mapping[str, object] | None = None, *, program: Sequence[str] | None = None
    ) -> AbstractAsyncContextManager[RunningSupervisor]: ...


def _supervise(home: CodexHome, runtime_dir: Path, binary: Path) -> Supervise:
    def start(
        settings: Mapping[str, object] | None = None, *, program: Sequence[str] | None = None
    ) -> AbstractAsyncContextManager[RunningSupervisor]:
        given = {"codex": {"binary": str(binary)}, **(settings or {})}
        if program is None:
            return supervisor_of(home, runtime_dir, given)
        return supervisor_of(home, runtime_dir, given, program=program)

    return start


@pytest.fixture
def with_codex(codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path) -> Supervise:
    """A supervisor of the real Codex."""
    return _supervise(codex_home, short_runtime_dir, real_codex)


@pytest.fixture
def with_fake(codex_home: CodexHome, short_runtime_dir: Path, fake_codex: FakeCodex) -> Supervise:
    """A supervisor of the stand-in."""
    return _supervise(codex_home, short_runtime_dir, fake_codex.binary)
