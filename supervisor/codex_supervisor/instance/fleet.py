"""All instances of the user: found by name, workspace or Claude session, made where they do not exist, watched."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from pathlib import PurePosixPath

import msgspec
from codex_control.errors import BadInput, CodexError, NotFound, WrongState
from codex_control.service.nearest import did_you_mean
from codex_control.service.owned_tasks import News
from codex_control.v1 import instances_pb2

from codex_supervisor.child import logfile
from codex_supervisor.house import House
from codex_supervisor.instance.children import stderr_log
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.instance.states import running_turn, state_name
from codex_supervisor.store.records import InstanceRecord, LeaseRecord, SettingsRecord

_log = logging.getLogger(__name__)

MAX_INSTANCES = 10_000
"""Known instances at most: a client that makes up names must not fill the memory."""

# As many of a session id as its instance is called by.
_SESSION_CHARACTERS = 8

_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NOT_ID = re.compile(r"[^A-Za-z0-9._-]+")


class Fleet:
    """The instances by id. `news` tells of every change, and `versions` which of them it was."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.shells: dict[str, InstanceShell] = {}
        self.news = News()
        self.versions: dict[str, int] = {}
        self.claude_sessions: dict[str, str] = {}
        """Instance of every Claude Code session that was ever shown with it."""
        self._claude_processes: dict[tuple[int, int], str] = {}
        self._going: set[str] = set()
        """Instances whose deletion is on its way to the disk: their names are not free before it is there."""
        self._version = 0

    def load(self, records: list[InstanceRecord]) -> None:
        """Take in what the store knows."""
        for record in records:
            shell = self.shells[record.id] = InstanceShell(record, self.house, self._changed)
            shell.recorded = True
            known = record.claude_sessions or ((record.claude_session,) if record.claude_session else ())
            self.hold(shell, known, record.leases)

    def _changed(self, shell: InstanceShell) -> None:
        if self.shells.get(shell.record.id) is shell:
            self._version += 1
            self.versions[shell.record.id] = self._version
        self.news.tell()

    def _remove(self, shell: InstanceShell) -> None:
        del self.shells[shell.record.id]
        self.versions.pop(shell.record.id, None)

    # --- finding ----------------------------------------------------------------------------------------------------

    def find(self, ref: instances_pb2.InstanceRef) -> InstanceShell:
        """Return the instance that `ref` names; raise `NotFound` with the nearest name, `BadInput` for an empty one."""
        shell = self.lookup(ref)
        if shell is None:
            if ref.WhichOneof("ref") == "claude_process":
                raise _not_bound(ref.claude_process.pid)
            wanted = ref.id or ref.workspace or ref.claude_session
            raise NotFound(
                what=f"there is no instance {wanted[:200]!r}",
                next_step=did_you_mean(ref.id, self.shells) or "list them with `codexctl status`",
            )
        return shell

    async def find_or_make(self, ref: instances_pb2.InstanceRef, cwd: str) -> InstanceShell:
        """Return the instance that `ref` names, made where it does not exist."""
        shell = self.lookup(ref) or self.add(ref, cwd)
        if not shell.recorded:
            # Before it takes a turn, also where an earlier try failed: of turns without it the next start keeps none.
            await self.house.store.save_instance(shell.record)
            shell.recorded = True
            self._changed(shell)
        return shell

    def add(self, ref: instances_pb2.InstanceRef, cwd: str) -> InstanceShell:
        """Make a new instance; the caller writes it. It is in the table at once: two asks for one name find one."""
        if ref.WhichOneof("ref") == "claude_process":
            raise _not_bound(ref.claude_process.pid)
        if len(self.shells) >= MAX_INSTANCES:
            raise WrongState(
                what=f"{MAX_INSTANCES} instances are known already",
                next_step="delete some with `codexctl delete`",
            )
        name = self._new_id(ref)
        if name in self._going:
            raise WrongState(what=f"instance {name} is being deleted", next_step="ask again when it is gone")
        record = InstanceRecord(
            id=name,
            created_ns=self.house.clock.wall_ns(),
            workspace=ref.workspace,
            claude_session=ref.claude_session,
            settings=SettingsRecord(cwd=cwd or ref.workspace),
        )
        shell = self.shells[record.id] = InstanceShell(record, self.house, self._changed)
        if ref.claude_session:
            self.hold(shell, (ref.claude_session,), ())
        return shell

    def lookup(self, ref: instances_pb2.InstanceRef) -> InstanceShell | None:
        """Return the instance that `ref` names, or None; raise `BadInput` for what cannot be a name."""
        match ref.WhichOneof("ref"):
            case "id":
                if not _ID.fullmatch(ref.id):
                    raise BadInput(
                        what=f"{ref.id[:80]!r} cannot be the name of an instance",
                        why="a name has 1 to 64 letters, digits, `.`, `_` or `-`, and begins with a letter or digit",
                        next_step=f"try {_as_id(ref.id)!r}",
                    )
                return self.shells.get(ref.id)
            case "workspace":
                if not PurePosixPath(ref.workspace).is_absolute():
                    raise BadInput(
                        what=f"the workspace {ref.workspace[:200]!r} is not an absolute path",
                        next_step="send an absolute path",
                    )
                return next((s for s in self.shells.values() if s.record.workspace == ref.workspace), None)
            case "claude_session":
                return self.shells.get(self.claude_sessions.get(ref.claude_session, ""))
            case "claude_process":
                return self.shells.get(self._claude_holder(ref.claude_process))
            case _:
                raise BadInput(what="no instance is named", next_step="give its id, workspace or Claude session")

    def _new_id(self, ref: instances_pb2.InstanceRef) -> str:
        match ref.WhichOneof("ref"):
            case "workspace":
                base = _as_id(PurePosixPath(ref.workspace).name)
            case "claude_session":
                # Session ids are UUIDs; their beginning tells sessions apart for people.
                base = _as_id(f"claude-{ref.claude_session[:_SESSION_CHARACTERS]}")
            case _:
                return ref.id
        name, number = base, 1
        while name in self.shells or name in self._going:
            number += 1
            name = f"{base[:58]}-{number}"
        return name

    # --- Claude Code ------------------------------------------------------------------------------------------------

    def hold(self, shell: InstanceShell, sessions: tuple[str, ...], leases: tuple[LeaseRecord, ...]) -> None:
        """Give an instance these Claude Code sessions and processes in place of those it had; the caller writes it."""
        record = shell.record
        for session in record.claude_sessions:
            if self.claude_sessions.get(session) == record.id:
                del self.claude_sessions[session]
        for lease in record.leases:
            if self._claude_processes.get((lease.pid, lease.start_time)) == record.id:
                del self._claude_processes[lease.pid, lease.start_time]
        self.claude_sessions.update(dict.fromkeys(sessions, record.id))
        living = ((lease.pid, lease.start_time) for lease in leases if lease.gone_ns is None)
        self._claude_processes.update(dict.fromkeys(living, record.id))
        shell.record = msgspec.structs.replace(
            record, claude_session=sessions[-1] if sessions else "", claude_sessions=sessions, leases=leases
        )
        self._changed(shell)

    def _claude_holder(self, process: instances_pb2.ClaudeProcess) -> str:
        if process.start_time:
            return self._claude_processes.get((process.pid, process.start_time), "")
        return next((name for (pid, _), name in self._claude_processes.items() if pid == process.pid), "")

    # --- tasks ---------------------------------------------------------------------------------------------------

    async def make_for_task(self, record: InstanceRecord) -> InstanceShell:
        """Make the instance that an attempt of a task runs on; it is on the disk then."""
        shell = self.shells[record.id] = InstanceShell(record, self.house, self._changed)
        try:
            await self.house.store.save_instance(record)
        except BaseException:
            if self.shells.get(record.id) is shell:
                self._remove(shell)
            raise
        self._changed(shell)
        return shell

    def of_tasks(self) -> list[InstanceShell]:
        """Return the instances that belong to tasks."""
        return [shell for shell in self.shells.values() if shell.record.task is not None]

    # --- the whole --------------------------------------------------------------------------------------------------

    async def delete(self, shell: InstanceShell, force: bool, timeout_s: float) -> None:
        """Stop the instance and forget it with its history; raise `WrongState` where a turn runs and not `force`."""
        turn = running_turn(shell.state)
        if (turn or shell.core.queue) and not force:
            raise WrongState(
                what=f"instance {shell.record.id} has turns that have not ended",
                next_step="wait, interrupt them, or use --force",
            )
        if shell.leaving:
            raise WrongState(
                what=f"instance {shell.record.id} is being deleted already", next_step="nothing is to be done"
            )
        shell.leaving = True
        try:
            # An ask that is at this moment on its way into the journal would start the child again.
            await shell.accepts_over(timeout_s)
            await shell.stop(force=True, timeout_s=timeout_s)
            await shell.turns_ended(timeout_s)
        except BaseException:
            shell.leaving = False
            raise
        try:
            # To the end, also where the client goes: half deleted it would come back with the next start.
            await self.house.tasks.to_the_end(self.forget(shell), f"delete {shell.record.id}")
        except CodexError:
            # It stays, stopped, with all that was not deleted.
            shell.leaving = False
            self.shells[shell.record.id] = shell
            self._changed(shell)
            raise
        if shell.record.task is None:
            _log.info("instance_deleted", extra={"instance": shell.record.id})

    async def forget(self, shell: InstanceShell) -> None:
        """Forget an instance that has neither a child nor turns. It is out of the table at once."""
        name = shell.record.id
        self.hold(shell, (), ())
        shell.leaving = True
        self._remove(shell)
        self._going.add(name)
        self.news.tell()
        try:
            await self.house.store.delete_instance(name)
            # Its children's words may be the person's own, and a namesake's they are not.
            logfile.remove(stderr_log(self.house, name))
        except OSError as error:
            _log.warning("child_log_left", extra={"instance": name, "why": str(error)})
        finally:
            self._going.discard(name)

    def configure(self, shell: InstanceShell, settings: SettingsRecord) -> None:
        """Give an instance new settings, from its next turn on."""
        shell.save(msgspec.structs.replace(shell.record, settings=settings))
        self._changed(shell)

    def states(self) -> dict[str, int]:
        """Return how many instances are in which state; those of tasks are not counted."""
        counts: dict[str, int] = {}
        for shell in self.shells.values():
            if shell.record.task is not None:
                continue
            name = state_name(shell.state)
            counts[name] = counts.get(name, 0) + 1
        return counts

    def running_turns(self) -> int:
        """Return how many turns run or are being carried on."""
        return sum(running_turn(shell.state) is not None for shell in self.shells.values())

    def unfinished_turns(self) -> int:
        """Return how many accepted turns have no outcome yet."""
        return sum(len(shell.runs) for shell in self.shells.values())

    async def watch(
        self, only: InstanceShell | None, *, tasks: bool = False
    ) -> AsyncIterator[tuple[str, InstanceShell | None]]:
        """Yield every instance (or one) as it stands, then each that changed; None for a deleted one.

        Those that belong to tasks only where `tasks`.

        A slow reader misses intermediate states, never the last one, and costs no memory.
        """
        seen: dict[str, int] = {}
        told_gone = False
        while True:
            news = self.news.next()
            for name in sorted(self.shells):
                if only is not None and name != only.record.id:
                    continue
                found = self.shells.get(name)
                if found is None or (found.record.task is not None and not tasks and only is None):
                    continue
                version = self.versions.get(name, 0)
                if seen.get(name, -1) < version:
                    seen[name] = version
                    told_gone = False
                    yield name, found
            for name in [name for name in seen if name not in self.shells]:
                del seen[name]
                told_gone = True
                yield name, None
            if only is not None and only.record.id not in self.shells:
                if not told_gone:  # it went while the reader had the state before it
                    yield only.record.id, None
                return
            await news.wait()


def _not_bound(pid: int) -> NotFound:
    return NotFound(
        what=f"no instance belongs to process {pid}",
        why="it is not a Claude Code process that the service was told of",
        next_step="restart Claude Code with the plugin, or name the instance (-i)",
    )


def _as_id(text: str) -> str:
    """Return `text` made into an id."""
    return _NOT_ID.sub("-", text).strip("-._")[:58] or "workspace"
