"""What the review gate looks at: what a repository has that it had not when the Claude Code session began.

At the session's start the commit of its repository is written down in a small file, where the gate is on. Where it was
turned on later, or the history no longer holds that commit, the gate looks at what is not committed, and no more.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import subprocess
from pathlib import Path

import msgspec
from codex_control.errors import BadInput, CodexError
from codex_control.paths import Paths, make_private_dir
from codex_control.service.own_file import write_whole

_GIT_LIMIT_S = 20.0
# SessionStart holds the first request up.
_START_LIMIT_S = 1.0
# Starts of sessions and told verdicts that are remembered, the latest; an older session has what is not committed.
_MOST_FILES = 400
_MAX_NAMES_BYTES = 32 * 1024 * 1024
# Contents that are read for one fingerprint; of what is beyond, size and time must do.
_MAX_READ_BYTES = 64 * 1024 * 1024

_COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")


class Start(msgspec.Struct, frozen=True):
    """Where a session began."""

    root: str
    """The repository's top directory."""
    commit: str


def note_start(paths: Paths, session_id: str, directory: Path) -> None:
    """Remember where a session begins; one that is resumed keeps its own beginning. Never raises."""
    file = _file_of(paths, session_id)
    with contextlib.suppress(CodexError, OSError, UnicodeError):
        if file.exists():
            file.touch()
            return
        make_private_dir(file.parent)
        start = Start(
            _root(directory, _START_LIMIT_S), _git(directory, "rev-parse", "HEAD", limit_s=_START_LIMIT_S).strip()
        )
        write_whole(file, msgspec.json.encode(start).decode(), 0o600)
        _forget_oldest(file.parent)


def started_at(paths: Paths, session_id: str, directory: Path) -> str:
    """The commit at which the session began, where the history of this repository still holds it; else nothing."""
    try:
        start = msgspec.json.decode(_file_of(paths, session_id).read_bytes(), type=Start)
        if not _COMMIT.fullmatch(start.commit) or _root(directory) != start.root:
            return ""
        _git(directory, "merge-base", "--is-ancestor", start.commit, "HEAD")
    except (OSError, msgspec.MsgspecError, BadInput):
        return ""
    return start.commit


def note_told(paths: Paths, turn_id: str) -> None:
    """Remember that the verdict of this turn is told now. Raises `OSError` or `UnsafePath` where it cannot."""
    file = _file_of(paths, f"told {turn_id}")
    make_private_dir(file.parent)
    file.touch(0o600)
    _forget_oldest(file.parent)


def was_told(paths: Paths, turn_id: str) -> bool:
    """Whether the verdict of this turn was told."""
    return _file_of(paths, f"told {turn_id}").exists()


def _file_of(paths: Paths, name: str) -> Path:
    # Whatever a session is called, it is a name of one file.
    return paths.state_dir / "review-gate" / hashlib.sha256(name.encode()).hexdigest()[:32]


def _forget_oldest(folder: Path) -> None:
    for old in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)[:-_MOST_FILES]:
        old.unlink(missing_ok=True)


def fingerprint_of_changes(directory: Path, base: str = "") -> str:
    """A digest of what is not in commit `base`, or is not committed; empty where that is nothing.

    It is the same whether a change is committed or not. Raises `BadInput` where there is no repository, or git does not
    answer.
    """
    root = Path(_root(directory))
    names = set(_names(root, "ls-files", "--others", "--exclude-standard"))
    try:
        names |= set(_names(root, "diff", "--name-only", "--no-renames", "--no-ext-diff", base or "HEAD"))
    except BadInput:  # no commit yet: everything is new
        names |= set(_names(root, "ls-files"))
    if not names:
        return ""
    digest, left_bytes = hashlib.sha256(), _MAX_READ_BYTES
    for name in sorted(names):
        content, read_bytes = _content(root / name, left_bytes)
        left_bytes -= read_bytes
        digest.update(os.fsencode(name) + b"\0" + content + b"\0")
    return digest.hexdigest()[:32]


def _content(path: Path, left_bytes: int) -> tuple[bytes, int]:
    """What tells one content of a file from another, and how much was read for it."""
    try:
        found = path.lstat()
        if stat.S_ISLNK(found.st_mode):
            return b"link " + os.fsencode(path.readlink()), 0
        if stat.S_ISREG(found.st_mode) and found.st_size <= left_bytes:
            kind = b"program " if found.st_mode & stat.S_IXUSR else b"file "
            return kind + hashlib.sha256(path.read_bytes()).digest(), found.st_size
    except OSError:
        return b"gone", 0
    return f"{found.st_mode} {found.st_size} {found.st_mtime_ns}".encode(), 0


def _root(directory: Path, limit_s: float = _GIT_LIMIT_S) -> str:
    return _git(directory, "rev-parse", "--show-toplevel", limit_s=limit_s).rstrip("\n")


def _names(directory: Path, *arguments: str) -> list[str]:
    return [name for name in _git(directory, *arguments, "-z").split("\0") if name]


def _git(directory: Path, *arguments: str, limit_s: float = _GIT_LIMIT_S) -> str:
    # A repository may name programs in its configuration; looking at it must not start one.
    command = ["git", "--no-optional-locks", "-c", "core.fsmonitor=false", "-C", str(directory), *arguments]
    try:
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=limit_s)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BadInput("git did not answer", why=str(error)) from error
    if ended.returncode != 0:
        raise BadInput("git cannot tell what changed", why=ended.stderr.decode(errors="replace").strip()[:200])
    # Names need not be UTF-8.
    return os.fsdecode(ended.stdout[:_MAX_NAMES_BYTES])
