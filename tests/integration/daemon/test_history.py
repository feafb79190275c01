"""Every ask and answer can be found again: paged, searched, exported, cleared; from the store and from the archive."""

from __future__ import annotations

import asyncio

import pytest
from codex_control.v1 import history_pb2, outcome_pb2, turns_pb2

from tests.integration.daemon.talking import is_error
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref
from tests.support.waiting import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEPT = 3
ASKED = 8
DAEMON_SETTINGS = {"history": {"entries_per_instance": KEPT, "events_kept": 1}}


async def fill(client: Client, name: str) -> list[turns_pb2.Turn]:
    """Ask more than the store keeps; return the records, oldest first."""
    turns = [await client.ask(f"Question {number} of {name}", name) for number in range(ASKED)]
    assert all(turn.outcome == outcome_pb2.OUTCOME_COMPLETED for turn in turns)
    return turns


async def wait_for_archive(daemon: RunningSupervisor) -> None:
    """Wait until entries have moved out of the store."""
    archive = daemon.state_dir / "archive"
    await wait_for(lambda: any(path.is_file() for path in archive.rglob("*")), what="the archive")


async def all_pages(client: Client, name: str, page_size: int) -> list[turns_pb2.Turn]:
    """The whole history, page by page."""
    request = history_pb2.PageRequest(instance=ref(name), page_size=page_size)
    found: list[turns_pb2.Turn] = []
    while True:
        page = await client.history.Page(request)
        assert len(page.entries) <= page_size
        found += page.entries
        if not page.next_page_token:
            return found
        request.page_token = page.next_page_token


async def test_history_is_whole_across_store_archive_and_restart(
    client: Client, model: StubModel, name: str, daemon: RunningSupervisor
) -> None:
    turns = await fill(client, name)
    await wait_for_archive(daemon)
    newest_first = turns[::-1]
    for page_size in (2, 5, 100):
        assert await all_pages(client, name, page_size) == newest_first
    exported = [answer.entry async for answer in client.history.Export(history_pb2.ExportRequest(instance=ref(name)))]
    assert exported == turns

    search = history_pb2.SearchRequest(instance=ref(name), text="question 2 OF")
    found = await client.history.Search(search)
    assert [turn.id for turn in found.entries] == [turns[2].id]
    everything = await client.history.Search(history_pb2.SearchRequest(instance=ref(name), text="STUB: question"))
    assert list(everything.entries) == newest_first
    nothing = await client.history.Search(history_pb2.SearchRequest(instance=ref(name), text="no such words"))
    assert not nothing.entries

    # An archived turn is still known by its id and its request id, and its request starts nothing anew.
    oldest = turns[0]
    for known_as in (oldest.id, oldest.request_id):
        assert (await client.turns.Get(turns_pb2.GetTurnRequest(turn_id=known_as))).turn == oldest
    before = model.received
    repeated = await client.events("something else", name, request_id=oldest.request_id)
    assert repeated[-1].ended.turn == oldest
    assert model.received == before

    await daemon.stop()
    await daemon.start()
    assert await all_pages(daemon.client, name, 5) == newest_first
    turn = await daemon.client.ask("one more", name)
    assert turn.thread_id == oldest.thread_id
    assert await all_pages(daemon.client, name, 5) == [turn, *newest_first]


async def test_clearing_deletes_one_instance_and_not_what_runs(
    daemon: RunningSupervisor, model: StubModel, name: str
) -> None:
    client = daemon.client
    other = f"{name[:40]}-other"
    await fill(client, name)
    kept = await client.ask("of another instance", other)
    gate = model.gate()
    model.script(gate, Text("still there"))
    running = asyncio.ensure_future(client.ask("runs on", name))
    await gate.reached()
    cleared = await client.history.Clear(history_pb2.ClearRequest(instance=ref(name)))
    assert cleared.deleted == ASKED
    gate.release()
    turn = await running
    assert turn.answer == "still there"
    assert await all_pages(client, name, 5) == [turn]
    assert await all_pages(client, other, 5) == [kept]
    everything = await client.history.Page(history_pb2.PageRequest(page_size=500))
    assert {turn.id, kept.id} <= {entry.id for entry in everything.entries}
    assert f"Question 0 of {name}" not in {entry.prompt for entry in everything.entries}


async def test_a_turn_whose_events_were_pruned_still_has_its_end(
    daemon: RunningSupervisor, model: StubModel, name: str
) -> None:
    client = daemon.client
    first = await client.ask("first", name)
    for number in range(2):
        await client.ask(f"later {number}", name)

    async def pruned() -> list[turns_pb2.TurnEvent]:
        request = turns_pb2.AttachRequest(turn_id=first.id)
        events = [answer.event async for answer in client.turns.Attach(request)]
        return events if len(events) == 1 else []

    (event,) = await wait_for(pruned, what="the events to be pruned")
    assert event.ended.turn == first


async def test_questions_that_make_no_sense(daemon: RunningSupervisor, name: str) -> None:
    client = daemon.client
    for request, status in (
        (history_pb2.PageRequest(instance=ref("nobody")), "NOT_FOUND"),
        (history_pb2.PageRequest(page_size=501), "INVALID_ARGUMENT"),
        (history_pb2.PageRequest(page_size=-1), "INVALID_ARGUMENT"),
        (history_pb2.PageRequest(page_token="nonsense"), "INVALID_ARGUMENT"),
    ):
        async with is_error(status):
            await client.history.Page(request)
    for search in (history_pb2.SearchRequest(text=""), history_pb2.SearchRequest(text="x" * 100_000)):
        async with is_error("INVALID_ARGUMENT"):
            await client.history.Search(search)
    async with is_error("NOT_FOUND"):
        await client.history.Clear(history_pb2.ClearRequest(instance=ref("nobody")))
    async with is_error("INVALID_ARGUMENT"):
        await client.history.Clear(history_pb2.ClearRequest())
