"""One attempt of a task: an ordinary turn, on an instance of its own, that is followed to its end.

The order of writes loses nothing and leaks nothing, whatever dies in between:

1. the instance's name goes to the engine before the instance is made, so that the next supervisor finds it;
2. the turn's request id comes from the claim that the instance was made under: asking again finds the turn;
3. the end goes to the engine before the instance goes with its child and its turn. One that is left over is removed by
   the next start.

A turn that did not succeed has no process left when its task's end is told, or when its next attempt begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec
from codex_control.errors import BadInput, CodexError, NotFound
from codex_control.v1 import instances_pb2, turns_pb2
from google.protobuf.duration_pb2 import Duration

from codex_supervisor.failpoints import reach
from codex_supervisor.instance.asks import Accepted, Asks, task_request_id
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.store.records import Cause, InstanceRecord, Outcome, SettingsRecord, TaskLink, TurnRecord
from codex_supervisor.task.attempt_end import Reason, outcome_of, prompt_of
from codex_supervisor.task.contract import Engine, LeaseLost
from codex_supervisor.task.mirror import Mirror
from codex_supervisor.task.progress import Work, recorded_item, result_of
from codex_supervisor.task.records import (
    AttemptEnd,
    Claim,
    EventKind,
    NewEvent,
    Note,
    Policy,
    TaskOutcome,
    Worker,
)
from codex_supervisor.task.reporter import Reporter
from codex_supervisor.task.rules import NS, retry_delay_s
from codex_supervisor.task.state_file import place_of, state_file, write_file
from codex_supervisor.task.worktree import GitFailed, make_worktree
from codex_supervisor.turn.log import replay
from codex_supervisor.turn.run import TurnRun

_log = logging.getLogger(__name__)

T = TypeVar("T")

# The task's own time limit counts, over all attempts; the turn's is out of the way.
_NO_LIMIT_S = 3650 * 86_400

# A turn that was told to end has done so, or is cut off with its child.
_END_TIMEOUT_S = 8.0

# A child that hangs in the kernel is reported and left to the next start.
_REMOVE_TIMEOUT_S = 30.0

# Wait before a task that was given back because something here is full may run again.
_GIVEN_BACK_S = 5.0

# Wait between two tries to write an end while the engine is away or full.
_RETRY_S = 1.0


STOPPED = "its supervisor was stopped"
"""Why an attempt is given back at the end of a supervisor."""


@dataclass(frozen=True, slots=True)
class Bench:
    """What every attempt works with."""

    engine: Engine
    worker: Worker
    policy: Policy
    fleet: Fleet
    asks: Asks
    mirror: Mirror
    worktrees: Path
    """The directory of the tasks' worktrees."""
    lease_s: float
    on_wait: Callable[[], None]
    """Called when an attempt begins to wait for the engine."""


class _GivenBack(Exception):
    """The attempt does not take place here; the reason, for people."""


class _Ended(Exception):
    """The attempt is over before it had a turn."""

    def __init__(self, outcome: TaskOutcome, error: str) -> None:
        self.outcome = outcome
        self.error = error
        super().__init__(error)


class Attempt:
    """See the module. `run` is its task."""

    def __init__(self, claim: Claim, bench: Bench) -> None:
        self.claim = claim
        self.instance = claim.record.status.instance
        """The instance's name; empty until there is one."""
        self.over = False
        """Its end is written; what it ran on is being removed."""
        self.waits_for_engine = False
        """What it has to write is not taken at the moment."""
        self._bench = bench
        self._house = bench.fleet.house
        self._reporter = Reporter(
            claim,
            bench.engine,
            self._house,
            bench.mirror,
            lease_s=bench.lease_s,
            on_cancel=self.cancel,
            on_stall=self.end,
        )
        self._reason: Reason | None = None
        self._why = ""
        self._wanted_back = ""
        self._setup: asyncio.Task[Path | _Ended] | None = None
        self._run: TurnRun | None = None
        self._force: asyncio.TimerHandle | None = None

    def __repr__(self) -> str:
        return f"<Attempt {self.claim.id} token={self.claim.token} on={self.instance or '-'} ending={self._reason}>"

    # --- what others want -------------------------------------------------------------------------------------------

    def cancel(self, why: str) -> None:
        """End the task as cancelled."""
        self.end(Reason.CANCELLED, why)

    def give_back(self, why: str) -> None:
        """End the attempt without a result: another worker, or a later run of this one, shall have it."""
        if self._reason is None and not self._wanted_back:
            self._wanted_back = why
            self._interrupt()

    def end(self, reason: Reason, why: str) -> None:
        """End the turn for `reason`. The first one counts."""
        if self._reason is None and not self._wanted_back:
            _log.info("task_ending", extra={"task": self.claim.id, "reason": reason.value, "why": why})
            self._reason, self._why = reason, why
            self._interrupt()

    def _interrupt(self) -> None:
        if self._setup is not None:
            self._setup.cancel()
        run = self._run
        if run is None or self._force is not None:
            return
        # Whoever finds the turn after a crash sees that nobody wanted the task to end.
        run.shell.cancel_turn(run.record.id, Cause.SUPERVISOR_LOST if self._reason is None else self._reason.cause)
        self._force = asyncio.get_running_loop().call_later(_END_TIMEOUT_S, self._cut_off)

    def _cut_off(self) -> None:
        shell = self._bench.fleet.shells.get(self.instance)
        if shell is not None:
            self._house.tasks.start(_quietly_stop(shell), f"cut off {self.instance}")

    # --- the attempt ------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Run the attempt to its end; it is written then, or the task is somebody else's."""
        deadline = self._arm_deadline()
        try:
            async with asyncio.TaskGroup() as group:
                keeper = group.create_task(self._reporter.keep(), name=f"report {self.claim.id}")
                await self._attempt(group)
                keeper.cancel()
        except* LeaseLost as lost:
            _log.warning("task_lease_lost", extra={"task": self.claim.id, "why": str(lost.exceptions[0])})
        finally:
            for timer in (deadline, self._force):
                if timer is not None:
                    timer.cancel()
        self.over = True
        await self._remove_instance()

    def _arm_deadline(self) -> asyncio.TimerHandle | None:
        status = self.claim.record.status
        if status.deadline_ns is None or status.lease is None:
            return None
        # Both are on the engine's clock, which need not be ours.
        left_s = (status.deadline_ns - status.lease.expires_ns) / NS + self._bench.lease_s
        loop = asyncio.get_running_loop()
        return loop.call_later(max(0.0, left_s), self.end, Reason.TIMED_OUT, "its time limit passed")

    async def _attempt(self, group: asyncio.TaskGroup) -> None:
        record = self.claim.record
        if record.status.cancel_reason is not None:
            self.cancel(record.status.cancel_reason)
        try:
            accepted = await self._accepted(group)
            await self._follow(accepted)
        except _Ended as ended:
            await self._stop_child()
            await self._finish(AttemptEnd(ended.outcome, ended.error))
        except _GivenBack as given:
            await self._stop_child()
            await self._give_back(str(given))
        except (LeaseLost, asyncio.CancelledError):
            raise
        except Exception as error:
            # A fault of ours must not cost the task its end, nor the others their supervisor.
            _log.exception("task_failed_inside", extra={"task": self.claim.id})
            await self._stop_child()
            sentence = f"the supervisor failed inside ({type(error).__name__}); report it with `codexctl logs`"
            await self._finish(AttemptEnd(TaskOutcome.CODEX, sentence))

    def _check_going_on(self) -> None:
        if self._wanted_back:
            raise _GivenBack(self._wanted_back)
        if self._reason is not None:
            raise _Ended(self._reason.outcome, self._why)

    # --- before the turn --------------------------------------------------------------------------------------------

    async def _accepted(self, group: asyncio.TaskGroup) -> Accepted:
        """Return the attempt's turn: the one that an earlier supervisor began, or a new one."""
        shell = self._bench.fleet.shells.get(self.instance) if self.instance else None
        if shell is None:
            self._check_going_on()
            shell = await self._make_instance(group)
        link = shell.record.task
        assert link is not None  # noqa: S101 (only instances of tasks bear such names)
        self._reporter.begin(shell, Work(shell.record.settings.cwd), link.deaths)
        request = self.claim.record.request
        prompt, _, _ = self._prompt()
        limit = self._house.config.turns.prompt_limit
        if len(prompt) > limit:
            raise _Ended(TaskOutcome.SETUP, f"its prompt has {len(prompt):,} characters, over turns.prompt_limit")
        ask = turns_pb2.AskRequest(
            request_id=task_request_id(link),
            instance=instances_pb2.InstanceRef(id=shell.record.id),
            prompt=prompt,
            cwd=shell.record.settings.cwd,
            profile=request.profile,
            output_schema=request.output_schema,
            timeout=Duration(seconds=_NO_LIMIT_S),
        )
        try:
            accepted = await self._bench.asks.accept(ask)
        except (BadInput, NotFound) as error:
            raise _Ended(TaskOutcome.SETUP, str(error)) from error
        except CodexError as error:
            # Full, draining, or the store is away: it passes.
            raise _GivenBack(str(error)) from error
        self._run = accepted.run
        self._reporter.run, self._reporter.turn = accepted.run, accepted.record
        await self._note(Note(turn_id=accepted.record.id))
        reach("task-asked")
        if self._reason is not None or self._wanted_back:
            # It was wanted while there was no turn to interrupt.
            self._interrupt()
        return accepted

    def _prompt(self) -> tuple[str, bool, str]:
        limit = self._house.config.turns.prompt_limit
        return prompt_of(self.claim.record, self._bench.worker.name, limit)

    async def _make_instance(self, group: asyncio.TaskGroup) -> InstanceShell:
        record = self.claim.record
        # A task of its own, so that what ends the attempt ends a long checkout too.
        self._setup = group.create_task(self._set_up(), name=f"set up {record.id}")
        await asyncio.wait([self._setup])
        setup, self._setup = self._setup, None
        self._check_going_on()
        cwd = setup.result()
        if isinstance(cwd, _Ended):
            raise cwd
        _, goes_on, notice = self._prompt()
        self._warn(notice)
        link = TaskLink(record.id, self.claim.token, record.status.deaths)
        name = instance_name(link)
        await self._note(Note(instance=name))
        self.instance = name
        return await self._bench.fleet.make_for_task(
            InstanceRecord(
                id=name,
                created_ns=self._house.clock.wall_ns(),
                thread_id=record.status.thread_id if goes_on else "",
                settings=SettingsRecord(
                    cwd=str(cwd),
                    profile=record.request.profile,
                    approval_policy=str(self._house.config.tasks.approval_policy),
                    on_interrupted="continue",
                    max_recoveries=max(0, self._bench.policy.max_deaths - record.status.deaths - 1),
                ),
                task=link,
            )
        )

    def _warn(self, sentence: str) -> None:
        """Tell people, in the task's events."""
        if sentence:
            warning = turns_pb2.TurnEvent(warning=turns_pb2.Warning(message=sentence))
            self._reporter.add(NewEvent(EventKind.ITEM, item=warning.SerializeToString()))

    async def _set_up(self) -> Path | _Ended:
        """Return where the attempt works, or how it ends because that cannot be."""
        record = self.claim.record
        cwd = Path(record.request.cwd)
        path = str(state_file(record.request, record.id)) if self._house.config.tasks.state_files else ""
        await self._note(Note(state_file=path, state_file_error=self._bench.mirror.error_of(record.id)))
        try:
            if not await asyncio.to_thread(os.path.isdir, cwd):
                raise NotFound(what=f"there is no directory {cwd}")
            if not record.request.worktree:
                return cwd
            made = await make_worktree(
                self._bench.worktrees,
                record.id,
                cwd,
                self._house.environment,
                known=bool(record.status.result.worktree),
            )
        except GitFailed as error:
            return _Ended(TaskOutcome.SETUP, f"the worktree could not be made: {error}")
        except (CodexError, OSError) as error:
            return _Ended(TaskOutcome.SETUP, str(error))
        if made.left_out:
            files = "a file" if made.left_out == 1 else f"{made.left_out} files"
            self._warn(f"the worktree has the last commit: {files} changed or not added since then, left out")
        result = msgspec.structs.replace(record.status.result, branch=made.branch, worktree=str(made.directory))
        await self._note(Note(result=result))
        self._reporter.before = result
        return made.cwd

    async def _note(self, note: Note) -> None:
        """Write a note that must be there before what follows."""
        await self._until_written(lambda: self._bench.engine.note(self.claim, note))

    # --- the turn ---------------------------------------------------------------------------------------------------

    async def _follow(self, accepted: Accepted) -> None:
        run = accepted.run
        async for event in self._events(accepted):
            self._reporter.feed(event, recorded_item(event))
        turn = run.log.record if run is not None else await self._house.store.get_turn(accepted.record.id)
        if turn is None or turn.outcome is None:
            raise _Ended(TaskOutcome.WORKER_LOST, "the record of its turn was deleted")
        if self._wanted_back and turn.outcome is not Outcome.COMPLETED:
            raise _GivenBack(self._wanted_back)
        if turn.cause is Cause.SUPERVISOR_LOST and self._reason is None:
            raise _GivenBack(STOPPED)
        await self._conclude(turn, run.draft.diff if run is not None else "")

    def _events(self, accepted: Accepted) -> AsyncIterator[turns_pb2.TurnEvent]:
        if accepted.run is not None:
            return accepted.run.log.follow(0)
        return replay(self._house.store, accepted.record, 0)

    async def _conclude(self, turn: TurnRecord, diff: str) -> None:
        work = self._reporter.work
        if diff:
            work.take_diff(diff, await asyncio.to_thread(_git_root, work.cwd))
        outcome, error = outcome_of(turn, self._reason, self._why)
        result = result_of(
            turn.answer,
            schema=self.claim.record.request.output_schema,
            files_changed=work.files_changed,
            usage=turn.usage,
            before=self._reporter.before,
            completed=turn.outcome is Outcome.COMPLETED,
        )
        if diff:
            result = msgspec.structs.replace(result, diff_path=await self._write_diff(diff))
        if outcome is not TaskOutcome.COMPLETED:
            await self._stop_child()
        await self._reporter.flush_all()
        await self._finish(AttemptEnd(outcome, error, Note(result=result)))

    async def _write_diff(self, diff: str) -> str:
        request = self.claim.record.request
        if not self._house.config.tasks.state_files:
            return ""
        place, name = place_of(request), f"{self.claim.id}.diff"
        try:
            await asyncio.to_thread(write_file, place, name, diff.encode(errors="replace"), run=self._bench.worker.run)
        except OSError as error:
            _log.warning("task_diff_not_written", extra={"task": self.claim.id, "why": str(error)})
            return ""
        return str(place.directory / name)

    # --- the end ----------------------------------------------------------------------------------------------------

    async def _finish(self, end: AttemptEnd) -> None:
        self._reporter.ending = True
        bench = self._bench
        delay_s = retry_delay_s(
            self.claim.record.status.failures + self.claim.record.status.deaths,
            bench.policy,
            self._house.random.random(),
        )
        reach("task-ending")
        record = await self._until_written(lambda: bench.engine.finish(self.claim, end, delay_s=delay_s))
        reach("task-ended")
        self._reporter.count_end(end.outcome, record)

    async def _give_back(self, why: str) -> None:
        engine = self._bench.engine
        reach("task-giving-back")
        await self._until_written(lambda: engine.give_back(self.claim, why, delay_s=_GIVEN_BACK_S))
        _log.info("task_given_back", extra={"task": self.claim.id, "why": why})

    async def _until_written(self, write: Callable[[], Awaitable[T]]) -> T:
        """Write until the engine takes it. Raises `LeaseLost`."""
        while True:
            try:
                written = await write()
            except LeaseLost:
                raise
            except CodexError as error:
                # The disk is full or the database away. Nobody else would write it.
                _log.error("task_write_waits", extra={"task": self.claim.id, "why": str(error)})
                self.waits_for_engine = True
                self._bench.on_wait()
                await asyncio.sleep(_RETRY_S)
            else:
                self.waits_for_engine = False
                return written

    async def _stop_child(self) -> None:
        """End the child with all that it started; nothing of the attempt runs on."""
        self._reporter.ending = True
        shell = self._bench.fleet.shells.get(self.instance)
        if shell is not None:
            await _quietly_stop(shell)

    async def _remove_instance(self) -> None:
        shell = self._bench.fleet.shells.get(self.instance)
        if shell is not None:
            await remove_instance(self._bench.fleet, shell)


async def remove_instance(fleet: Fleet, shell: InstanceShell) -> None:
    """Forget the instance of a task, with its child and its turn. What fails is tried again at the next start."""
    try:
        await fleet.delete(shell, force=True, timeout_s=_REMOVE_TIMEOUT_S)
    except CodexError as error:
        _log.warning("task_instance_left", extra={"instance": shell.record.id, "why": str(error)})


async def _quietly_stop(shell: InstanceShell) -> None:
    with contextlib.suppress(CodexError):
        await shell.stop(force=True, timeout_s=_REMOVE_TIMEOUT_S)


def _git_root(cwd: str) -> str:
    """Return what the paths of Codex's diffs are relative to: the root of the repository, else the directory itself."""
    for directory in (Path(cwd), *Path(cwd).parents):
        if (directory / ".git").exists():
            return str(directory)
    return cwd


def instance_name(link: TaskLink) -> str:
    """Return the name of the instance for one claim of a task: at most 64 characters, and never the same twice."""
    name = f"task-{link.id}-{link.token}"
    if len(name) <= 64:
        return name
    return f"task-{link.id[:30]}-{hashlib.sha256(link.id.encode()).hexdigest()[:16]}-{link.token}"
