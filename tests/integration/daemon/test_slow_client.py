"""Huge answers and clients that do not read: Codex is read on, and the supervisor's memory stays bounded."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
import yaml
from codex_control.v1 import admin_pb2, outcome_pb2, turns_pb2

from tests.integration.daemon.talking import Events, assert_well_formed, text_of
from tests.support.model_script import Bulk, EndText, Step, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor
from tests.support.waiting import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

MB = 1_000_000
UNBOUNDED = [("grpc.max_receive_message_length", -1)]


def memory_bytes(pid: int) -> int:
    """Resident memory of a process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def flood(messages: int, size_bytes: int) -> list[Step]:
    """Steps that send so many messages of so many bytes."""
    steps: list[Step] = []
    for _ in range(messages):
        steps += [Bulk(size_bytes, 50), EndText()]
    return steps


async def has_ended(client: Client, turn_id: str) -> bool:
    """Whether a turn has its outcome."""
    found = await client.turns.Get(turns_pb2.GetTurnRequest(turn_id=turn_id))
    return bool(found.turn.state == turns_pb2.TURN_STATE_ENDED)


def dropped_bytes(events: Events) -> int:
    """The text that was dropped with a notice."""
    return sum(event.dropped.bytes for event in events)


async def begun(client: Client, turn_id: str) -> grpc.aio.UnaryStreamCall[Any, Any]:
    """A client that reads the first event and then no more."""
    call: grpc.aio.UnaryStreamCall[Any, Any] = client.turns.Attach(turns_pb2.AttachRequest(turn_id=turn_id))
    assert isinstance(await call.read(), turns_pb2.AttachResponse)
    return call


async def drained(call: grpc.aio.UnaryStreamCall[Any, Any]) -> Events:
    """The rest of a call."""
    events: Events = []
    while True:
        answer: Any = await call.read()
        if answer is grpc.aio.EOF:
            return events
        events.append(answer.event)


async def test_twenty_clients_that_do_not_read_cost_no_memory_and_hold_up_nobody(
    daemon: RunningSupervisor, client: Client, model: StubModel, name: str
) -> None:
    gate = model.gate()
    model.script(gate, *flood(80, 50_000))
    request = client.request("flood", name, detach=True)
    async for _ in client.turns.Ask(request):
        pass
    await gate.reached()
    # A channel of its own: on a shared one the unread streams could fill the connection.
    async with grpc.aio.insecure_channel(f"unix:{daemon.socket}", options=UNBOUNDED) as channel:
        sleepers = [await begun(Client(channel, client.cwd), request.request_id) for _ in range(20)]
        before = memory_bytes(daemon.pid)
        gate.release()
        await wait_for(lambda: has_ended(client, request.request_id), 30, "the turn to end while nobody reads")
        # Twenty copies would be 160 MB: the text in pieces, and every message once more as a whole. What there is is
        # some 5 times the largest message on its way, once, and what the allocator keeps of it on a busy machine.
        assert memory_bytes(daemon.pid) - before < 60 * MB
        assert (await client.ask("and me", f"{name[:40]}-other")).outcome == outcome_pb2.OUTCOME_COMPLETED
        for events in await asyncio.gather(*(drained(sleeper) for sleeper in sleepers)):
            assert len(text_of(events)) + dropped_bytes(events) == 4 * MB
            assert sum(len(event.message.text) for event in events) == 4 * MB
            assert events[-1].ended.turn.outcome == outcome_pb2.OUTCOME_COMPLETED


async def test_a_large_answer_arrives_whole(client: Client, model: StubModel, name: str) -> None:
    model.script(Bulk(10 * MB, 1000))
    events = await client.events("much", name)
    assert_well_formed(events)
    turn = events[-1].ended.turn
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert turn.answer == "x" * (10 * MB)
    assert len(text_of(events)) + dropped_bytes(events) == 10 * MB


async def test_one_large_message_for_a_client_that_does_not_read(
    daemon: RunningSupervisor, client: Client, model: StubModel, name: str
) -> None:
    gate = model.gate()
    model.script(gate, Bulk(8 * MB, 800))
    request = client.request("flood", name, detach=True)
    async for _ in client.turns.Ask(request):
        pass
    await gate.reached()
    async with grpc.aio.insecure_channel(f"unix:{daemon.socket}", options=UNBOUNDED) as channel:
        sleeper = await begun(Client(channel, client.cwd), request.request_id)
        gate.release()
        await wait_for(lambda: has_ended(client, request.request_id), 30, "the turn to end while nobody reads")
        events = await drained(sleeper)
    assert len(text_of(events)) + dropped_bytes(events) == 8 * MB
    assert len(events[-1].ended.turn.answer) == 8 * MB


@asynccontextmanager
async def limits(daemon: RunningSupervisor, **turns: int) -> AsyncIterator[None]:
    """Other limits of turns while the block runs."""
    written = daemon.config_file.read_text()
    daemon.config_file.write_text(yaml.safe_dump({**yaml.safe_load(written), "turns": turns}))
    await daemon.client.admin.Reload(admin_pb2.ReloadRequest())
    try:
        yield
    finally:
        daemon.config_file.write_text(written)
        await daemon.client.admin.Reload(admin_pb2.ReloadRequest())


async def test_what_is_over_the_recorded_limit_is_dropped_with_a_notice_and_the_answer_is_whole(
    daemon: RunningSupervisor, client: Client, model: StubModel, name: str
) -> None:
    model.script(Bulk(3 * MB, 300))
    async with limits(daemon, recorded_output_limit=MB):
        events = await client.events("too much", name)
    assert_well_formed(events)
    dropped = [event.dropped for event in events if event.HasField("dropped")]
    assert sum(notice.bytes for notice in dropped) + len(text_of(events)) == 3 * MB
    assert len(text_of(events)) <= MB
    assert "turns.recorded_output_limit" in dropped[0].reason
    turn = events[-1].ended.turn
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert len(turn.answer) == 3 * MB


async def test_an_answer_over_the_limit_ends_the_turn_and_its_beginning_is_kept(
    daemon: RunningSupervisor, client: Client, model: StubModel, name: str
) -> None:
    gate = model.gate()
    # It would go on for ever: the limit ends it.
    model.script(Bulk(2 * MB, 200), gate, Text("never reached"))
    async with limits(daemon, answer_limit=MB):
        turn = await client.ask("endless", name)
    gate.release()
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_LIMIT)
    assert "turns.answer_limit" in turn.error
    assert 0.9 * MB < len(turn.answer) <= MB
