"""Instances, children, turns and events through the store."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from codex_control.errors import NotFound, WrongState
from codex_supervisor.store.records import (
    Cause,
    ChildRecord,
    CommandRecord,
    FileRecord,
    InstanceRecord,
    Outcome,
    SettingsRecord,
    TurnRecord,
    TurnRequest,
    TurnState,
    Usage,
)
from codex_supervisor.store.store import Store

from tests.unit.store.samples import end, events, finished, opened, rows, turn


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    async with opened(tmp_path) as made:
        yield made


async def test_instances_and_children_come_back(tmp_path: Path) -> None:
    settings = SettingsRecord(profile="high", show_reasoning=True, final_only=False)
    blue = InstanceRecord(id="blue", created_ns=5, settings=settings, wanted=False)
    red = InstanceRecord(id="red", created_ns=6, restarts=3)
    child = ChildRecord(token="t1", instance="blue", generation=2, socket="/s", boot_id="b")
    async with opened(tmp_path) as store:
        await store.save_instance(red)
        await store.save_instance(InstanceRecord(id="blue", created_ns=5))
        await store.save_instance(blue)
        await store.save_child(child)
        await store.save_child(msgspec.structs.replace(child, pid=77))
        await store.save_child(msgspec.structs.replace(child, token="t2"))
        await store.delete_child("t2")
        await store.delete_child("unknown")
    async with opened(tmp_path) as store:
        assert await store.load_instances() == [blue, red]
        assert await store.load_children() == [msgspec.structs.replace(child, pid=77)]


async def test_a_turn_through_its_life(store: Store) -> None:
    first = turn(1)
    assert await store.accept_turn(first, events(1)) == (first, True)
    assert await store.get_turn("turn-1") == await store.get_turn("request-1") == first
    assert first.state is TurnState.QUEUED
    await store.mark_sent("turn-1", thread_id="th", sent_ns=7)
    await store.mark_started("turn-1", codex_turn_id="ct")
    assert [await store.bump_recovery("turn-1"), await store.bump_recovery("turn-1", stopped=True)] == [1, 2]
    await store.append_events("turn-1", events(2, 5))
    await store.append_events("turn-1", [])
    run = CommandRecord(item_id="c", command="ls", status="completed", exit_code=0)
    file = FileRecord(item_id="f", path="/p", kind="add", status="completed")
    await store.save_progress("turn-1", [run], [file], Usage(input=3))
    running = await store.get_turn("turn-1")
    assert running is not None
    assert (running.thread_id, running.codex_turn_id, running.sent_ns, running.recoveries) == ("th", "ct", 7, 2)
    assert running.request.stops == 1
    assert (running.commands, running.files, running.usage) == ((run,), (file,), Usage(input=3))
    assert running.state is TurnState.RUNNING
    assert await store.unfinished_turns() == [running]
    made_end = end("the answer")
    assert await store.finish_turn("turn-1", made_end, events(6))
    ended = await store.get_turn("turn-1")
    assert ended is not None
    assert ended.state is TurnState.ENDED
    for name in made_end.__struct_fields__:
        assert getattr(ended, name) == getattr(made_end, name), name
    assert await store.unfinished_turns() == []
    assert [row.seq for row in await store.read_events("turn-1", 0, 100, 1000)] == [1, 2, 5, 6]


async def test_every_kind_of_end_is_kept(store: Store) -> None:
    for number, outcome in enumerate(Outcome):
        causes = [None] if outcome is Outcome.COMPLETED else [None, *Cause]
        for cause in causes:
            made = turn(number * 100 + (list(Cause).index(cause) + 1 if cause else 0))
            await store.accept_turn(made, [])
            assert await store.finish_turn(made.id, end("a", outcome, cause), [])
            kept = await store.get_turn(made.id)
            assert kept is not None
            assert (kept.outcome, kept.cause) == (outcome, cause)


async def test_a_completed_turn_with_a_cause_is_refused(store: Store) -> None:
    await store.accept_turn(turn(1), [])
    with pytest.raises(WrongState):
        await store.finish_turn("turn-1", end("a", Outcome.COMPLETED, Cause.USER), events(1))
    assert [old.id for old in await store.unfinished_turns()] == ["turn-1"]
    assert await store.last_seq("turn-1") == 0


async def test_a_turn_can_be_accepted_as_sent(store: Store) -> None:
    sent = msgspec.structs.replace(turn(1), thread_id="th", sent_ns=9)
    await store.accept_turn(sent, [])
    assert await store.unfinished_turns() == [sent]


async def test_a_known_request_starts_no_second_turn(store: Store) -> None:
    await store.accept_turn(turn(1), events(1))
    again = msgspec.structs.replace(turn(2), request_id="request-1")
    assert await store.accept_turn(again, events(1, 2)) == (turn(1), False)
    assert await store.get_turn("turn-2") is None
    assert await store.last_seq("turn-1") == 1


async def test_one_of_many_concurrent_accepts_wins(store: Store, tmp_path: Path) -> None:
    same = [msgspec.structs.replace(turn(number), request_id=f"request-{number % 3}") for number in range(60)]
    random.Random(5).shuffle(same)
    results = await asyncio.gather(*(store.accept_turn(made, events(1)) for made in same))
    assert sum(new for _, new in results) == 3
    assert len({record.id for record, _ in results}) == 3
    assert rows(tmp_path, "SELECT count(*) FROM turns") == [(3,)]
    assert rows(tmp_path, "SELECT count(*) FROM events") == [(3,)]


async def test_one_of_many_concurrent_ends_wins(store: Store) -> None:
    await store.accept_turn(turn(1), [])
    ends = [end(f"answer {number}") for number in range(30)]
    results = await asyncio.gather(
        *(store.finish_turn("turn-1", made, events(number + 1)) for number, made in enumerate(ends))
    )
    (winner,) = [number for number, result in enumerate(results) if result is not None]
    kept = await store.get_turn("turn-1")
    assert kept is not None
    assert kept.answer == f"answer {winner}"
    assert results[winner] == kept
    assert [row.seq for row in await store.read_events("turn-1", 0, 99, 9999)] == [winner + 1]


async def test_nothing_is_added_to_an_ended_turn(store: Store) -> None:
    await finished(store, 1)
    for call in (
        store.mark_sent("turn-1", thread_id="x", sent_ns=1),
        store.mark_started("turn-1", codex_turn_id="x"),
        store.bump_recovery("turn-1"),
        store.want_end("turn-1", Cause.USER),
        store.save_progress("turn-1", [], [], Usage()),
        store.append_events("turn-1", events(9)),
    ):
        with pytest.raises(WrongState, match="has ended"):
            await call
    assert await store.last_seq("turn-1") == 2


async def test_unknown_turns(store: Store) -> None:
    for call in (
        store.mark_sent("nobody", thread_id="x", sent_ns=1),
        store.mark_started("nobody", codex_turn_id="x"),
        store.bump_recovery("nobody"),
        store.want_end("nobody", Cause.USER),
        store.append_events("nobody", events(1)),
        store.finish_turn("nobody", end(), []),
        store.read_events("nobody", 0, 1, 1),
        store.last_seq("nobody"),
    ):
        with pytest.raises(NotFound, match="no turn nobody"):
            await call
    assert await store.get_turn("nobody") is None


async def test_a_used_sequence_number_fails_that_call_alone(store: Store) -> None:
    await store.accept_turn(turn(1), events(1))
    results = await asyncio.gather(
        store.append_events("turn-1", events(2)),
        store.append_events("turn-1", events(3, 2)),
        store.append_events("turn-1", events(4)),
        return_exceptions=True,
    )
    assert [type(result) for result in results] == [type(None), WrongState, type(None)]
    assert [row.seq for row in await store.read_events("turn-1", 0, 99, 9999)] == [1, 2, 4]


async def test_events_come_in_bounded_portions(store: Store) -> None:
    await store.accept_turn(turn(1), events(*range(1, 21), size=100))
    read = store.read_events
    assert [row.seq for row in await read("turn-1", 0, 5, 10**6)] == [1, 2, 3, 4, 5]
    assert [row.seq for row in await read("turn-1", 5, 99, 250)] == [6, 7]
    assert [row.seq for row in await read("turn-1", 7, 99, 1)] == [8], "one at least"
    assert await read("turn-1", 20, 99, 10**6) == []
    assert (await read("turn-1", 0, 1, 1))[0].payload == b"\x01" * 100


async def test_unfinished_turns_come_in_the_order_of_acceptance(store: Store) -> None:
    numbers = [5, 3, 9, 1, 7]
    for number in numbers:
        await store.accept_turn(turn(number, instance=f"i{number % 2}"), [])
    await store.finish_turn("turn-9", end(), [])
    assert [old.id for old in await store.unfinished_turns()] == ["turn-5", "turn-3", "turn-1", "turn-7"]


async def test_texts_that_are_no_unicode_are_kept_as_far_as_can_be(store: Store) -> None:
    made = msgspec.structs.replace(turn(1), request=TurnRequest(prompt="nul \0 and \udcff", images=("/a\udc80",)))
    await store.accept_turn(made, [])
    run = CommandRecord(item_id="c", command="ls \ud800", status="failed")
    await store.finish_turn("turn-1", msgspec.structs.replace(end("answer \0 \udcff ü"), commands=(run,)), [])
    kept = await store.get_turn("turn-1")
    assert isinstance(kept, TurnRecord)
    assert (kept.request.prompt, kept.request.images) == ("nul \0 and ?", ("/a?",))
    assert (kept.answer, kept.commands[0].command) == ("answer \0 ? ü", "ls ?")


async def test_delete_forgets_everything_of_one_instance(tmp_path: Path) -> None:
    async with opened(tmp_path, entries_per_instance=4) as store:
        for name in ("blue", "red"):
            await store.save_instance(InstanceRecord(id=name, created_ns=1))
        for number in range(20):
            await finished(store, number, instance=("blue", "red")[number % 2])
        await store.accept_turn(turn(50, "blue"), events(1))
        await store.tidy()
        await store.delete_instance("blue")
        assert [kept.id for kept in await store.load_instances()] == ["red"]
        assert await store.get_turn("turn-0") is None
        assert await store.get_turn("turn-50") is None
        assert len((await store.history_page(None, 99, ""))[0]) == 10
        assert await store.accept_turn(turn(0, "blue"), []) == (turn(0, "blue"), True)
        await store.delete_instance("nobody")
    assert all("@red" in path.name for path in (tmp_path / "state" / "archive").iterdir())
    assert rows(tmp_path, "SELECT count(*) FROM events JOIN turns ON number = turn WHERE instance = 'blue'") == [(0,)]


async def test_ping_goes_through_the_writer(store: Store) -> None:
    await store.ping()


async def test_reads_go_on_while_the_writer_is_busy(store: Store) -> None:
    await store.accept_turn(turn(1), events(1))
    big = [store.append_events("turn-1", events(*range(at, at + 200), size=5000)) for at in range(2, 4002, 200)]
    writing = asyncio.gather(*big)
    reads = 0
    while not writing.done():
        assert (await store.read_events("turn-1", 0, 1, 10))[0].seq == 1
        reads += 1
    await writing
    assert reads > 1


async def test_the_wish_for_an_end_is_kept_with_the_turn(store: Store) -> None:
    await store.accept_turn(turn(1), [])
    await store.want_end("turn-1", Cause.USER)
    (kept,) = await store.unfinished_turns()
    assert kept.request.wanted_end is Cause.USER
    assert kept.request.prompt == turn(1).request.prompt
