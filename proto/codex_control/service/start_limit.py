"""A limit of starts for service managers that have none: launchd would start a crashing program for ever."""

from __future__ import annotations

import json
from pathlib import Path

from codex_control.paths import make_private_dir
from codex_control.service.clock import Clock
from codex_control.service.own_file import write_whole

# launchd's throttle leaves at least 10 s between two starts, so a crash loop is through after about a minute.
BURST = 6
INTERVAL_S = 120.0


def may_start(file: Path, clock: Clock, burst: int = BURST, interval_s: float = INTERVAL_S) -> bool:
    """Note a start in `file`, and say whether it is within `burst` starts in `interval_s`.

    A start that is refused is not noted, so that a person can start it again when the interval has passed. A file that
    cannot be read counts as empty: the limit must not keep the service down.
    """
    now_ns = clock.wall_ns()
    interval_ns = int(interval_s * 1_000_000_000)
    # A clock that was set back leaves times of the future behind: they are dropped.
    recent = [start_ns for start_ns in _read(file) if now_ns - interval_ns < start_ns <= now_ns]
    if len(recent) >= burst:
        return False
    make_private_dir(file.parent)
    write_whole(file, json.dumps([*recent, now_ns]), 0o600)
    return True


def _read(file: Path) -> list[int]:
    try:
        starts = json.loads(file.read_bytes()[:4096])
    except (OSError, ValueError):
        return []
    return [start for start in starts if isinstance(start, int)] if isinstance(starts, list) else []
