"""The plugin that Claude Code loads: a copy of `marketplace/` in the user's data directory that names our own program.

The copy has the absolute path of `codexctl`, because a Claude Code that was started from a desktop has not the PATH of
a shell. It is looked at in every start of `claude-codex`, so this module imports little.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from codex_control.paths import NAME, make_private_dir

TEMPLATE = Path(__file__).parent / "marketplace"
PLUGIN = "codex"
MARKETPLACE = "codex-supervisor"
_STAMP = ".made-from"
_COMMAND = "codexctl"
"""What stands for our program in the template."""


def marketplace_dir(environ: Mapping[str, str]) -> Path:
    """Where the copy is: below `XDG_DATA_HOME`, else `~/.local/share`."""
    base = environ.get("XDG_DATA_HOME", "")
    if not base.startswith("/"):
        base = f"{environ.get('HOME', '')}/.local/share"
    return Path(base, NAME, "claude")


def own_program(argv0: str, python: str) -> tuple[str, ...]:
    """How `codexctl` is run: the script beside the one that was started, or beside Python.

    Not resolved: links on the way (pipx, Homebrew) are what an upgrade moves.
    """
    for folder in (os.path.dirname(os.path.abspath(argv0)), os.path.dirname(python)):  # noqa: PTH100, PTH120 # see above
        path = f"{folder}/codexctl"
        if os.access(path, os.X_OK):
            return (path,)
    # -P: hooks run in the session's directory, and nothing is imported from there.
    return (python, "-P", "-m", "codexctl")


def ensure_plugin(environ: Mapping[str, str], argv0: str = sys.argv[0], python: str = sys.executable) -> Path:
    """Make the copy, or bring it up to date, and return the marketplace's directory; the plugin is `PLUGIN` in it.

    Raises `UnsafePath` where it cannot be written.
    """
    root, program, with_tools = marketplace_dir(environ), own_program(argv0, python), _has_mcp()
    stamp = "\n".join([*program, f"mcp {with_tools}", fingerprint(TEMPLATE)])
    try:
        if (root / _STAMP).read_text() == stamp:
            return root
    except OSError:
        pass
    _write_copy(root, program, stamp, with_tools=with_tools)
    return root


def fingerprint(folder: Path) -> str:
    """A digest of all files below `folder`. They have 12 KB: reading them takes a millisecond, and times of files tell
    nothing where an installer sets them.
    """
    digest = hashlib.sha256()
    for directory, _, names in sorted(os.walk(folder)):
        for name in sorted(names):
            digest.update(f"{directory}/{name}\n".encode())
            with open(f"{directory}/{name}", "rb") as file:  # noqa: PTH123 # before pathlib
                digest.update(file.read())
    return digest.hexdigest()


def _has_mcp() -> bool:
    """Whether the extra `mcp` is there: without it Claude Code would show a server that cannot start."""
    return any(os.path.isdir(f"{folder}/mcp/server") for folder in sys.path if folder)  # noqa: PTH112 # before pathlib


def _write_copy(root: Path, program: tuple[str, ...], stamp: str, *, with_tools: bool) -> None:
    make_private_dir(root)
    wanted: set[Path] = {root / _STAMP}
    for source in sorted(path for path in TEMPLATE.rglob("*") if path.is_file()):
        if source.name == ".mcp.json" and not with_tools:
            continue
        target = root / source.relative_to(TEMPLATE)
        text = source.read_text(encoding="utf-8")
        if source.suffix == ".json":
            text = _with_program(text, program)
        make_private_dir(target.parent)
        write_whole(target, text.encode())
        wanted.add(target)
    for left in [path for path in root.rglob("*") if path.is_file() and path not in wanted]:
        left.unlink()
    # Last: a copy that was cut short is made again.
    write_whole(root / _STAMP, stamp.encode())


def _with_program(text: str, program: tuple[str, ...]) -> str:
    import json
    from typing import Any

    def named(value: Any) -> Any:
        if isinstance(value, list):
            return [named(one) for one in value]
        if not isinstance(value, dict):
            return value
        if value.get("command") == _COMMAND:
            return {**value, "command": program[0], "args": [*program[1:], *value["args"]]}
        return {key: named(one) for key, one in value.items()}

    return json.dumps(named(json.loads(text)), indent=2, ensure_ascii=False) + "\n"


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Put `data` in the place of `path` at once: a reader sees the old file or the new one. Raises `UnsafePath`."""
    import tempfile

    from codex_control.errors import UnsafePath

    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data)
                file.flush()
                os.fchmod(file.fileno(), mode)
                os.fsync(file.fileno())
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise UnsafePath(
            f"{path} cannot be written", why=error.strerror or str(error), next_step=f"make {path.parent} writable"
        ) from error
