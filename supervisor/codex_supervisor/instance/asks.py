"""Asks: checked, committed to the journal, and only then given to their instance."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
from codex_control.errors import BadInput, CodexError, LimitExceeded, NotFound, WrongState
from codex_control.v1 import instances_pb2, turns_pb2

from codex_supervisor.child.processes import boot_id
from codex_supervisor.config.choosing import profile
from codex_supervisor.failpoints import reach
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.instance.states import running_turn
from codex_supervisor.store.records import Cause, EventRow, Moment, SettingsRecord, TaskLink, TurnRecord, TurnRequest
from codex_supervisor.turn.ids import new_turn_id
from codex_supervisor.turn.log import LogLimits, TurnLog
from codex_supervisor.turn.messages import timestamp
from codex_supervisor.turn.review import checked_review, description
from codex_supervisor.turn.run import TurnRun

_REQUEST_ID = re.compile(r"[!-~]{1,128}")
_MAX_IMAGES = 20
_MAX_SCHEMA_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Accepted:
    """An ask's receipt: its record, the run while it has no outcome, and whether an earlier turn was found."""

    record: TurnRecord
    run: TurnRun | None
    attached: bool


def task_request_id(link: TaskLink) -> str:
    """Return the request id of the one turn that an instance of a task has."""
    return f"task:{link.id}:{link.token}"


Asked = turns_pb2.AskRequest | turns_pb2.ReviewRequest
"""What becomes a turn."""


class Asks:
    """Takes asks in and finds turns again, live or recorded."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.house = fleet.house
        self.draining = False
        self._underway: dict[str, asyncio.Event] = {}

    async def accept(self, ask: Asked) -> Accepted:
        """Check an ask or a review, commit it to the journal and queue it.

        A known `request_id` returns the turn that it named before. Raises `BadInput`, `NotFound` (profile),
        `LimitExceeded` (prompt, queue, disk) or `WrongState` (draining, instance failed); nothing is accepted then.
        """
        if not _REQUEST_ID.fullmatch(ask.request_id):
            raise BadInput(
                what="the request id is not usable",
                why="it has 1 to 128 printable ASCII characters without blanks",
                next_step="use a UUID",
            )
        # The same request at the same time: the second one finds what became of the first.
        while (underway := self._underway.get(ask.request_id)) is not None:
            await underway.wait()
        done = self._underway[ask.request_id] = asyncio.Event()
        try:
            return await self._accept_or_find(ask)
        finally:
            del self._underway[ask.request_id]
            done.set()

    async def _accept_or_find(self, ask: Asked) -> Accepted:
        try:
            # A request that is known must make no instance. Where there is one, the journal finds it by itself.
            known = await self._known(ask.request_id) if self.fleet.lookup(ask.instance) is None else None
            return known or await self._accept(ask)
        except CodexError:
            # What would be refused now may have been accepted before.
            known = await self._known(ask.request_id)
            if known is None:
                raise
            return known

    async def _accept(self, ask: Asked) -> Accepted:
        request = self._checked(ask)
        found = self.fleet.lookup(ask.instance)
        if found is not None and found.record.task is not None and ask.request_id != task_request_id(found.record.task):
            raise WrongState(
                what=f"instance {found.record.id} belongs to task {found.record.task.id}",
                why="it runs nothing but that task, and goes with it",
                next_step="ask in another instance (-i)",
            )
        if self.draining:
            raise WrongState(
                what="the supervisor is draining and takes no new turns",
                next_step="wait for its restart, or end the drain with `codexctl drain --resume`",
            )
        # All that can be refused is refused before the instance is made.
        new_cwd = ask.cwd or ask.instance.workspace or ask.fallback_cwd
        settings = SettingsRecord(cwd=new_cwd) if found is None else found.record.settings
        request = self._completed(request, settings, ask.fallback_cwd)
        shell = await self.fleet.find_or_make(ask.instance, new_cwd)
        shell.check_accepts()
        shell.pending_accepts += 1
        try:
            return await self._commit(shell, ask.request_id, request)
        finally:
            shell.accept_over()

    async def _known(self, request_id: str) -> Accepted | None:
        record = await self.house.store.get_turn(request_id)
        if record is None or record.request_id != request_id:
            return None
        return Accepted(record, self.run_of(record), attached=True)

    def run_of(self, record: TurnRecord) -> TurnRun | None:
        """Return the run of a turn that has no outcome yet, or None."""
        shell = self.fleet.shells.get(record.instance)
        return shell.runs.get(record.id) if shell is not None else None

    def _checked(self, ask: Asked) -> TurnRequest:
        limit = self.house.config.turns.prompt_limit
        if isinstance(ask, turns_pb2.AskRequest):
            request = _checked_ask(ask, limit)
        else:
            review = checked_review(ask.target, ask.focus, limit)
            request = TurnRequest(prompt=description(review), review=review)
        if ask.cwd:
            check_directory(ask.cwd)
        profile(self.house.config, ask.profile)
        timeout_s = ask.timeout.ToNanoseconds() / 1e9 if ask.HasField("timeout") else None
        if timeout_s is not None and timeout_s <= 0:
            raise BadInput(what="the time limit is not positive", next_step="give more than 0 s, or none")
        return msgspec.structs.replace(
            request,
            cwd=ask.cwd,
            profile=ask.profile,
            show_reasoning=ask.show_reasoning if ask.HasField("show_reasoning") else None,
            timeout_s=timeout_s,
        )

    def _completed(self, request: TurnRequest, settings: SettingsRecord, fallback_cwd: str) -> TurnRequest:
        """Fill in what the instance knows, so that the record says what the turn really ran with."""
        config = self.house.config
        cwd = request.cwd or settings.cwd or fallback_cwd
        if not cwd:
            raise BadInput(what="no working directory is known", next_step="give one with --cwd")
        check_directory(cwd)
        name = request.profile or settings.profile or config.defaults.profile
        profile(config, name)
        show = request.show_reasoning
        if show is None:
            show = settings.show_reasoning
        return msgspec.structs.replace(
            request,
            cwd=cwd,
            profile=name,
            show_reasoning=config.defaults.show_reasoning if show is None else show,
            timeout_s=request.timeout_s or config.turns.timeout,
        )

    async def _commit(self, shell: InstanceShell, request_id: str, request: TurnRequest) -> Accepted:
        clock = self.house.clock
        now_ns = clock.wall_ns()
        record = TurnRecord(
            id=new_turn_id(now_ns),
            request_id=request_id,
            instance=shell.record.id,
            request=msgspec.structs.replace(request, accepted=Moment(boot_id(), clock.monotonic())),
            accepted_ns=now_ns,
            thread_id=shell.record.thread_id,
        )
        event = turns_pb2.TurnEvent(
            turn_id=record.id,
            seq=1,
            at=timestamp(now_ns),
            accepted=turns_pb2.TurnAccepted(instance=shell.record.id, profile=request.profile),
        )
        rows = [EventRow(1, event.SerializeToString())]
        # A turn that goes to Codex at once is written down as sent: a later start may find that it was not, never that
        # it was and nobody knew.
        sent_on = shell.free_thread()
        journaled = msgspec.structs.replace(record, sent_ns=now_ns) if sent_on else record
        stored, fresh = await self.house.store.accept_turn(journaled, rows)
        if not fresh:
            return Accepted(stored, self.run_of(stored), attached=True)
        self.house.metrics.turns_accepted.inc()
        reach("turn-committed")
        run = self.new_run(shell, record, last_seq=1, rows=rows)
        run.journaled_on = sent_on
        shell.enqueue(run)
        return Accepted(record, run, attached=False)

    def new_run(
        self, shell: InstanceShell, record: TurnRecord, *, last_seq: int, rows: Sequence[EventRow] = ()
    ) -> TurnRun:
        """Make the run of an accepted turn whose journal ends with event `last_seq`; see `TurnLog.resume_at`."""
        house = self.house
        turns = house.config.turns
        limits = LogLimits(ring_bytes=turns.buffer, recorded_bytes=turns.recorded_output_limit)
        log = TurnLog(record.id, house.store, house.clock, limits, house.metrics.events_dropped.inc)
        log.resume_at(last_seq, rows)
        return TurnRun(record, log, shell)

    # --- turns by name ----------------------------------------------------------------------------------------------

    async def find(self, turn_id: str) -> TurnRecord:
        """Return the record of a turn by its id or request id; raise `NotFound`."""
        if not turn_id or len(turn_id) > 128:
            raise BadInput(what="no turn is named", next_step="give its id as `codexctl ask` printed it")
        if (underway := self._underway.get(turn_id)) is not None:
            # It is in the journal a moment before its instance has it.
            await underway.wait()
        record = await self.house.store.get_turn(turn_id)
        if record is None:
            raise NotFound(what=f"there is no turn {turn_id!r}", next_step="look for it with `codexctl history`")
        return record

    async def running(self, turn_id: str, ref: instances_pb2.InstanceRef) -> tuple[InstanceShell, TurnRun]:
        """Return a turn without outcome, by its id or as the running one of an instance.

        Raises `NotFound` for an unknown one, `WrongState` where it has ended or nothing runs.
        """
        if turn_id:
            record = await self.find(turn_id)
            run = self.run_of(record)
            if run is None:
                raise WrongState(
                    what=f"turn {record.id} has ended",
                    why=f"its outcome is {record.outcome.value if record.outcome else 'not known yet'}",
                    next_step=f"see it with `codexctl attach {record.id}`",
                )
            return self.fleet.shells[record.instance], run
        shell = self.fleet.find(ref)
        running = running_turn(shell.state)
        if running is None or running not in shell.runs:
            raise WrongState(
                what=f"no turn runs on instance {shell.record.id}",
                next_step="`codexctl turns --all` lists the turns: name one, or its instance with -i",
            )
        return shell, shell.runs[running]

    def cancel(self, run: TurnRun) -> None:
        """Ask for the end of a turn."""
        run.shell.cancel_turn(run.record.id, Cause.USER)


def _checked_ask(ask: turns_pb2.AskRequest, limit: int) -> TurnRequest:
    check_prompt(ask.prompt, limit)
    if len(ask.images) > _MAX_IMAGES:
        raise LimitExceeded(what=f"{len(ask.images)} images", why=f"the limit is {_MAX_IMAGES}", next_step="send fewer")
    for image in ask.images:
        _check_file(image)
    schema = checked_schema(ask.output_schema)
    return TurnRequest(prompt=ask.prompt, images=tuple(ask.images), output_schema=schema)


def check_prompt(prompt: str, limit: int, key: str = "turns.prompt_limit") -> None:
    """Raise `BadInput` for a prompt that is empty or no text, `LimitExceeded` for one over `limit` characters."""
    if not prompt.strip():
        raise BadInput(what="the prompt is empty", next_step="say what Codex shall do")
    if "\0" in prompt:
        raise BadInput(what="the prompt holds a NUL character", next_step="send text, not binary data")
    if len(prompt) > limit:
        raise LimitExceeded(
            what=f"the prompt has {len(prompt):,} characters",
            why=f"the limit is {limit:,} ({key})",
            next_step="put the text into a file and let Codex read it",
        )


def _check_file(path: str) -> None:
    file = Path(path)
    if not file.is_absolute():
        raise BadInput(what=f"the image path {path!r} is not absolute", next_step="send an absolute path")
    if not os.path.isfile(path):  # noqa: PTH113  pathlib raises for a name that is too long
        raise BadInput(what=f"there is no file {path!r}", next_step="check the path of the image")


def check_directory(path: str) -> None:
    """Raise `BadInput` unless `path` is the absolute path of a directory."""
    directory = Path(path)
    if not directory.is_absolute():
        raise BadInput(what=f"the working directory {path!r} is not absolute", next_step="send an absolute path")
    if not os.path.isdir(path):  # noqa: PTH112  pathlib raises for a name that is too long
        raise BadInput(what=f"there is no directory {path!r}", next_step="check the working directory (--cwd)")


def checked_schema(text: str) -> str:
    """Return a JSON Schema as it was sent; raise `BadInput` or `LimitExceeded` for what cannot be one."""
    if not text:
        return ""
    if len(text) > _MAX_SCHEMA_BYTES:
        raise LimitExceeded(
            what="the output schema is too long",
            why=f"the limit is {_MAX_SCHEMA_BYTES:,} characters",
            next_step="send a smaller one",
        )
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadInput(
            what="the output schema is not JSON", why=str(error), next_step="correct it (--schema)"
        ) from error
    if not isinstance(schema, dict):
        raise BadInput(what="the output schema is not a JSON object", next_step="write {…} (--schema)")
    return text
