"""Reads logs back: the last records, and new ones as they come, across rotation.

Two kinds of files: the supervisor's own log (JSON lines, rotated by renaming) and a child's error output (any text,
rotated by copying and cutting). Memory is bounded, whatever is in them.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import os
from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import msgspec
from codex_control.service.redaction import redact

MAX_LINE_BYTES = 64 * 1024
"""Of a longer line the beginning is shown."""
MAX_TAIL = 10_000
"""Most old records that are returned."""
MAX_TAIL_BYTES = 64 * 1024 * 1024
"""Most bytes that are searched backwards for them."""
_BLOCK = 64 * 1024
_MAX_ROTATED = 100


@dataclass(frozen=True)
class LogLine:
    """One record. A child's error output has neither time nor level."""

    message: str
    at_ns: int | None = None
    level: str = ""
    fields: dict[str, str] = field(default_factory=dict)


def parse_line(line: bytes) -> LogLine:
    """Read one line of either kind."""
    text = line.decode("utf-8", "replace").rstrip("\r")
    try:
        values = msgspec.json.decode(text)
        at = dt.datetime.fromisoformat(values.pop("at"))
        level, event = values.pop("level"), values.pop("event")
    except (ValueError, KeyError, AttributeError, TypeError, RecursionError):
        return LogLine(redact(text))
    if not isinstance(level, str) or not isinstance(event, str) or at.tzinfo is None:
        return LogLine(redact(text))
    since = at - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    at_ns = (since // dt.timedelta(microseconds=1)) * 1000
    fields = {
        name: value if isinstance(value, str) else msgspec.json.encode(value).decode() for name, value in values.items()
    }
    return LogLine(event, at_ns, level, fields)


Wanted = Callable[[LogLine], bool]


def of_instance(instance: str) -> Wanted:
    """Want the records of one instance, or all where `instance` is empty."""
    return lambda line: not instance or line.fields.get("instance") == instance


_EVERY = of_instance("")


async def read_log(
    path: Path, *, tail: int, follow: bool, wanted: Wanted = _EVERY, poll_s: float = 0.25
) -> AsyncGenerator[LogLine, None]:
    """Yield the last `tail` wanted records and, where `follow` is set, new ones for ever; none is left out in between.

    A log that does not exist yet is waited for. Close the generator (`contextlib.aclosing`): it holds the file open.
    """
    with _Follower(path, partial=not follow) as follower:
        for line in await asyncio.to_thread(_tail, follower, path, tail, wanted):
            yield line
        while follow:
            before = follower.offset
            for raw in follower.new_lines():
                line = parse_line(raw)
                if wanted(line):
                    yield line
            if follower.offset == before:
                await asyncio.sleep(poll_s)


def _tail(follower: _Follower, path: Path, count: int, wanted: Wanted) -> list[LogLine]:
    found: deque[LogLine] = deque()
    count = min(count, MAX_TAIL)
    budget = MAX_TAIL_BYTES
    if count <= 0:
        return []
    for fd, end in _newest_first(follower, path):
        for raw in _backwards(fd, max(0, end - budget), end):
            line = parse_line(raw)
            if wanted(line):
                found.appendleft(line)
                if len(found) == count:
                    return list(found)
        budget -= end
        if budget <= 0:
            break
    return list(found)


def _newest_first(follower: _Follower, path: Path) -> Iterator[tuple[int, int]]:
    """The log up to where the follower begins, then its rotated files; one that the follower holds comes once."""
    seen: set[int] = set()
    if follower.fd >= 0:
        seen.add(os.fstat(follower.fd).st_ino)
        yield follower.fd, follower.offset
    for number in range(1, _MAX_ROTATED + 1):
        fd = _open(path.with_name(f"{path.name}.{number}"))
        if fd < 0:
            return
        try:
            status = os.fstat(fd)
            if status.st_ino not in seen:  # else it was rotated since the follower opened it
                seen.add(status.st_ino)
                yield fd, status.st_size
        finally:
            os.close(fd)


def _backwards(fd: int, first: int, end: int) -> Iterator[bytes]:
    """Yield the lines between the offsets `first` and `end`, last first; too long ones cut."""
    position = end
    rest = b""  # the beginning of a line whose end was already seen
    while position > first:
        step = min(_BLOCK, position - first)
        position -= step
        rest, *lines = (os.pread(fd, step, position) + rest).split(b"\n")
        for line in reversed(lines):
            if line:
                yield line[:MAX_LINE_BYTES]
        rest = rest[:MAX_LINE_BYTES]
    if rest:
        yield rest


def _open(path: Path) -> int:
    """Return a descriptor, or -1 where there is no such file (or a link in its place)."""
    try:
        return os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return -1


class _Follower:
    """The end of a log as it stands when this is made, and what is appended from then on.

    `partial` says that an incomplete last line counts as old: a dead child will not complete it.
    """

    def __init__(self, path: Path, *, partial: bool) -> None:
        self._path = path
        self.fd = _open(path)
        """-1 while there is no file."""
        self.offset = 0
        if self.fd >= 0:
            self.offset = os.fstat(self.fd).st_size if partial else self._last_line_start()
        self._partial = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def new_lines(self) -> list[bytes]:
        """Return the lines completed since the last call, at most one block's worth."""
        if self.fd < 0:
            self.fd = _open(self._path)
            if self.fd < 0:
                return []
        if os.fstat(self.fd).st_size < self.offset:  # cut after it was copied
            self.offset, self._partial = 0, b""
        block = os.pread(self.fd, _BLOCK, self.offset)
        self.offset += len(block)
        if not block and self._replaced():
            # What was written before the renaming has been read by now, and nobody writes to it any more.
            last = [self._partial] if self._partial else []
            self._close()
            self.offset, self._partial = 0, b""
            return last
        *lines, self._partial = (self._partial + block).split(b"\n")
        self._partial = self._partial[:MAX_LINE_BYTES]
        return [line[:MAX_LINE_BYTES] for line in lines if line]

    def _last_line_start(self) -> int:
        """Where the last line begins that is not complete: it is read whole later."""
        end = os.fstat(self.fd).st_size
        start = max(0, end - MAX_LINE_BYTES)
        newline = os.pread(self.fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        return end if start else 0

    def _replaced(self) -> bool:
        try:
            return self._path.stat().st_ino != os.fstat(self.fd).st_ino
        except OSError:
            return False

    def _close(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
