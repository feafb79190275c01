"""The Turns service: asks and reviews, and what can be wanted of a turn that runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import grpc.aio
from codex_control.errors import BadInput, LimitExceeded, NotFound
from codex_control.v1 import turns_pb2, turns_pb2_grpc

from codex_supervisor.instance.asks import Accepted, Asked, Asks
from codex_supervisor.instance.shell import InstanceShell
from codex_supervisor.store.records import TurnRecord, TurnState
from codex_supervisor.turn.log import replay
from codex_supervisor.turn.messages import turn_message
from codex_supervisor.turn.run import TurnRun

Context = grpc.aio.ServicerContext[Any, Any]

_STATES = {
    turns_pb2.TURN_STATE_QUEUED: TurnState.QUEUED,
    turns_pb2.TURN_STATE_RUNNING: TurnState.RUNNING,
    turns_pb2.TURN_STATE_ENDED: TurnState.ENDED,
}


@dataclass(slots=True)
class _AskCall:
    """An ask whose receipt is on its way: the client may go and the turn may be accepted, in either order."""

    gone: bool = False
    accepted: Accepted | None = None


class TurnsServicer(turns_pb2_grpc.TurnsServicer):
    """Takes asks, shows turns, and passes on what people say to a running one."""

    def __init__(self, asks: Asks) -> None:
        self._asks = asks
        self._store = asks.house.store

    async def Ask(self, request: turns_pb2.AskRequest, context: Context) -> AsyncIterator[turns_pb2.AskResponse]:
        """See turns.proto."""
        async with contextlib.aclosing(self._take(request)) as events:
            async for event in events:
                yield turns_pb2.AskResponse(event=event)

    async def Review(
        self, request: turns_pb2.ReviewRequest, context: Context
    ) -> AsyncIterator[turns_pb2.ReviewResponse]:
        """See turns.proto."""
        async with contextlib.aclosing(self._take(request)) as events:
            async for event in events:
                yield turns_pb2.ReviewResponse(event=event)

    async def _take(self, request: Asked) -> AsyncGenerator[turns_pb2.TurnEvent, None]:
        # A client that goes away in this moment leaves a turn that is either not accepted or will run.
        call = _AskCall()
        try:
            accepted = await self._asks.house.tasks.to_the_end(self._accept(request, call), "accept")
        except asyncio.CancelledError:
            call.gone = True
            self._interrupt_unwanted(request, call)
            raise
        try:
            async with contextlib.aclosing(self._events(accepted, 0, interactive=request.interactive)) as events:
                async for event in events:
                    if event.HasField("accepted"):
                        event.accepted.attached = accepted.attached
                    yield event
                    if request.detach:
                        return
        except (asyncio.CancelledError, GeneratorExit):
            if request.interrupt_on_cancel and accepted.run is not None:
                self._asks.cancel(accepted.run)
            raise

    async def _accept(self, request: Asked, call: _AskCall) -> Accepted:
        call.accepted = await self._asks.accept(request)
        self._interrupt_unwanted(request, call)
        return call.accepted

    def _interrupt_unwanted(self, request: Asked, call: _AskCall) -> None:
        """Interrupt a turn whose client went away before it had the receipt, where it wanted that."""
        run = call.accepted.run if call.accepted is not None else None
        if call.gone and request.interrupt_on_cancel and run is not None:
            self._asks.cancel(run)

    async def Attach(
        self, request: turns_pb2.AttachRequest, context: Context
    ) -> AsyncIterator[turns_pb2.AttachResponse]:
        """See turns.proto."""
        record = await self._asks.find(request.turn_id)
        found = Accepted(record, self._asks.run_of(record), attached=True)
        # A person who leaves is gone at once, and not when the collector comes by.
        events = self._events(found, request.after_seq, interactive=request.interactive)
        async with contextlib.aclosing(events):
            async for event in events:
                yield turns_pb2.AttachResponse(event=event)

    async def _events(
        self, turn: Accepted, after_seq: int, *, interactive: bool
    ) -> AsyncGenerator[turns_pb2.TurnEvent, None]:
        run = turn.run
        if run is None:
            record = await self._asks.find(turn.record.id)
            async for event in replay(self._store, record, after_seq):
                yield event
            return
        with run.log.attached(interactive=interactive):
            async for event in run.log.follow(after_seq):
                yield event

    async def Interrupt(self, request: turns_pb2.InterruptRequest, context: Context) -> turns_pb2.InterruptResponse:
        """See turns.proto."""
        _, run = await self._asks.running(request.turn_id, request.instance)
        self._asks.cancel(run)
        async for _ in run.log.follow(run.log.last_seq):
            pass
        record = await self._asks.find(run.record.id)
        return turns_pb2.InterruptResponse(turn=turn_message(record))

    async def Steer(self, request: turns_pb2.SteerRequest, context: Context) -> turns_pb2.SteerResponse:
        """See turns.proto."""
        if not request.text.strip():
            raise BadInput(what="the text is empty", next_step="say what Codex shall mind")
        limit = self._asks.house.config.turns.prompt_limit
        if len(request.text) > limit:
            raise LimitExceeded(
                what=f"the text has {len(request.text):,} characters",
                why=f"the limit is {limit:,}",
                next_step="put it into a file, and say where it is",
            )
        _, run = await self._asks.running(request.turn_id, request.instance)
        await run.steer(request.text)
        return turns_pb2.SteerResponse(turn_id=run.record.id)

    async def Get(self, request: turns_pb2.GetTurnRequest, context: Context) -> turns_pb2.GetTurnResponse:
        """See turns.proto."""
        return turns_pb2.GetTurnResponse(turn=self._view(await self._asks.find(request.turn_id)))

    async def List(self, request: turns_pb2.ListTurnsRequest, context: Context) -> turns_pb2.ListTurnsResponse:
        """See turns.proto."""
        instance = self._asks.fleet.find(request.instance).record.id if request.HasField("instance") else None
        unknown = [state for state in request.states if state not in _STATES]
        if unknown:
            raise BadInput(what=f"{unknown[0]} is not a state of a turn", next_step="name one of turns.proto")
        records, token = await self._store.list_turns(
            instance, [_STATES[state] for state in request.states], page_size(request.page_size, 50), request.page_token
        )
        return turns_pb2.ListTurnsResponse(turns=[self._view(record) for record in records], next_page_token=token)

    def _view(self, record: TurnRecord) -> turns_pb2.Turn:
        shell = self._asks.fleet.shells.get(record.instance)
        queue = shell.core.queue if shell is not None else ()
        position = queue.index(record.id) + 1 if record.id in queue else 0
        return turn_message(record, queue_position=position)

    async def Respond(self, request: turns_pb2.RespondRequest, context: Context) -> turns_pb2.RespondResponse:
        """See turns.proto."""
        run, approval_id = await self._open_approval(request)
        run.approvals.respond(approval_id, request.decision, request.answers)
        return turns_pb2.RespondResponse(approval_id=approval_id)

    async def _open_approval(self, request: turns_pb2.RespondRequest) -> tuple[TurnRun, str]:
        if request.approval_id:
            turn_id, _, number = request.approval_id.partition(".")
            try:
                _, run = await self._asks.running(turn_id if number else "-", request.instance)
            except NotFound as error:
                # It is an approval that was named, and not a turn.
                raise NotFound(
                    what=f"there is no approval {request.approval_id[:200]!r}",
                    next_step="leave the id out to answer the only one that is open, or see it with `codexctl attach`",
                ) from error
            return run, request.approval_id
        shell: InstanceShell = self._asks.fleet.find(request.instance)
        waiting = [(run, approval) for run in shell.runs.values() for approval in run.approvals.open_ids]
        if not waiting:
            raise NotFound(
                what=f"instance {shell.record.id} waits for no approval",
                next_step="`codexctl turns --all` lists the turns, `codexctl attach TURN` shows what one waits for",
            )
        if len(waiting) > 1:
            names = ", ".join(approval for _, approval in waiting)
            raise BadInput(what=f"{len(waiting)} approvals are open", why=names, next_step="name one of them")
        return waiting[0]


def page_size(wanted: int, default: int) -> int:
    """Return the size of a page: the default for 0; raise `BadInput` outside 1 to 500."""
    if wanted == 0:
        return default
    if not 1 <= wanted <= 500:
        raise BadInput(what=f"a page of {wanted} entries", why="it has 1 to 500", next_step="ask for several pages")
    return wanted
