"""Gives the user's Claude Code settings back as they were before the plugin was installed.

Claude Code's own `plugin uninstall` writes the file anew and leaves empty keys behind.
"""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from codexctl.claude.plugin import write_whole

# Written by `claude plugin marketplace add` and `claude plugin install`.
_OURS = ("extraKnownMarketplaces", "enabledPlugins")
_ABSENT = b""


def settings_path(environ: Mapping[str, str]) -> Path:
    """The user's settings.json, of `CLAUDE_CONFIG_DIR` or `~/.claude`; links are followed, as dotfiles have them."""
    folder = environ.get("CLAUDE_CONFIG_DIR") or f"{environ.get('HOME', '')}/.claude"
    return Path(os.path.realpath(Path(folder, "settings.json")))


def keep(settings: Path, kept: Path, *, anew: bool) -> None:
    """Remember the settings as they are now. An earlier memory stays unless `anew`: the plugin is in them already."""
    if anew or not kept.exists():
        write_whole(kept, settings.read_bytes() if settings.exists() else _ABSENT)


def give_back(settings: Path, kept: Path) -> None:
    """Put the kept bytes back where nothing else was changed since; else only take out what is left of ours."""
    if not kept.exists():
        return
    before, now = kept.read_bytes(), settings.read_bytes() if settings.exists() else _ABSENT
    if before != now:
        wanted = restored(before, now)
        if wanted == _ABSENT:
            settings.unlink(missing_ok=True)
        elif wanted != now:
            write_whole(settings, wanted, stat.S_IMODE(settings.stat().st_mode) if settings.exists() else 0o600)
    kept.unlink()


def restored(before: bytes, now: bytes) -> bytes:
    """The settings without ours: `before` where they then say the same, else `now` without our empty keys.

    Empty bytes stand for a file that does not exist.
    """
    try:
        old, new = parsed(before), parsed(now)
    except ValueError:
        return now  # the user's own edit, half done: not ours to touch
    for key in _OURS:
        if new.get(key) == {} and key not in old:
            del new[key]
    if new == old:
        return before
    return now if new == parsed(now) else (json.dumps(new, indent=2, ensure_ascii=False) + "\n").encode()


def parsed(data: bytes) -> dict[str, Any]:
    """The settings in a file with these bytes; raises `ValueError` for what is none."""
    value = json.loads(data) if data.strip() else {}
    if not isinstance(value, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 # like other JSON that is not settings
    return value
