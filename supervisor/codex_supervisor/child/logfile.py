"""The file that takes a child's output: private, appended to, and never larger than it may be for long."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from pathlib import Path

DEFAULT_LIMIT_BYTES = 8 * 1024 * 1024
DEFAULT_KEEP = 2

_COPY_BYTES = 256 * 1024
_TAIL_BYTES = 64 * 1024
_TAIL_LINE_CHARACTERS = 2000
_OPEN_FLAGS = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


def open_append(path: Path) -> int:
    """Open `path` for a child to write to, mode 0600, and return the descriptor. Raises OSError, also for a link.

    Appending is what makes `rotate` work while the child writes: after the file is cut its next byte goes to the start.
    """
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | _OPEN_FLAGS, 0o600)
    if stat.S_IMODE(os.fstat(fd).st_mode) != 0o600:
        os.fchmod(fd, 0o600)
    return fd


def rotate(path: Path, limit_bytes: int = DEFAULT_LIMIT_BYTES, keep: int = DEFAULT_KEEP) -> bool:
    """Where `path` is larger than `limit_bytes`, move its content to `path`.1 (older ones to .2 … up to `keep`).

    The file itself is cut, not renamed: the child goes on writing to it. Of a file that outgrew the limit by far only
    the last `limit_bytes` are kept. What the child writes between the copy and the cut is lost (microseconds).
    Returns whether it was done. Raises OSError, for example where the disk is full; nothing is lost then.
    """
    try:
        source = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        size_bytes = os.fstat(source).st_size
        if size_bytes <= limit_bytes:
            return False
        if keep > 0:
            for number in range(keep - 1, 0, -1):
                with contextlib.suppress(FileNotFoundError):
                    numbered(path, number).replace(numbered(path, number + 1))
            _copy(source, size_bytes - limit_bytes, numbered(path, 1))
        os.ftruncate(source, 0)
    finally:
        os.close(source)
    return True


def numbered(path: Path, number: int) -> Path:
    """Name of the `number`th older file."""
    return path.with_name(f"{path.name}.{number}")


def remove(path: Path) -> None:
    """Remove the file with its older ones, however many were kept. Raises OSError."""
    path.unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        for number in itertools.count(1):
            numbered(path, number).unlink()


def _copy(source: int, offset: int, target_path: Path) -> None:
    target = os.open(target_path, os.O_WRONLY | os.O_TRUNC | _OPEN_FLAGS, 0o600)
    try:
        os.lseek(source, offset, os.SEEK_SET)
        while piece := os.read(source, _COPY_BYTES):
            view = memoryview(piece)
            while view:
                view = view[os.write(target, view) :]
    finally:
        os.close(target)


def tail(path: Path, lines: int) -> list[str]:
    """Return the last `lines` lines, each cut at 2,000 characters, from the last 64 KiB; empty where there is no file.

    Bytes that are no UTF-8 are replaced, control characters are taken out: the lines go to people's terminals.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        size_bytes = os.fstat(fd).st_size
        os.lseek(fd, max(0, size_bytes - _TAIL_BYTES), os.SEEK_SET)
        text = os.read(fd, _TAIL_BYTES).decode(errors="replace")
    finally:
        os.close(fd)
    clean = (_printable(line)[:_TAIL_LINE_CHARACTERS] for line in text.splitlines())
    return [line for line in clean if line.strip()][-lines:] if lines > 0 else []


def _printable(line: str) -> str:
    return "".join(character for character in line if character.isprintable() or character == "\t")
