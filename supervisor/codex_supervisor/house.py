"""What every instance and turn is given: the parts of the supervisor, put together once by `daemon.py`."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from codex_control.paths import Paths
from codex_control.service.clock import Clock
from codex_control.service.owned_tasks import TaskSet

from codex_supervisor.child.locate import CodexBinary
from codex_supervisor.config.model import Config
from codex_supervisor.metrics import Metrics
from codex_supervisor.store.store import Store

if TYPE_CHECKING:
    from codex_supervisor.tracing import Tracing


@dataclass(slots=True)
class House:
    """The parts. `config` is replaced as a whole by a reload; everything else stays."""

    clock: Clock
    store: Store
    metrics: Metrics
    paths: Paths
    config: Config
    tasks: TaskSet
    binary: Callable[[], Awaitable[CodexBinary]]
    """Finds the Codex binary, or raises `CodexUnusable` with the fix."""
    environment: dict[str, str]
    """The environment that children's environments are made from."""
    codex_home: str
    """Absolute path of Codex's own directory."""
    child_overrides: tuple[str, ...] = ()
    """`key=value` settings for Codex beside the configured ones (the demo model's)."""
    child_secrets: dict[str, str] = field(default_factory=dict)
    """Environment variables of children that the supervisor itself makes (the demo model's token)."""
    cgroup: Path | None = None
    """Directory of our own control group, where systemd has delegated it."""
    codex_warnings: list[str] = field(default_factory=list)
    """What Codex warned of when children started, each sentence once."""
    tracing: Tracing | None = None
    """Makes traces of ended turns, where they are on."""
    random: random.Random = field(default_factory=random.SystemRandom)
