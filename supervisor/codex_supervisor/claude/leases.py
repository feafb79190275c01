"""The asyncio shell of the leases: binds sessions, watches their processes, and hibernates what they leave behind."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from codex_control.errors import BadInput, CodexError, LimitExceeded
from codex_control.v1 import instances_pb2

from codex_supervisor.child.exitwatch import ExitStatus, ProcessHandle
from codex_supervisor.child.processes import boot_id
from codex_supervisor.claude.binding import NEW, Book, Bound, Holding, Source, bind, gone, holder_of
from codex_supervisor.claude.process import hold_again, hold_process
from codex_supervisor.instance.events import HibernateWanted
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.instance.states import Failed, Hibernated, Ready, Stopped
from codex_supervisor.store.records import LeaseRecord, SettingsRecord

_log = logging.getLogger(__name__)

MAX_LEASES = 256
"""Processes watched at most. Each costs a file descriptor here and some 200 MB there, so nobody has more."""

_SESSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class Binding:
    """What came of a bind: the instance, the lease, and whether the instance is new."""

    shell: InstanceShell
    lease: LeaseRecord
    created: bool


class Leases:
    """The Claude Code processes of all instances."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._house = fleet.house
        self._handles: dict[tuple[int, int], ProcessHandle] = {}
        self._graces: dict[str, asyncio.Task[None]] = {}

    def __repr__(self) -> str:
        return f"<Leases {len(self._handles)} watched, {len(self._graces)} in their grace>"

    # --- what clients say -------------------------------------------------------------------------------------------

    async def bind(self, session: str, pid: int, start_time: int, cwd: str, source: Source) -> Binding:
        """Give a session that a process shows its instance, made where there is none; see `Claude.Bind`."""
        if not _SESSION.fullmatch(session):
            raise BadInput(
                what=f"{session[:80]!r} is not the id of a session",
                why="it has 1 to 128 letters, digits, `.`, `_` or `-`, and begins with a letter or digit",
            )
        if cwd and not PurePosixPath(cwd).is_absolute():
            raise BadInput(what=f"the working directory {cwd[:200]!r} is not absolute")
        handle, process = hold_process(pid, start_time)
        key = (process.pid, process.start_time)
        shown = LeaseRecord(session, *key, boot_id(), self._house.clock.wall_ns())
        # No await from here until the book is changed: two binds at once see each other.
        bound = bind(self._book(), shown, source, used=self._is_used)
        created = bound.instance == NEW
        try:
            self._check_room(key)
            shell = self._fleet.add(_ref(session), cwd) if created else self._fleet.shells[bound.instance]
        except CodexError:
            handle.close()
            raise
        if key in self._handles:
            handle.close()
        else:
            self._watch(key, handle, shown)
        changed = self._apply(bound, shell)
        if changed:
            extra = {"instance": shell.record.id, "session": session, "pid": pid, "source": source.value}
            _log.info("claude_bound", extra=extra)
        for each in changed:
            await self._write(each)
        lease = next(lease for lease in shell.record.leases if (lease.pid, lease.start_time) == key)
        return Binding(shell, lease, created)

    def end(self, session: str, reason: str) -> None:
        """Note that a session ended, as Claude Code says; its process decides."""
        instance = self._fleet.claude_sessions.get(session)
        if instance is not None:
            _log.info("claude_session_ended", extra={"instance": instance, "session": session, "reason": reason})

    def all(self) -> Iterator[tuple[InstanceShell, LeaseRecord]]:
        """Every lease, those in their grace too, by instance."""
        for name in sorted(self._fleet.shells):
            shell = self._fleet.shells[name]
            for lease in shell.record.leases:
                yield shell, lease

    # --- the life of a lease ----------------------------------------------------------------------------------------

    def restore(self) -> None:
        """Watch the recorded processes that still run; the grace of instances that lost theirs begins."""
        for shell, lease in list(self.all()):
            if lease.gone_ns is not None:
                continue
            handle = hold_again(lease)
            if handle is None:
                self._gone(shell.record.id, lease, "while no supervisor ran")
            else:
                self._watch((lease.pid, lease.start_time), handle, lease)
        for shell in self._fleet.shells.values():
            self._settle(shell)

    def close(self) -> None:
        """Watch nothing more; what is recorded is for the next supervisor."""
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()

    def _watch(self, key: tuple[int, int], handle: ProcessHandle, lease: LeaseRecord) -> None:
        self._handles[key] = handle

        def ended(_: ExitStatus) -> None:
            self._handles.pop(key).close()
            instance = holder_of(self._book(), lease)
            if instance is not None:
                self._gone(instance, lease, "its end was seen")
                self._settle(self._fleet.shells[instance])

        handle.on_exit(ended)

    def _check_room(self, key: tuple[int, int]) -> None:
        if key not in self._handles and len(self._handles) >= MAX_LEASES:
            raise LimitExceeded(
                what=f"{MAX_LEASES} Claude Code processes are bound already", next_step="end some of them"
            )

    def _gone(self, instance: str, lease: LeaseRecord, why: str) -> None:
        shell = self._fleet.shells[instance]
        before = _holding(shell)
        self._fleet.hold(shell, *_parts(gone(before, lease, self._house.clock.wall_ns())))
        shell.save(shell.record)
        extra = {"instance": instance, "pid": lease.pid, "why": why, "grace_s": self._house.config.claude.grace}
        _log.info("claude_gone", extra=extra)

    def _apply(self, bound: Bound, shell: InstanceShell) -> list[InstanceShell]:
        changed = []
        for name, holding in bound.changes.items():
            each = shell if name == bound.instance else self._fleet.shells[name]
            self._fleet.hold(each, *_parts(holding))
            self._settle(each)
            changed.append(each)
        return changed

    def _settle(self, shell: InstanceShell) -> None:
        """Begin the grace of an instance that was left, or end it where somebody is there again."""
        name = shell.record.id
        if not _holding(shell).is_left():
            if (running := self._graces.pop(name, None)) is not None:
                running.cancel()
        elif name not in self._graces:
            task = self._graces[name] = self._house.tasks.start(self._after_grace(shell), f"grace of {name}")
            task.add_done_callback(lambda done: self._grace_over(name, done))

    def _grace_over(self, name: str, task: asyncio.Task[None]) -> None:
        if self._graces.get(name) is task:
            del self._graces[name]

    async def _after_grace(self, shell: InstanceShell) -> None:
        await asyncio.sleep(self._grace_left_s(shell))
        if not await self._sleep_when_idle(shell) or await self._forget_unused(shell):
            return
        self._fleet.hold(shell, shell.record.claude_sessions, ())
        shell.save(shell.record)

    async def _forget_unused(self, shell: InstanceShell) -> bool:
        """Forget an instance that nothing was ever done with: each start of Claude Code makes one."""
        name, settings = shell.record.id, shell.record.settings
        if settings != SettingsRecord(cwd=settings.cwd) or shell.record.workspace:
            return False
        try:
            turns, _ = await self._house.store.list_turns(name, [], 1, "")
        except CodexError:
            return False  # without the store nobody knows
        # No await from here on: an ask, or the session shown again, may have come meanwhile.
        at_rest = isinstance(shell.state, Stopped | Hibernated) and not shell.frozen and not shell.leaving
        if turns or not at_rest or self._fleet.shells.get(name) is not shell or self._is_used(name):
            return False
        if not _holding(shell).is_left():
            return False
        _log.info("instance_forgotten", extra={"instance": name})
        try:
            await self._fleet.forget(shell)
        except CodexError as error:
            # It comes back with the next supervisor, and is forgotten then.
            _log.warning("instance_not_deleted", extra={"instance": name, "error": str(error)})
        return True

    def _grace_left_s(self, shell: InstanceShell) -> float:
        grace_s = self._house.config.claude.grace
        since_ns = max((lease.gone_ns or 0 for lease in shell.record.leases), default=0)
        # The wall clock may have jumped while no supervisor ran.
        return min(grace_s, max(0.0, grace_s - (self._house.clock.wall_ns() - since_ns) / 1e9))

    async def _sleep_when_idle(self, shell: InstanceShell) -> bool:
        """Hibernate the child once nothing runs or waits; False where the supervisor goes first, or the instance."""
        while True:
            news = shell.news.next()
            if shell.frozen or shell.leaving or self._fleet.shells.get(shell.record.id) is not shell:
                return False
            match shell.state:
                case Stopped() | Hibernated() | Failed():
                    return True
                case Ready() if not (shell.runs or shell.pending_accepts):
                    _log.info("hibernated", extra={"instance": shell.record.id, "because": "claude_ended"})
                    self._house.metrics.hibernations.labels(reason="claude_ended").inc()
                    shell.dispatch(HibernateWanted())
                    return True
                case _:
                    await news.wait()

    # --- pieces -----------------------------------------------------------------------------------------------------

    def _book(self) -> Book:
        records = (shell.record for shell in self._fleet.shells.values())
        return {
            record.id: Holding(record.claude_sessions, record.leases)
            for record in records
            if record.claude_sessions or record.leases
        }

    def _is_used(self, instance: str) -> bool:
        shell = self._fleet.shells[instance]
        return bool(shell.record.thread_id or shell.runs or shell.pending_accepts)

    async def _write(self, shell: InstanceShell) -> None:
        # Before the answer: the lease is to outlive us. Where the disk is full it is tried again behind the scenes.
        try:
            await self._house.store.save_instance(shell.record)
        except CodexError:
            shell.save(shell.record)


def _ref(session: str) -> instances_pb2.InstanceRef:
    return instances_pb2.InstanceRef(claude_session=session)


def _holding(shell: InstanceShell) -> Holding:
    return Holding(shell.record.claude_sessions, shell.record.leases)


def _parts(holding: Holding) -> tuple[tuple[str, ...], tuple[LeaseRecord, ...]]:
    return holding.sessions, holding.leases
