"""The store's door: everything that the supervisor writes down and reads back."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from codex_control.database import failures
from codex_control.database.opening import LOCK_WAIT_S, open_for_writing
from codex_control.database.pair import start_pair
from codex_control.database.reader import Reader
from codex_control.database.writer import Writer
from codex_control.errors import BadInput, StoreUnavailable
from codex_control.paths import make_private_dir
from codex_control.service.clock import Clock

from codex_supervisor.store import history, instances, journal, pages, shelf
from codex_supervisor.store.archive import Archive
from codex_supervisor.store.history import Question
from codex_supervisor.store.housekeeping import Housekeeper, Limits
from codex_supervisor.store.journal import InArchive
from codex_supervisor.store.records import (
    Cause,
    ChildRecord,
    CommandRecord,
    EventRow,
    FileRecord,
    InstanceRecord,
    TurnEnd,
    TurnRecord,
    TurnState,
    Usage,
)
from codex_supervisor.store.schema import JOURNAL


class Store:
    """SQLite behind two threads. Made by `open`; used on one event loop.

    A write that was awaited is in the database: `accept_turn`, `mark_sent`, `finish_turn` and the writes of instances
    and children are synced to the disk, the others survive the death of any process but not a power cut. Every method
    raises `StoreUnavailable` where the database cannot be used and `LimitExceeded` where the disk is full; both leave
    the store usable. A caller that is cancelled may have written: a turn is then found by its request id.
    """

    def __init__(self, path: Path, writer: Writer, reader: Reader, archive: Archive, limits: Limits) -> None:
        self.path = path
        self.quarantined: Path | None = None
        """Where a damaged database was set aside when this store was opened; None where it was sound."""
        self._file = path.lstat()
        self._writer = writer
        self._reader = reader
        self._archive = archive
        self._housekeeper = Housekeeper(writer, reader, archive, limits)
        self._housekeeping: asyncio.Task[None] | None = None

    def __repr__(self) -> str:
        return f"<Store {self.path} quarantined={self.quarantined} writer={self._writer!r} reader={self._reader!r}>"

    @classmethod
    async def open(
        cls,
        path: Path,
        *,
        archive_dir: Path,
        clock: Clock,
        entries_per_instance: int = 1000,
        on_commit: Callable[[float], None] | None = None,
        lock_wait_s: float = LOCK_WAIT_S,
    ) -> Store:
        """Open the database at `path`, or create it; a damaged one is set aside (`quarantined`).

        `on_commit` gets the seconds of every transaction that wrote, on the event loop. Raises `UnsafePath` where a
        directory or file is not ours alone, `StoreUnavailable` where the database is locked for longer than
        `lock_wait_s`, unwritable, of another program or of a newer version, and `LimitExceeded` on a full disk.
        """
        limits = Limits(entries_per_instance=entries_per_instance)
        archive = Archive(archive_dir)
        quarantined: list[Path | None] = []

        def connect() -> sqlite3.Connection:
            db, moved = open_for_writing(path, clock=clock, lock_wait_s=lock_wait_s, schema=JOURNAL)
            quarantined.append(moved)
            try:
                make_private_dir(archive_dir)
                shelf.keep_numbers_above(db, max((name.last for name in archive.names()), default=0))
            except BaseException as error:
                db.close()
                if isinstance(error, sqlite3.Error):
                    raise failures.explained(error, path) from error
                if isinstance(error, OSError):
                    raise failures.unwritable(archive_dir, error) from error
                raise
            return db

        writer, reader = await start_pair(path, connect, clock=clock, lock_wait_s=lock_wait_s, on_commit=on_commit)
        store = cls(path, writer, reader, archive, limits)
        store.quarantined = quarantined[-1]
        # The store owns this task: it is awaited in `close`, and `ping` fails when it has died.
        store._housekeeping = asyncio.get_running_loop().create_task(
            store._housekeeper.run(), name="store-housekeeping"
        )
        return store

    async def close(self) -> None:
        """Finish what waits and close the database. A second call does nothing."""
        if self._housekeeping is not None:
            self._housekeeping.cancel()
            await asyncio.wait([self._housekeeping])
        # The writer last: the last connection to close folds the log into the database and deletes it.
        await self._reader.close()
        await self._writer.close()

    async def ping(self) -> None:
        """Go through the writer and the database once; raises where the store does not work."""
        await self._writer.call(lambda db: db.execute("SELECT count(*) FROM instances").fetchone())
        if self._housekeeping is not None and self._housekeeping.done():
            raise StoreUnavailable(
                what="the store's housekeeping has died", why="of an error in the program", next_step="see the log"
            )

    # Limits

    @property
    def limits(self) -> Limits:
        """The limits in force."""
        return self._housekeeper.limits

    @property
    def removed_turns(self) -> int:
        """How many archived turns were deleted for the total size since the store was opened."""
        return self._housekeeper.removed_turns

    def set_limits(
        self,
        *,
        entries_per_instance: int | None = None,
        total_bytes: int | None = None,
        event_turns_per_instance: int | None = None,
        event_bytes: int | None = None,
    ) -> None:
        """Change limits (see `Limits`); those that are None stay. Housekeeping follows soon. Raises `BadInput`."""
        given = {
            "entries_per_instance": entries_per_instance,
            "total_bytes": total_bytes,
            "event_turns_per_instance": event_turns_per_instance,
            "event_bytes": event_bytes,
        }
        changed: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
        self._housekeeper.limits = replace(self._housekeeper.limits, **changed)
        self._housekeeper.look_at(None)

    async def tidy(self) -> None:
        """Do the housekeeping now and return when the limits hold."""
        await self._housekeeper.tidy()

    # Instances and children

    async def save_instance(self, record: InstanceRecord) -> None:
        """Insert or replace."""
        await self._writer.call(lambda db: instances.save_instance(db, record), durable=True)

    async def load_instances(self) -> list[InstanceRecord]:
        """All, by id."""
        return await self._reader.call(instances.load_instances)

    async def delete_instance(self, instance: str) -> None:
        """Forget the instance with all its turns (also unfinished ones), their events and its archive.

        Child records stay until `delete_child`. An unknown instance is no error.
        """
        async with self._housekeeper.steps:
            await self._remove_archive_of(instance)
            await self._writer.call(lambda db: instances.delete_instance(db, instance), durable=True)

    async def save_child(self, record: ChildRecord) -> None:
        """Insert or replace by token."""
        await self._writer.call(lambda db: instances.save_child(db, record), durable=True)

    async def delete_child(self, token: str) -> None:
        """Forget a child that is proven gone. An unknown token is no error."""
        await self._writer.call(lambda db: instances.delete_child(db, token), durable=True)

    async def load_children(self) -> list[ChildRecord]:
        """All, by token."""
        return await self._reader.call(instances.load_children)

    # Turns and events

    async def accept_turn(self, turn: TurnRecord, events: Sequence[EventRow]) -> tuple[TurnRecord, bool]:
        """Write down a new turn with its first events and return it with True; it is on the disk then.

        Where the `request_id` is known, also from the archive, nothing is written and the turn of that request is
        returned with False. A turn that is sent at once may be given with `thread_id` and `sent_ns` set, which saves
        `mark_sent`.
        """
        if not self._is_in_place():
            raise StoreUnavailable(
                what=f"the store {self.path} was removed or replaced while the service uses it",
                why="what is written from now on would be lost with its next start",
                next_step="end the service when its turns have ended (`codexctl shutdown`) and ask again",
            )
        cost = len(turn.request.prompt) + _events_bytes(events)
        known = await self._writer.call(lambda db: journal.accept(db, turn, events), durable=True, cost_bytes=cost)
        match known:
            case None:
                return turn, True
            case TurnRecord():
                return known, False
            case InArchive():
                archived = await self.get_turn(turn.request_id)
                if archived is None:
                    # It was cleared between the two; the request is new again.
                    return await self.accept_turn(turn, events)
                return archived, False

    def _is_in_place(self) -> bool:
        try:
            return os.path.samestat(self._file, self.path.lstat())
        except OSError:
            return False

    async def mark_sent(self, turn_id: str, *, thread_id: str, sent_ns: int) -> None:
        """Write down, before it is done, that the turn is sent.

        Raises `NotFound`, and `WrongState` where the turn has ended: it must not be sent then.
        """
        await self._writer.call(lambda db: journal.mark_sent(db, turn_id, thread_id, sent_ns), durable=True)

    async def mark_started(self, turn_id: str, *, codex_turn_id: str) -> None:
        """Write down Codex's id of the turn. Raises like `mark_sent`."""
        await self._writer.call(lambda db: journal.mark_started(db, turn_id, codex_turn_id))

    async def want_end(self, turn_id: str, cause: Cause) -> None:
        """Write down, before it is done, that the turn is to end for `cause`. Raises like `mark_sent`."""
        await self._writer.call(lambda db: journal.want_end(db, turn_id, cause))

    async def bump_recovery(self, turn_id: str, *, stopped: bool = False) -> int:
        """Count one more recovery of the turn and return the count; `stopped` where it follows a stop of the service.

        Raises like `mark_sent`.
        """
        return await self._writer.call(lambda db: journal.bump_recovery(db, turn_id, stopped=stopped))

    async def save_progress(
        self, turn_id: str, commands: Sequence[CommandRecord], files: Sequence[FileRecord], usage: Usage
    ) -> None:
        """Replace what the turn is known to have done so far. Raises like `mark_sent`."""
        await self._writer.call(lambda db: journal.save_progress(db, turn_id, commands, files, usage))

    async def append_events(self, turn_id: str, rows: Sequence[EventRow]) -> None:
        """Add events. Raises `NotFound`, and `WrongState` where the turn has ended or a sequence number is used."""
        await self._writer.call(lambda db: journal.append_events(db, turn_id, rows), cost_bytes=_events_bytes(rows))

    async def finish_turn(self, turn_id: str, end: TurnEnd, events: Sequence[EventRow]) -> TurnRecord | None:
        """Write the turn's outcome with its last events and return its record; None, nothing written, where it has one.

        Raises `NotFound`.
        """
        cost = len(end.answer) + len(end.reasoning) + _events_bytes(events)
        record = await self._writer.call(
            lambda db: journal.finish(db, turn_id, end, events), durable=True, cost_bytes=cost
        )
        if record is not None:
            self._housekeeper.look_at(record.instance)
        return record

    async def read_events(self, turn_id: str, after_seq: int, limit: int, max_bytes: int) -> list[EventRow]:
        """Events after `after_seq` in order: at least one where there is one, at most `limit`, about `max_bytes`.

        The events of a turn that ended long ago are gone: then the list is empty though `after_seq < last_seq`.
        Raises `NotFound`.
        """
        return await self._reader.call(lambda db: journal.read_events(db, turn_id, after_seq, limit, max_bytes))

    async def last_seq(self, turn_id: str) -> int:
        """The highest sequence number that the turn ever had, 0 where it had none. Raises `NotFound`."""
        return await self._reader.call(lambda db: journal.last_seq(db, turn_id))

    async def get_turn(self, id_or_request_id: str) -> TurnRecord | None:
        """The turn with that id or request id, also from the archive."""

        # Twice: the first time, the file may have been deleted behind the back of the snapshot.
        for _ in range(2):
            found, place = await self._reader.call(lambda db: history.find(db, self._archive, id_or_request_id))
            if found is not None or place is None:
                return found
        raise StoreUnavailable(
            what=f"the record of turn {id_or_request_id} cannot be read",
            why=f"the archive file {place.name if place else ''} is damaged",
            next_step="restore that file from a backup, or clear the history of its instance",
        )

    async def list_turns(
        self, instance: str | None, states: Collection[TurnState], limit: int, page_token: str
    ) -> tuple[list[TurnRecord], str]:
        """A page of turns in these states (none: all), newest first, and the next page's token ("" on the last).

        `limit` is 1 to 500; a page may be shorter where its turns are large. Raises `BadInput` for a bad token.
        """
        return await self._page("list", Question.of(instance, states), limit, page_token)

    async def unfinished_turns(self) -> list[TurnRecord]:
        """Turns without an outcome, in the order of their acceptance."""
        return await self._reader.call(journal.unfinished)

    # History: ended turns, in the order of their acceptance, across database and archive

    async def history_page(self, instance: str | None, limit: int, page_token: str) -> tuple[list[TurnRecord], str]:
        """A page, newest first; see `list_turns`."""
        return await self._page("history", Question.of(instance), limit, page_token)

    async def history_search(
        self, instance: str | None, text: str, limit: int, page_token: str
    ) -> tuple[list[TurnRecord], str]:
        """A page of turns whose prompt or answer holds `text`, in any case; see `list_turns`."""
        if not text:
            raise BadInput(what="the text to search for is empty", next_step="give at least one character")
        return await self._page("search", Question.of(instance, text=text), limit, page_token)

    async def history_export(self, instance: str | None) -> AsyncIterator[TurnRecord]:
        """All that ended and was accepted before the call, oldest first, a slice in memory at a time."""
        question = Question.of(instance)
        until = await self._reader.call(history.newest_number)
        above: int | None = 0
        while above is not None:
            read = partial(
                history.newer,
                archive=self._archive,
                question=question,
                above=above,
                until=until,
                turns=history.SLICE_TURNS,
            )
            part = await self._reader.call(read)
            for entry in part.entries:
                yield entry.turn
            above = part.reached
        await self._nobody_reads_on()

    async def history_clear(self, instance: str) -> int:
        """Delete the ended turns of the instance, archive included; return how many they were."""
        async with self._housekeeper.steps:
            await self._remove_archive_of(instance)
            return await self._writer.call(lambda db: shelf.clear(db, instance), durable=True)

    async def _page(self, kind: str, question: Question, limit: int, token: str) -> tuple[list[TurnRecord], str]:
        pages.checked_limit(limit)
        digest = pages.question_digest(kind, question.instance, question.text, *sorted(question.states))
        below: int | None = pages.page_start(digest, token)
        found: list[history.Entry] = []
        size = 0
        while below is not None:
            # One more than asked for: it tells whether there is another page.
            wanted = limit + 1 - len(found) if question.text is None else history.SLICE_TURNS
            read = partial(
                history.older,
                archive=self._archive,
                question=question,
                below=below,
                turns=min(wanted, history.SLICE_TURNS),
            )
            part = await self._reader.call(read)
            below = part.reached
            for entry in part.entries:
                size += entry.bytes
                if len(found) == limit or (found and size > pages.MAX_PAGE_BYTES):
                    await self._nobody_reads_on()
                    return [old.turn for old in found], pages.page_token(digest, found[-1].number)
                found.append(entry)
        await self._nobody_reads_on()
        return [entry.turn for entry in found], ""

    async def _nobody_reads_on(self) -> None:
        # A caller that is cancelled does not get here: then a few megabytes wait for the next reading.
        await self._reader.call(lambda _db: self._archive.drop_cache())

    async def _remove_archive_of(self, instance: str) -> None:
        """Delete the archive files of the instance, before the database forgets them (see `housekeeping`)."""

        def remove(_db: sqlite3.Connection) -> None:
            for name in self._archive.names():
                if name.instance == instance:
                    self._archive.remove(name.name)

        try:
            await self._reader.call(remove)
        except OSError as error:
            raise failures.unwritable(self._archive.directory, error) from error


def _events_bytes(rows: Sequence[EventRow]) -> int:
    return sum(len(row.payload) for row in rows)
