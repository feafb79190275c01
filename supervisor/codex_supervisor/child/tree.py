"""Stopping a child completely: everything that it started is gone, and that is looked at before it is said.

Codex gives each shell command a session of its own, each MCP server a process group of its own, and a command may call
setsid again. A process belongs to a child's tree (`members`) where it

1. is in the child's cgroup, where one is delegated; or
2. carries the child's token in its environment (the child, and shell commands unless the user's policy drops it); or
3. is in the child's session or in a group of a member (an MCP server whose parent died); or
4. descends from a member; or
5. carries the id of one of its threads in `CODEX_THREAD_ID` (Codex always sets it), and no Codex that is not a member
   is above it.

What escapes where there is no cgroup: a process that did all of: left every session and group of the tree, lost its
parents before we looked, and has neither variable. On macOS environments of the system's own protected programs cannot
be read, so that (2) and (5) do not see those; (3) and (4) do.

Signals go through handles that were opened before the process was looked at a second time: never to a stranger.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGCONT, SIGKILL, SIGTERM, Signals

from codex_control.errors import ChildFailed
from codex_control.service.clock import Clock

from codex_supervisor.child.exitwatch import ExitStatus, ProcessHandle, reap
from codex_supervisor.child.identity import TOKEN_VARIABLE
from codex_supervisor.child.processes import ProcessInfo, boot_id, environment_of, list_processes, read_process
from codex_supervisor.child.spawn import ChildProcess, remove_socket
from codex_supervisor.store.records import ChildRecord

_log = logging.getLogger(__name__)

THREAD_VARIABLE = "CODEX_THREAD_ID"
CODEX_NAME = "codex"

# Codex with a running turn ends at the second TERM only. Idle it needs 9 to 25 ms for the first one.
SECOND_TERM_AFTER_S = 0.25
# How long members of an ended child have to follow a TERM; Codex itself has the whole `term_timeout_s`.
_LOOK_AGAIN_S = 0.05
# A process that is being started while we look may be missed once, not twice.
_EMPTY_LOOKS = 2


@dataclass(frozen=True, slots=True)
class StopReport:
    """What a complete stop came to."""

    child: ExitStatus | None
    """How the child itself ended; None where it was gone before."""
    terminated: int
    """How many members besides the child had to be told to end."""
    killed: int
    """How many processes, the child among them, had to be killed."""
    survivors: tuple[int, ...]
    """Pids that SIGKILL did not end in time (they hang in the kernel), or that we may not signal."""
    duration_s: float

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return not self.survivors


@dataclass(slots=True)
class Marks:
    """By what a tree is recognised; `sessions` and `groups` are kept only while a member was seen in them."""

    token: str
    thread_ids: frozenset[str]
    child: tuple[int, int] = (0, 0)
    """Its pid and start time."""
    since: int = 0
    """The child's start time where it is known: nothing older can be a member."""
    cgroup: Path | None = None
    sessions: set[int] = field(default_factory=set)
    groups: set[int] = field(default_factory=set)


def members(
    table: Sequence[ProcessInfo],
    marks: Marks,
    environment: Callable[[int], Mapping[str, str] | None] = environment_of,
    in_cgroup: Collection[int] = (),
    own_pid: int | None = None,
) -> list[ProcessInfo]:
    """Return the living members of a tree in one look at the process table, and note their sessions and groups.

    Never the supervisor itself, nor anything above it, nor a process that carries another child's token.
    """
    by_pid = {process.pid: process for process in table}
    own_pid = os.getpid() if own_pid is None else own_pid
    untouchable = {own_pid, *_ancestors(own_pid, by_pid), 0, 1}
    own = by_pid.get(own_pid)
    own_groups = {own.sid, own.pgid} if own is not None else set()
    environments: dict[int, Mapping[str, str]] = {}

    def env(pid: int) -> Mapping[str, str]:
        if pid not in environments:
            environments[pid] = environment(pid) or {}
        return environments[pid]

    def allowed(process: ProcessInfo) -> bool:
        if process.zombie or process.start_time < marks.since or process.pid in untouchable:
            return False
        return env(process.pid).get(TOKEN_VARIABLE, marks.token) == marks.token

    def is_evident(process: ProcessInfo) -> bool:
        return (
            process.pid in in_cgroup
            or process.sid in marks.sessions
            or process.pgid in marks.groups
            or env(process.pid).get(TOKEN_VARIABLE) == marks.token
        )

    candidates = [process for process in table if allowed(process)]
    found = {process.pid: process for process in candidates if is_evident(process)}
    _add_descendants(candidates, found)
    for process in candidates:
        if (
            process.pid not in found
            and env(process.pid).get(THREAD_VARIABLE) in marks.thread_ids
            and not _has_foreign_codex_above(process, by_pid, found)
        ):
            found[process.pid] = process
    _add_descendants(candidates, found)
    marks.sessions = {process.sid for process in found.values() if process.sid} - own_groups
    marks.groups = {process.pgid for process in found.values()} - own_groups
    return list(found.values())


def _add_descendants(candidates: Sequence[ProcessInfo], found: dict[int, ProcessInfo]) -> None:
    children: dict[int, list[ProcessInfo]] = {}
    for process in candidates:
        children.setdefault(process.ppid, []).append(process)
    open_pids = list(found)
    while open_pids:
        for process in children.get(open_pids.pop(), ()):
            if process.pid not in found:
                found[process.pid] = process
                open_pids.append(process.pid)


def _ancestors(pid: int, by_pid: Mapping[int, ProcessInfo]) -> list[int]:
    above: list[int] = []
    process = by_pid.get(pid)
    while process is not None and process.ppid > 0 and process.ppid not in above:
        above.append(process.ppid)
        process = by_pid.get(process.ppid)
    return above


def _has_foreign_codex_above(
    process: ProcessInfo, by_pid: Mapping[int, ProcessInfo], found: Mapping[int, ProcessInfo]
) -> bool:
    # A person may have resumed the same thread in a terminal: those commands are not ours.
    above = (by_pid[pid] for pid in _ancestors(process.pid, by_pid) if pid in by_pid)
    return any(ancestor.name == CODEX_NAME and ancestor.pid not in found for ancestor in above)


async def stop_tree(
    child: ChildProcess,
    *,
    thread_ids: Sequence[str],
    term_timeout_s: float,
    kill_timeout_s: float,
    clock: Clock,
) -> StopReport:
    """End `child` and everything that it started, and return once nothing of it is left, or cannot be ended.

    The child gets SIGTERM (a second one where a turn keeps it), then what it left behind does. After `term_timeout_s`
    everything gets SIGKILL, again and again until it is gone or `kill_timeout_s` more have passed. A child that has
    ended already is fine. Its socket is removed when nothing is left.
    """
    marks = Marks(child.token, _given(thread_ids), (child.pid, child.start_time), child.start_time, child.cgroup)
    _claim_session(marks)
    # Who watches a child reaps it; after `ChildProcess.close` nobody does.
    watched = None if child.exited.cancelled() else child
    stop = _Stop(marks, clock, term_timeout_s, kill_timeout_s, reaps_child=watched is None)
    try:
        # Before the first signal: what has left the session is known by its parents alone, and they still live.
        await stop.look()
        if watched is not None:
            await stop.end_child(watched)
        report = await stop.end_the_rest(watched)
    finally:
        stop.close()
    if report.empty:
        remove_socket(child.socket)
    return report


async def sweep(
    token: str,
    thread_ids: Sequence[str],
    *,
    clock: Clock,
    record: ChildRecord | None = None,
    cgroup: Path | None = None,
    term_timeout_s: float = 1.0,
    kill_timeout_s: float = 5.0,
) -> StopReport:
    """End what a child left that an earlier supervisor lost, the child itself too where it lives.

    For a child that is held use `stop_tree`, also after its death. Give `record` only where it is known that its child
    ended just now: its session is still its own then, and processes without a mark are found in it.
    """
    marks = Marks(token, _given(thread_ids), cgroup=cgroup)
    if record is not None and record.boot_id == boot_id() and record.pid > 0:
        marks.child, marks.since = (record.pid, record.start_time), record.start_time
        _claim_session(marks)
    stop = _Stop(marks, clock, term_timeout_s, kill_timeout_s, reaps_child=True)
    try:
        return await stop.end_the_rest(None)
    finally:
        stop.close()


def _given(thread_ids: Iterable[str]) -> frozenset[str]:
    return frozenset(thread_id for thread_id in thread_ids if thread_id)


def _claim_session(marks: Marks) -> None:
    """Take the session that the child leads, or led: its number is not given out again while anybody is in it."""
    pid, start_time = marks.child
    leader = read_process(pid)
    if leader is not None and leader.start_time != start_time:
        return
    if leader is None or leader.zombie or (environment_of(pid) or {}).get(TOKEN_VARIABLE) == marks.token:
        marks.sessions, marks.groups = {pid}, {pid}


class _Stop:
    """One stop under way: the members that were found, held by handles."""

    def __init__(
        self, marks: Marks, clock: Clock, term_timeout_s: float, kill_timeout_s: float, *, reaps_child: bool
    ) -> None:
        self._marks = marks
        self._clock = clock
        self._began_s = clock.monotonic()
        self._kill_at_s = self._began_s + term_timeout_s
        self._give_up_at_s = self._kill_at_s + kill_timeout_s
        self._handles: dict[tuple[int, int], ProcessHandle] = {}
        self._terminated: set[tuple[int, int]] = set()
        self._killed: set[tuple[int, int]] = set()
        self._child_was_killed = False
        self._reaps_child = reaps_child
        self._something_ended = asyncio.Event()

    def close(self) -> None:
        for handle in self._handles.values():
            handle.close()
        self._handles.clear()

    async def look(self) -> list[ProcessInfo]:
        """Find the members that live now, hold each, and return those that are still who they were."""
        while True:
            try:
                return self._hold(await asyncio.to_thread(_look, self._marks))
            except OSError as error:
                # Out of file descriptors, most often. Nothing was proven: look again while there is time.
                if self._clock.monotonic() >= self._give_up_at_s:
                    raise ChildFailed(
                        what="it cannot be seen whether the child is gone",
                        why=error.strerror or str(error),
                        next_step="free open files, then stop it again",
                    ) from error
            await self._wait_for_an_end(_LOOK_AGAIN_S)

    def _hold(self, found: Iterable[ProcessInfo]) -> list[ProcessInfo]:
        held = []
        for process in found:
            key = (process.pid, process.start_time)
            if key not in self._handles:
                handle = ProcessHandle.open(process.pid)
                now = read_process(process.pid)
                if handle is None or now is None or now.start_time != process.start_time:
                    # Gone between the look and now; its pid may be another's already.
                    if handle is not None:
                        handle.close()
                    continue
                self._handles[key] = handle
                if key != self._marks.child or self._reaps_child:
                    handle.on_exit(lambda _status: self._something_ended.set())
            held.append(process)
        return held

    async def end_child(self, child: ChildProcess) -> None:
        """TERM, TERM again, KILL. Leaves the rest of the tree alone."""
        for wait_until_s in (self._began_s + SECOND_TERM_AFTER_S, self._kill_at_s):
            if child.exited.done() or self._clock.monotonic() >= self._kill_at_s:
                break
            child.signal(SIGTERM)
            # A stopped process takes no TERM until it goes on.
            child.signal(SIGCONT)
            await self._wait({child.exited}, min(wait_until_s, self._kill_at_s))
        if not child.exited.done() and child.signal(SIGKILL):
            self._child_was_killed = True
            await self._wait({child.exited}, self._give_up_at_s)

    async def end_the_rest(self, child: ChildProcess | None) -> StopReport:
        """TERM to every member, KILL at the deadline, until two looks in a row found nobody."""
        empty_looks = 0
        left: list[ProcessInfo] = []
        while empty_looks < _EMPTY_LOOKS:
            self._something_ended.clear()
            left = await self.look()
            empty_looks = 0 if left else empty_looks + 1
            now_s = self._clock.monotonic()
            if left and now_s >= self._give_up_at_s:
                break
            if left:
                self._signal(left, kill=now_s >= self._kill_at_s)
                deadline_s = self._kill_at_s if now_s < self._kill_at_s else self._give_up_at_s
                await self._wait_for_an_end(min(_LOOK_AGAIN_S, max(0.001, deadline_s - now_s)))
            self._reap()
        self._reap()
        if left:
            _log.error("processes_left", extra={"processes": [f"{process.pid} {process.name}" for process in left]})
        return StopReport(
            child=child.exited.result() if child is not None and child.exited.done() else None,
            terminated=len(self._terminated),
            killed=len(self._killed) + self._child_was_killed,
            survivors=tuple(process.pid for process in left),
            duration_s=self._clock.monotonic() - self._began_s,
        )

    def _signal(self, processes: Iterable[ProcessInfo], *, kill: bool) -> None:
        for process in processes:
            key = (process.pid, process.start_time)
            handle = self._handles[key]
            if kill:
                self._send(handle, SIGKILL)
                self._killed.add(key)
            elif key not in self._terminated:
                self._send(handle, SIGTERM)
                self._send(handle, SIGCONT)
                self._terminated.add(key)

    def _send(self, handle: ProcessHandle, number: Signals) -> None:
        try:
            handle.signal(number)
        except PermissionError:
            # A setuid program: it is reported as a survivor.
            _log.warning("signal_refused", extra={"pid": handle.pid})

    async def _wait(self, exited: set[asyncio.Future[ExitStatus]], until_s: float) -> None:
        await asyncio.wait(exited, timeout=max(0.0, until_s - self._clock.monotonic()))

    async def _wait_for_an_end(self, timeout_s: float) -> None:
        try:
            async with asyncio.timeout(timeout_s):
                await self._something_ended.wait()
        except TimeoutError:
            return

    def _reap(self) -> None:
        """Let go of what is gone, and reap what became our child when its parent died (we are its subreaper)."""
        for key, handle in list(self._handles.items()):
            process = read_process(key[0])
            if process is None or process.start_time != key[1]:
                handle.close()
                del self._handles[key]
            elif process.zombie and process.ppid == os.getpid() and (key != self._marks.child or self._reaps_child):
                reap(key[0])


def _look(marks: Marks) -> list[ProcessInfo]:
    return members(list_processes(), marks, in_cgroup=cgroup_pids(marks.cgroup))


def cgroup_pids(cgroup: Path | None) -> set[int]:
    """Return the pids in a cgroup and those below it; empty where there is none."""
    if cgroup is None:
        return set()
    pids: set[int] = set()
    for directory, _, files in os.walk(cgroup):
        if "cgroup.procs" in files:
            try:
                pids |= {int(pid) for pid in Path(directory, "cgroup.procs").read_text(encoding="ascii").split()}
            except OSError:
                # Removed while we looked.
                continue
    return pids
