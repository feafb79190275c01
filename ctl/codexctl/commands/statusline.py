"""codexctl statusline: a segment for Claude Code's status line."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from codexctl.session import Session, verb

if TYPE_CHECKING:
    from pathlib import Path


@click.command("statusline")
@verb
def command(session: Session) -> None:
    """Print the state and profile of the session's Codex, for Claude Code's statusLine setting.

    Reads Claude Code's JSON on standard input. Prints nothing where the session has no Codex. Speaks to nobody but the
    service's small status files, because it runs after every message.
    """
    from codexctl.output import put, put_json

    # Claude Code's JSON has a few KB.
    segment = _segment(session, _session_id(sys.stdin.buffer.read(1 << 20)))
    if session.json:
        put_json({"text": segment})
    elif segment:
        put(segment)


def _session_id(told: bytes) -> str:
    import json

    try:
        value = json.loads(told)["session_id"]
    except (ValueError, KeyError, TypeError):
        return ""
    # It becomes the name of a file.
    return value if isinstance(value, str) and value.replace("-", "").replace("_", "").isalnum() else ""


def _segment(session: Session, session_id: str) -> str:
    from codexctl.service import is_running

    if not session_id:
        return ""
    status = _status(session.paths.status_dir / f"{session_id}.json")
    if not status:
        return ""
    if not is_running(session.paths):
        return "codex: service stopped"
    from codexctl.safe_text import one_line

    running, queued = status.get("running", 0), status.get("queued", 0)
    parts = [f"codex: {status.get('state', '')}", status.get("profile", "")]
    parts += [f"{running} running"] if running else []
    parts += [f"{queued} waiting"] if queued else []
    return one_line(" · ".join(map(str, filter(None, parts))))


def _status(path: Path) -> dict[str, object]:
    import json

    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}
