"""Keeps the state files of tasks as the tasks are.

A task is *open* here while its file may be behind: from before it is accepted until its end has been written. Open ones
are marked on the disk, by an empty file each, so that the next supervisor brings up to date what a crash left. Engines
tell which tasks change; what a file says is read anew each time, so that the order of news does not matter.

A file that cannot be written costs the file and nothing else: its task runs on, and says so.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from pathlib import Path
from zlib import crc32

from codex_control.errors import CodexError, NotFound
from codex_control.paths import make_private_dir
from codex_control.service.clock import Clock

from codex_supervisor.task.contract import Engine
from codex_supervisor.task.records import TaskRecord, check_id
from codex_supervisor.task.state_file import document, place_of, write_file

_log = logging.getLogger(__name__)

# Records read at once: each may hold a prompt of a megabyte.
_BATCH = 16

# Between two tries to write a file, or to read from an engine that is away.
_RETRY_S = 5.0

# For so long after its end is a file that cannot be written tried again.
_GIVE_UP_NS = 3600 * 10**9

# A submit, or the news of an end, waits so long for the file; on a directory that hangs it comes later.
_PATIENCE_S = 1.0


class Mirror:
    """See the module. `folder` holds the marks; `run` is the worker's."""

    def __init__(
        self,
        engine: Engine,
        folder: Path,
        *,
        clock: Clock,
        run: str,
        enabled: Callable[[], bool] = lambda: True,
        on_error: Callable[[], None] = lambda: None,
    ) -> None:
        self._engine = engine
        self._folder = folder
        self._clock = clock
        self._run = run
        self._enabled = enabled
        self._on_error = on_error
        self._open: dict[str, int] = {}
        """Checksum of what was written last, by task."""
        self._errors: dict[str, str] = {}
        self._wanted: dict[str, None] = {}
        self._writing: set[str] = set()
        """Read and written right now."""
        self._fresh: dict[str, TaskRecord] = {}
        """Wanted ones that need not be read: nothing was heard of them since."""
        self._later: set[str] = set()
        self._retry_at = 0.0
        self._waiting: dict[str, list[asyncio.Future[None]]] = {}
        self._news = asyncio.Event()
        engine.signals.on_change(self._changed)

    def __repr__(self) -> str:
        return f"<Mirror open={len(self._open)} wanted={len(self._wanted)} failing={len(self._errors)}>"

    # --- which tasks ------------------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Take up what an earlier supervisor left open. Blocks for a moment: called once, before anything runs."""
        make_private_dir(self._folder)
        for name in os.listdir(self._folder):  # noqa: PTH208 (there may be 10,000)
            with contextlib.suppress(CodexError):
                self._open.setdefault(check_id(name), 0)
        self._changed(None)

    def open(self, task_id: str) -> None:
        """Have the task's file kept up to date from now on."""
        if task_id in self._open or not self._enabled():
            return
        self._open[task_id] = 0
        try:
            descriptor = os.open(self._folder / task_id, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            # Only a crash would need it.
            _log.warning("task_mark_not_written", extra={"task": task_id, "why": str(error)})
        else:
            os.close(descriptor)

    def forget(self, task_id: str) -> None:
        """Look after it no longer: nothing more changes, or there is no such task."""
        self._open.pop(task_id, None)
        self._errors.pop(task_id, None)
        self._later.discard(task_id)
        self._fresh.pop(task_id, None)
        with contextlib.suppress(OSError):
            (self._folder / task_id).unlink()

    def error_of(self, task_id: str) -> str:
        """Return why the task's file could not be written; empty where it could."""
        return self._errors.get(task_id, "")

    async def up_to_date(self, *task_ids: str) -> None:
        """Return when the files say what the tasks are by now, or cannot be written, or a second has passed."""
        waiting = [self._next_write(task_id) for task_id in task_ids if task_id in self._open]
        if waiting:
            self._changed(task_ids)
            await asyncio.wait(waiting, timeout=_PATIENCE_S)

    def _next_write(self, task_id: str) -> asyncio.Future[None]:
        done = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(task_id, []).append(done)
        return done

    async def begin(self, record: TaskRecord) -> None:
        """Write the first file of a task that is opened, from `record` as it is now; returns as `up_to_date` does."""
        task_id = record.id
        if task_id not in self._open:
            return
        waiting = self._next_write(task_id)
        # Where news of the task were faster, what they say is newer.
        if not self._open[task_id] and task_id not in self._wanted and task_id not in self._writing:
            self._fresh[task_id] = record
        self._wanted[task_id] = None
        self._news.set()
        await asyncio.wait([waiting], timeout=_PATIENCE_S)

    def _changed(self, task_ids: Collection[str] | None) -> None:
        for task_id in self._open if task_ids is None else task_ids:
            if task_id in self._open:
                self._wanted[task_id] = None
                self._fresh.pop(task_id, None)
        if self._wanted:
            self._news.set()

    # --- writing ----------------------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Write what changes, until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._until_retry_s()):
                    await self._news.wait()
            self._news.clear()
            if self._later and self._until_retry_s() == 0:
                self._wanted.update(dict.fromkeys(self._later))
                self._later.clear()
                self._retry_at = self._clock.monotonic() + _RETRY_S
            await self.write_all()

    def _until_retry_s(self) -> float | None:
        return max(0.0, self._retry_at - self._clock.monotonic()) if self._later else None

    async def write_all(self) -> None:
        """Write what is behind."""
        while batch := list(islice(self._wanted, _BATCH)):
            # Whoever comes to wait from here on waits for a later look: this one may miss what they know of.
            waiting = [done for task_id in batch for done in self._waiting.pop(task_id, ())]
            for task_id in batch:
                del self._wanted[task_id]
            self._writing.update(batch)
            try:
                await self._write_batch(batch)
            finally:
                self._writing.difference_update(batch)
                for done in waiting:
                    if not done.done():
                        done.set_result(None)

    async def _write_batch(self, batch: list[str]) -> None:
        try:
            records = await self._read(batch)
        except CodexError as error:
            _log.warning("task_mirror_waits", extra={"why": str(error)})
            self._later.update(batch)
            return
        due = []
        for record in records:
            content = document(record)
            checksum = crc32(content)
            if self._open.get(record.id) == checksum and not record.ended:
                continue
            due.append((record, content, checksum))
        failures = await asyncio.to_thread(self._write_files, [(record, content) for record, content, _ in due])
        for (record, _, checksum), failure in zip(due, failures, strict=True):
            self._written(record, checksum, failure)

    async def _read(self, batch: list[str]) -> list[TaskRecord]:
        found = [self._fresh.pop(task_id) for task_id in batch if task_id in self._fresh]
        known = {record.id for record in found}
        unread = [task_id for task_id in batch if task_id not in known]
        if not unread:
            return found
        try:
            return [*found, *await self._engine.get_many(unread)]
        except NotFound:
            pass
        for task_id in unread:
            try:
                found.append(await self._engine.get(task_id))
            except NotFound:
                # Pruned, or never accepted. Its file, where there is one, is the user's by now.
                self.forget(task_id)
        return found

    def _write_files(self, due: Iterable[tuple[TaskRecord, bytes]]) -> list[OSError | None]:
        failures: list[OSError | None] = []
        for record, content in due:
            try:
                write_file(place_of(record.request), f"{record.id}.json", content, run=self._run)
            except OSError as error:
                failures.append(error)
            else:
                failures.append(None)
        return failures

    def _written(self, record: TaskRecord, checksum: int, error: OSError | None) -> None:
        task_id = record.id
        if task_id not in self._open:
            return
        if error is None:
            if self._errors.pop(task_id, None) is not None:
                _log.info("task_file_written_again", extra={"task": task_id})
            self._open[task_id] = checksum
            if record.ended and task_id not in self._wanted:
                self.forget(task_id)
            return
        self._on_error()
        where = place_of(record.request).directory
        if task_id not in self._errors:
            _log.warning("task_file_not_written", extra={"task": task_id, "why": str(error)})
        self._errors[task_id] = f"the state file in {where} cannot be written: {error.strerror or error}"
        self._open[task_id] = 0
        late = record.status.ended_ns is not None and self._clock.wall_ns() - record.status.ended_ns > _GIVE_UP_NS
        if late or (isinstance(error, FileNotFoundError) and not record.request.state_dir and record.ended):
            self.forget(task_id)
        else:
            self._later.add(task_id)
