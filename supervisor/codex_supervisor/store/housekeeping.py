"""What keeps the store small: old turns to the archive, old events away, all of it below one size.

Order that makes it safe against a death at any line: an archive file is on the disk before the database forgets the
turns, and a file is deleted before the database forgets the file. So a crash leaves a file that nothing points to,
with turns that are still in the database (`_reconcile` drops it), or an index entry without a file (dropped too);
never a lost turn and never a cleared one that comes back.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from functools import partial

from codex_control.database.reader import Reader
from codex_control.database.writer import Writer
from codex_control.errors import BadInput, CodexError

from codex_supervisor.store import shelf
from codex_supervisor.store.archive import Archive, WrittenFile

_log = logging.getLogger(__name__)

MOVE_TURNS = 40
"""Most turns that one transaction moves to the archive; about 5 ms."""

PRUNE_ROWS = 2000
"""Most events that one transaction deletes; about 5 ms."""

VACUUM_PAGES = 500
"""Most pages that one transaction gives back to the file system."""

VACUUM_FROM_PAGES = 2000
"""Free pages below this number are kept for new turns (8 MiB)."""

# Turns that end this soon after one another are tidied up after together, and nobody waits for an answer beside it.
_GATHER_S = 0.25


@dataclass(frozen=True)
class Limits:
    """How much is kept. Bytes are those of the disk, without the write-ahead log (at most 16 MiB more when idle)."""

    entries_per_instance: int = 1000
    """Ended turns of one instance in the database; older ones move to the archive."""
    total_bytes: int = 1024**3
    """Database and archive together; past it the oldest archive files are deleted."""
    event_turns_per_instance: int = 20
    """Ended turns of one instance whose events are kept for replay."""
    event_bytes: int = 64 * 1024**2
    """Events of all ended turns together."""

    def __post_init__(self) -> None:
        least = {"entries_per_instance": 1, "total_bytes": 1, "event_turns_per_instance": 0, "event_bytes": 0}
        for name, minimum in least.items():
            value = getattr(self, name)
            if value < minimum:
                raise BadInput(what=f"{name} is {value}", why=f"it must be at least {minimum}")


class Housekeeper:
    """Keeps the store within its limits, in the background and in small steps."""

    def __init__(self, writer: Writer, reader: Reader, archive: Archive, limits: Limits) -> None:
        self.limits = limits
        self.removed_turns = 0
        """Turns that were deleted for `total_bytes` since the store was opened."""
        self.steps = asyncio.Lock()
        """Held for each step that touches archive files; whoever deletes turns or files holds it too."""
        self._writer = writer
        self._reader = reader
        self._archive = archive
        self._passes = asyncio.Lock()
        self._reconciled = False
        self._everything = True
        self._crowding: set[str] = set()
        self._over_limit_told = False
        self._wake = asyncio.Event()
        self._wake.set()

    def look_at(self, instance: str | None) -> None:
        """Say that a turn of the instance has ended, or (None) that the limits have changed."""
        if instance is None:
            self._everything = True
        else:
            self._crowding.add(instance)
        self._wake.set()

    async def run(self) -> None:
        """Tidy whenever there is a reason. An error (a full disk) is logged, and tried again at the next reason."""
        while True:
            await self._wake.wait()
            await asyncio.sleep(_GATHER_S)
            self._wake.clear()
            try:
                await self.tidy()
            except (CodexError, OSError):
                _log.warning("housekeeping of the store failed and is tried again later", exc_info=True)

    async def tidy(self) -> None:
        """Bring the store within its limits now."""
        async with self._passes:
            await self._tidy()

    async def _tidy(self) -> None:
        if not self._reconciled:
            await self._reconcile()
            self._reconciled = True
        instances = None if self._everything else frozenset(self._crowding)
        self._everything = False
        self._crowding.clear()
        try:
            await self._archive_crowded(instances)
            await self._prune(instances)
            await self._shrink()
        except BaseException:
            self._everything = True
            raise

    async def _reconcile(self) -> None:
        """Make the index and the directory agree, after a crash or with a fresh database."""
        # A single stat or unlink is done on the loop, like the log's writes; what reads or writes files is not.
        async with self.steps:
            present = {
                name.name: name for name in await self._reader.call(partial(shelf.list_files, archive=self._archive))
            }
            known = await self._reader.call(shelf.known_files)
        for missing in sorted(known - present.keys()):
            turns = await self._writer.call(partial(shelf.forget_file, name=missing))
            _log.warning("an archive file is gone", extra={"archive_file": missing, "turns": turns})
        for stray in sorted(present.keys() - known):
            async with self.steps:
                lines = await self._reader.call(partial(shelf.read_index, archive=self._archive, name=stray))
                size = self._archive.size_bytes(stray)
                adopt = partial(shelf.adopt_file, name=present[stray], size_bytes=size, lines=lines)
                new = await self._writer.call(adopt, durable=True)
                if lines and not new:
                    self._archive.remove(stray)
            _log.info("an archive file was taken in", extra={"archive_file": stray, "turns": new})

    async def _archive_crowded(self, instances: frozenset[str] | None) -> None:
        limit = self.limits.entries_per_instance
        for instance, turns in await self._reader.call(partial(shelf.crowded, limit=limit, instances=instances)):
            # A quarter more than needed, so that a file holds many turns and not the one that was too much.
            await self._to_archive(instance, turns - limit + limit // 4)

    async def _to_archive(self, instance: str, turns: int) -> None:
        while turns > 0:
            async with self.steps:
                copy = partial(shelf.write_oldest, archive=self._archive, instance=instance, turns=turns)
                written: WrittenFile | None = await self._reader.call(copy)
                if written is None:
                    return
                try:
                    register = partial(shelf.register, written=written, turns=MOVE_TURNS)
                    file = await self._writer.call(register, durable=True)
                except CodexError:
                    # The file is not deleted here: a commit that reports an error may still be found in the log.
                    # What the database says next time decides.
                    self._reconciled = False
                    raise
                # In portions, so that an accept behind one waits for milliseconds. Where the rest fails, or a crash
                # comes between, the turns that were not moved are read from the database and move another time.
                for start in range(MOVE_TURNS, len(written.offsets), MOVE_TURNS):
                    part = written.offsets[start : start + MOVE_TURNS]
                    await self._writer.call(partial(shelf.move_turns, file=file, offsets=part), durable=True)
            turns -= len(written.offsets)
            _log.info("turns were archived", extra={"instance": instance, "turns": len(written.offsets)})

    async def _prune(self, instances: frozenset[str] | None) -> None:
        limits = self.limits
        turns = await self._reader.call(
            lambda db: shelf.prunable(db, limits.event_turns_per_instance, instances, limits.event_bytes)
        )
        if turns:
            await self._writer.call(partial(shelf.begin_prune, turns=turns))
        if turns or instances is None:  # the latter: what a crash left half done
            while await self._writer.call(partial(shelf.prune_some, rows=PRUNE_ROWS)):
                pass

    async def _shrink(self) -> None:
        """Delete the oldest while all is larger than `total_bytes`; give free pages back."""
        size = await self._reader.call(shelf.measure)
        while size.database_bytes + size.archive_bytes > self.limits.total_bytes:
            oldest = await self._reader.call(shelf.oldest_file)
            if oldest is not None:
                await self._remove_file(oldest)
            else:
                instance = await self._reader.call(shelf.oldest_instance)
                if instance is None:
                    self._tell_over_limit(size)
                    break
                await self._to_archive(instance, max(1, self.limits.entries_per_instance // 4))
            size = await self._reader.call(shelf.measure)
        if size.free_pages > max(VACUUM_FROM_PAGES, size.pages // 4):
            for _ in range(0, size.free_pages, VACUUM_PAGES):
                await self._writer.call(partial(shelf.give_back, pages=VACUUM_PAGES))

    async def _remove_file(self, name: str) -> None:
        async with self.steps:
            self._archive.remove(name)
            turns = await self._writer.call(partial(shelf.forget_file, name=name))
        self.removed_turns += turns
        _log.warning(
            "the store is over its size limit: an old archive file was deleted",
            extra={"archive_file": name, "turns": turns, "total_bytes": self.limits.total_bytes},
        )

    def _tell_over_limit(self, size: shelf.Size) -> None:
        if not self._over_limit_told:
            self._over_limit_told = True
            _log.warning(
                "the store is over its size limit and nothing more can be deleted",
                extra={"bytes": size.database_bytes, "total_bytes": self.limits.total_bytes},
            )
