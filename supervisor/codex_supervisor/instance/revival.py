"""After a start of the supervisor: what an earlier one left is adopted, or proven gone, and its turns go on."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict

from codex_control.errors import ChildFailed
from codex_control.v1 import turns_pb2

from codex_supervisor.child.awake import AwakeChild
from codex_supervisor.child.identity import living_tokens, verify
from codex_supervisor.instance.asks import Asks
from codex_supervisor.instance.children import adopt_child, end_unknown, take_down
from codex_supervisor.instance.events import CancelWanted, ChildAdopted, TurnAccepted, TurnFound
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.store.records import Cause, ChildRecord, InstanceRecord, Outcome, TurnRecord
from codex_supervisor.turn.run import TurnRun

_log = logging.getLogger(__name__)

_PAGE_EVENTS = 500
_PAGE_BYTES = 4 << 20


async def revive(fleet: Fleet, asks: Asks) -> None:
    """Adopt or end every recorded child, and give every turn without outcome back to its instance.

    Returns when each child is in hand or proven gone; the turns then go on by themselves.
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
    child = await _adopt_newest(shell, children)
    runs = [await _revived_run(asks, shell, turn) for turn in turns]
    # One turn runs at a time, so the first one alone can have been sent.
    sent = runs[0] if runs and runs[0].record.sent_ns is not None else None
    for run in runs:
        shell.runs[run.record.id] = run
    if child is not None:
        shell.keeper.take(child)
        if sent is not None:
            notice = "the supervisor was restarted; the turn ran on, and is followed again"
            sent.log.append(turns_pb2.TurnEvent(warning=turns_pb2.Warning(message=notice)))
        shell.dispatch(ChildAdopted(child.generation, sent.record.id if sent else None))
    elif sent is not None:
        shell.dispatch(TurnFound(sent.record.id))
    for run in runs:
        if run is not sent:
            shell.dispatch(TurnAccepted(run.record.id))
    for run in runs:
        if (cause := run.record.request.wanted_end) is not None:
            # Whoever wanted it may have died with the supervisor that was told.
            shell.dispatch(CancelWanted(run.record.id, cause))


async def _adopt_newest(shell: InstanceShell, children: list[ChildRecord]) -> AwakeChild | None:
    house = shell.house
    adopted: AwakeChild | None = None
    for record in sorted(children, key=lambda child: child.generation, reverse=True):
        if adopted is None and record.pid > 0:
            try:
                adopted = await adopt_child(
                    house, record, on_notification=shell.on_notification, on_request=shell.on_request
                )
            except ChildFailed as error:
                _log.info("child_not_adopted", extra={"instance": record.instance, "error": str(error)})
            else:
                house.metrics.adoptions.labels(result="adopted").inc()
                _log.info("child_adopted", extra={"instance": record.instance, "pid": record.pid})
                continue
        # What was ours and did not answer is ended here; a stranger's process is not touched.
        found = verify(record) if record.pid > 0 else "gone"
        house.metrics.adoptions.labels(result="ended" if found == "same" else found).inc()
        await take_down(house, record, None, shell.keeper.thread_ids(), cut=True)
    return adopted


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
