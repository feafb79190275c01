"""Archive files: ended turns of one instance, compressed.

A file is a row of gzip members, so `zcat` reads it whole and we read one turn without the rest: the database knows the
member's offset. A member holds JSON lines of about `MEMBER_BYTES`. The name is `FIRST-LAST@INSTANCE.jsonl.gz`, where
FIRST and LAST are numbers of turns and INSTANCE is percent-encoded; it says enough to rebuild the database's index. A
file is written under another name, synced and renamed, and never changed afterwards.

Everything here blocks and runs in the reader's thread; only `remove` and `size_bytes` may be called from elsewhere.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from io import BufferedReader, BufferedWriter
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from codex_supervisor.store.records import TurnRecord
from codex_supervisor.store.rows import to_json

_log = logging.getLogger(__name__)

MEMBER_BYTES = 64 * 1024
"""Uncompressed size at which a member is closed: twice the window of deflate, so little compression is lost."""

_NAME = re.compile(r"(\d{16})-(\d{16})@([^/]*)\.jsonl\.gz")
_TEMPORARY = ".tmp"
# zlib: 16 + window bits means "with gzip's header and checksum".
_GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS
_GZIP_MAGIC = b"\x1f\x8b\x08"
_READ_BYTES = 64 * 1024


CACHE_BYTES = 8 * 1024 * 1024
"""Unpacked members that are kept while somebody reads on, so that turns of many instances, whose members take turns,
unpack each member once."""


class ArchivedTurn(msgspec.Struct, frozen=True):
    """One line: the turn, its number, and the highest sequence number of its events, which are not archived."""

    number: int
    last_seq: int
    turn: TurnRecord


class TurnKeys(msgspec.Struct, frozen=True):
    """What a turn is found by."""

    id: str
    request_id: str
    instance: str


class ArchivedKeys(msgspec.Struct, frozen=True):
    """The part of a line that the index needs."""

    number: int
    last_seq: int
    turn: TurnKeys


@dataclass(frozen=True)
class ArchiveName:
    """What a file's name says."""

    name: str
    first: int
    last: int
    instance: str

    @classmethod
    def parse(cls, name: str) -> ArchiveName | None:
        """None where it is no archive file's name."""
        match = _NAME.fullmatch(name)
        return match and cls(name, int(match[1]), int(match[2]), unquote(match[3]))

    @classmethod
    def of(cls, first: int, last: int, instance: str) -> ArchiveName:
        """The name for a span of turns."""
        return cls(f"{first:016d}-{last:016d}@{quote(instance, safe='')}.jsonl.gz", first, last, instance)


@dataclass(frozen=True)
class WrittenFile:
    """A new file; `offsets` says for each turn where its member begins."""

    name: ArchiveName
    bytes: int
    offsets: tuple[tuple[int, int], ...]


class Archive:
    """The archive directory. Damage is logged once for each file; what is readable is returned."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._turns = msgspec.json.Decoder(ArchivedTurn)
        self._keys = msgspec.json.Decoder(ArchivedKeys)
        self._cache: OrderedDict[tuple[str, int], dict[int, bytes]] = OrderedDict()
        self._cached_bytes = 0
        self._reported: set[str] = set()

    def names(self) -> list[ArchiveName]:
        """All files, oldest first. What an interrupted writing left is removed."""
        found: list[ArchiveName] = []
        for entry in sorted(self.directory.iterdir()):
            if entry.name.endswith(_TEMPORARY):
                entry.unlink(missing_ok=True)
            elif (name := ArchiveName.parse(entry.name)) is not None:
                found.append(name)
        return found

    def size_bytes(self, name: str) -> int:
        """Size on disk."""
        return (self.directory / name).stat().st_size

    def write(self, instance: str, turns: Iterable[ArchivedTurn]) -> WrittenFile:
        """Write turns of one instance, in the order of their numbers, to a new file. Raises `OSError`."""
        descriptor, temporary = tempfile.mkstemp(suffix=_TEMPORARY, dir=self.directory)  # mode 0600
        try:
            with os.fdopen(descriptor, "wb") as file:
                offsets = _write_members(file, turns)
                file.flush()
                os.fsync(file.fileno())
                size = file.tell()
            name = ArchiveName.of(offsets[0][0], offsets[-1][0], instance)
            Path(temporary).rename(self.directory / name.name)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
        self._sync()
        return WrittenFile(name, size, tuple(offsets))

    def read_turn(self, name: str, offset: int, number: int) -> TurnRecord | None:
        """The turn with that number in the member at `offset`; None where it is damaged or gone."""
        lines = self._cache.get((name, offset))
        if lines is None:
            lines = self._read_member(name, offset)
            self._remember(name, offset, lines)
        line = lines.get(number)
        return None if line is None else self._turns.decode(line).turn

    def drop_cache(self) -> None:
        """Forget what was unpacked: nobody reads on."""
        self._cache.clear()
        self._cached_bytes = 0

    def _read_member(self, name: str, offset: int) -> dict[int, bytes]:
        try:
            with self._open(name) as file:
                file.seek(offset)
                text, complete, _ = _read_member(file)
        except FileNotFoundError:
            # Removed while a page was read, or by a person; housekeeping notices the latter.
            return {}
        except (OSError, zlib.error) as error:
            self._report(name, str(error))
            return {}
        return {keys.number: line for keys, line in self._lines(name, text, complete=complete)}

    def _remember(self, name: str, offset: int, lines: dict[int, bytes]) -> None:
        self._cache[name, offset] = lines
        self._cached_bytes += _held_bytes(lines)
        while self._cached_bytes > CACHE_BYTES:
            _, old = self._cache.popitem(last=False)
            self._cached_bytes -= _held_bytes(old)

    def scan(self, name: str) -> Iterator[tuple[int, ArchivedKeys]]:
        """The keys of all readable turns of a file, with the offsets of their members, member by member."""
        offset = 0
        try:
            with self._open(name) as file:
                while file.seek(offset) == offset and file.peek(1):
                    try:
                        text, complete, length = _read_member(file)
                    except zlib.error as error:
                        self._report(name, str(error))
                        offset = _next_member(file, offset + 1)
                        continue
                    for keys, _ in self._lines(name, text, complete=complete):
                        yield offset, keys
                    offset += length
        except FileNotFoundError:
            return
        except OSError as error:
            self._report(name, str(error))

    def remove(self, name: str) -> None:
        """Delete a file; a missing one is no error."""
        (self.directory / name).unlink(missing_ok=True)
        self._reported.discard(name)

    def _open(self, name: str) -> BufferedReader:
        descriptor = os.open(self.directory / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        return os.fdopen(descriptor, "rb")

    def _lines(self, name: str, text: bytes, *, complete: bool) -> Iterator[tuple[ArchivedKeys, bytes]]:
        *lines, rest = text.split(b"\n")
        if rest or not complete:
            self._report(name, "it is cut off")
        for line in lines:
            try:
                keys = self._keys.decode(line)
            except msgspec.DecodeError as error:
                self._report(name, str(error))
            else:
                yield keys, line

    def _report(self, name: str, why: str) -> None:
        if name not in self._reported:
            self._reported.add(name)
            _log.error(
                "an archive file is damaged; what is readable is shown",
                extra={"path": str(self.directory / name), "why": why},
            )

    def _sync(self) -> None:
        directory = os.open(self.directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)


def _held_bytes(lines: dict[int, bytes]) -> int:
    # An empty dictionary, of a damaged member, takes room too.
    return 256 + sum(100 + len(line) for line in lines.values())


def _write_members(file: BufferedWriter, turns: Iterable[ArchivedTurn]) -> list[tuple[int, int]]:
    """Write the members; return for each turn the offset of its member."""
    offsets: list[tuple[int, int]] = []
    packer = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)
    start = size = 0
    for turn in turns:
        if size >= MEMBER_BYTES:
            file.write(packer.flush())
            packer = zlib.compressobj(wbits=_GZIP_WINDOW_BITS)
            start, size = file.tell(), 0
        line = to_json(turn) + b"\n"
        file.write(packer.compress(line))
        size += len(line)
        offsets.append((turn.number, start))
    file.write(packer.flush())
    return offsets


def _read_member(file: BufferedReader) -> tuple[bytes, bool, int]:
    """Unpack the member that begins here: its text, whether it is whole, and its packed length.

    Raises `zlib.error` where the bytes are no gzip or the checksum is wrong: a changed answer must not pass for one.
    """
    unpacker = zlib.decompressobj(wbits=_GZIP_WINDOW_BITS)
    text = bytearray()
    length = 0
    while not unpacker.eof and (packed := file.read(_READ_BYTES)):
        text += unpacker.decompress(packed)
        length += len(packed)
    return bytes(text), unpacker.eof, length - len(unpacker.unused_data)


def _next_member(file: BufferedReader, offset: int) -> int:
    """Where the next member may begin, at `offset` or behind it; the file's end where none does."""
    overlap = len(_GZIP_MAGIC) - 1
    file.seek(offset)
    block = file.read(_READ_BYTES)
    while len(block) > overlap:
        found = block.find(_GZIP_MAGIC)
        if found >= 0:
            return offset + found
        offset += len(block) - overlap
        block = block[-overlap:] + file.read(_READ_BYTES)
    return offset + len(block)
