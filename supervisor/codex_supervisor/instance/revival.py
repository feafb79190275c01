"""After a start of the supervisor: what an earlier one left is adopted, or proven gone, and its turns go on."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

from codex_control.errors import ChildFailed
from codex_control.v1 import turns_pb2

from codex_supervisor.child.awake import AwakeChild
from codex_supervisor.child.identity import living_tokens, verify
from codex_supervisor.instance.asks import Asks
from codex_supervisor.instance.children import adopt_child, end_unknown, take_down
from codex_supervisor.instance.events import CancelWanted, ChildAdopted, ChildFound, TurnAccepted, TurnFound
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.instance.states import running_turn
from codex_supervisor.store.records import Cause, ChildRecord, InstanceRecord, Outcome, TurnRecord
from codex_supervisor.turn.run import TurnRun

_log = logging.getLogger(__name__)

# How long an adoption may hold readiness up. A child that works answers within milliseconds; one that is silent is
# waited for beside the others' asks, and its instance is starting until then.
_PROMPT_S = 1.0

_PAGE_EVENTS = 500
_PAGE_BYTES = 4 << 20


async def revive(fleet: Fleet, asks: Asks) -> None:
    """Adopt or end every recorded child, and give every turn without outcome back to its instance.

    Returns when each child is in hand, proven gone, or silent; the turns then go on by themselves. An instance with a
    silent child is starting until it answers, or is given up.
    """
    store = fleet.house.store
    # Before anything is spawned: those would be unknown too.
    unknown = await asyncio.to_thread(living_tokens, fleet.house.paths.runtime_dir)
    children: defaultdict[str, list[ChildRecord]] = defaultdict(list)
    for record in await store.load_children():
        unknown.discard(record.token)
        children[record.instance].append(record)
    turns: defaultdict[str, list[TurnRecord]] = defaultdict(list)
    for turn in await store.unfinished_turns():
        turns[turn.instance].append(turn)
    names = sorted(children.keys() | turns.keys())
    await asyncio.gather(
        *(end_unknown(fleet.house, token) for token in unknown),
        *(_revive(fleet, asks, name, children[name], turns[name]) for name in names),
    )


async def _revive(fleet: Fleet, asks: Asks, name: str, children: list[ChildRecord], turns: list[TurnRecord]) -> None:
    shell = fleet.shells.get(name)
    if shell is None:
        # Its deletion was cut short: what is left of it goes the same way.
        forgotten = InstanceShell(InstanceRecord(id=name, created_ns=0), fleet.house, lambda _: None)
        for record in children:
            await take_down(fleet.house, record, None, (), cut=True)
        for turn in turns:
            run = await _revived_run(asks, forgotten, turn)
            await run.end(Outcome.FAILED, Cause.SUPERVISOR_LOST, f"its instance {name} was deleted")
        return
    found = await _find_child(shell, children)
    runs = [await _revived_run(asks, shell, turn) for turn in turns]
    # One turn runs at a time, so the first one alone can have been sent.
    sent = runs[0] if runs and runs[0].record.sent_ns is not None else None
    for run in runs:
        shell.runs[run.record.id] = run
    match found:
        case AwakeChild() as child:
            shell.keeper.take(child)
            _note_adopted(shell, sent, child)
            shell.dispatch(ChildAdopted(child.generation, sent.record.id if sent else None))
        case _Silent() as silent:
            shell.dispatch(ChildFound(silent.record.generation, sent.record.id if sent else None))
            shell.keeper.await_adoption(silent.record, silent.adopting, partial(_is_wanted, shell, sent))
        case None if sent is not None:
            # A crash leaves the record of the child.
            sent.was_stopped = not children
            shell.dispatch(TurnFound(sent.record.id))
        case None:
            pass
    for run in runs:
        if run is not sent:
            shell.dispatch(TurnAccepted(run.record.id))
    for run in runs:
        if (cause := run.record.request.wanted_end) is not None:
            # Whoever wanted it may have died with the supervisor that was told.
            shell.dispatch(CancelWanted(run.record.id, cause))


@dataclass(frozen=True, slots=True)
class _Silent:
    """A child that is ours and has not answered yet."""

    record: ChildRecord
    adopting: asyncio.Task[AwakeChild]


async def _find_child(shell: InstanceShell, children: list[ChildRecord]) -> AwakeChild | _Silent | None:
    """Return the newest child, adopted or still silent, or None; what else there is of the others is ended."""
    found: AwakeChild | _Silent | None = None
    for record in sorted(children, key=lambda child: child.generation, reverse=True):
        is_for_other_model = record.demo_overrides != shell.house.child_overrides
        may_be_adopted = found is None and record.pid > 0 and not is_for_other_model
        if may_be_adopted and (found := await _adopt(shell, record)) is not None:
            continue
        # What was ours and did not answer is ended here; a stranger's process is not touched.
        is_ours = verify(record) if record.pid > 0 else "gone"
        if is_ours == "same" and is_for_other_model:
            # Where the demo began or ended. The other model is gone, and Codex would try it again for ever.
            shell.keeper.last_death = "it was started for another model than the one that answers now"
            _log.info("child_not_adopted", extra={"instance": shell.record.id, "error": shell.keeper.last_death})
        shell.house.metrics.adoptions.labels(result="ended" if is_ours == "same" else is_ours).inc()
        await take_down(shell.house, record, None, shell.keeper.thread_ids(), cut=True)
    return found


async def _adopt(shell: InstanceShell, record: ChildRecord) -> AwakeChild | _Silent | None:
    house = shell.house
    connecting = adopt_child(house, record, on_notification=shell.on_notification, on_request=shell.on_request)
    adopting = asyncio.get_running_loop().create_task(connecting, name=f"adopt {record.instance}")
    await asyncio.wait({adopting}, timeout=_PROMPT_S)
    if not adopting.done():
        _log.warning("child_silent", extra={"instance": record.instance, "pid": record.pid})
        return _Silent(record, adopting)
    try:
        return adopting.result()
    except ChildFailed as error:
        _log.info("child_not_adopted", extra={"instance": record.instance, "error": str(error)})
        return None


def _is_wanted(shell: InstanceShell, sent: TurnRun | None, child: AwakeChild) -> bool:
    """Say whether a child that has answered at last may still be taken: not where its turn was ended meanwhile."""
    if sent is not None and running_turn(shell.state) != sent.record.id:
        return False
    _note_adopted(shell, sent, child)
    return True


def _note_adopted(shell: InstanceShell, sent: TurnRun | None, child: AwakeChild) -> None:
    shell.house.metrics.adoptions.labels(result="adopted").inc()
    _log.info("child_adopted", extra={"instance": shell.record.id, "pid": child.record.pid})
    if sent is not None:
        notice = "the supervisor was restarted; the turn ran on, and is followed again"
        sent.log.append(turns_pb2.TurnEvent(warning=turns_pb2.Warning(message=notice)))


async def _revived_run(asks: Asks, shell: InstanceShell, turn: TurnRecord) -> TurnRun:
    store = asks.house.store
    run = asks.new_run(shell, turn, last_seq=await store.last_seq(turn.id))
    position = 0
    while rows := await store.read_events(turn.id, position, _PAGE_EVENTS, _PAGE_BYTES):
        for row in rows:
            position = row.seq
            event = turns_pb2.TurnEvent.FromString(row.payload)
            run.draft.recall(event)
            run.approvals.recall(event)
    # Who asked the earlier supervisor asks this one again, or is gone.
    run.approvals.forget()
    return run
