"""A segment for Claude Code's status line. It runs after every message, so it imports next to nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import BinaryIO

from codex_control.paths import Paths
from codex_control.safe_text import one_line

from codexctl.service import is_running

# Claude Code's JSON has a few KB.
_MAX_TOLD_BYTES = 1 << 20


def segment(paths: Paths, told: BinaryIO) -> str:
    """The state and profile of the session's Codex, and what runs; empty where the session has none.

    `told` is what Claude Code says on standard input. Raises the `CodexError` of an unsafe runtime directory.
    """
    session_id = _session_id(told.read(_MAX_TOLD_BYTES))
    status = _status(paths.status_dir / f"{session_id}.json") if session_id else {}
    if not status:
        return ""
    if not is_running(paths):
        return "codex: service stopped"
    turn, queued, tasks = (status.get(name, 0) for name in ("turn", "queued", "tasks"))
    parts = [f"codex: {status.get('state', '')}", status.get("profile", "")]
    parts += [f"turn {turn}"] if turn else []
    parts += [f"{queued} waiting"] if queued else []
    parts += [f"{tasks} task{'' if tasks == 1 else 's'}"] if tasks else []
    return one_line(" · ".join(map(str, filter(None, parts))))


def _session_id(told: bytes) -> str:
    try:
        value = json.loads(told)["session_id"]
    except (ValueError, KeyError, TypeError):
        return ""
    # It becomes the name of a file.
    return value if isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum() else ""


def _status(path: Path) -> dict[str, object]:
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
