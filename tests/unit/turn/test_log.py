"""The journal and live feed of a turn, on the real store."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Sequence

import pytest
from codex_control.errors import LimitExceeded, StoreUnavailable
from codex_control.service.clock import SystemClock
from codex_control.v1 import outcome_pb2, turns_pb2
from codex_supervisor.store.records import Cause, EventRow, Outcome, TurnEnd, TurnRecord
from codex_supervisor.store.store import Store
from codex_supervisor.turn import log as log_module
from codex_supervisor.turn.log import LogLimits, TurnLog, replay
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.waiting import wait_for
from tests.unit.store.samples import end, turn

Events = list[turns_pb2.TurnEvent]
_numbers = itertools.count(1)


def text(item_id: str, delta: str) -> turns_pb2.TurnEvent:
    return turns_pb2.TurnEvent(text=turns_pb2.TextDelta(item_id=item_id, text=delta))


def reasoning(item_id: str, delta: str) -> turns_pb2.TurnEvent:
    return turns_pb2.TurnEvent(reasoning=turns_pb2.ReasoningDelta(item_id=item_id, text=delta))


def message(item_id: str, whole: str) -> turns_pb2.TurnEvent:
    return turns_pb2.TurnEvent(message=turns_pb2.MessageCompleted(item_id=item_id, text=whole))


def warning(sentence: str) -> turns_pb2.TurnEvent:
    return turns_pb2.TurnEvent(warning=turns_pb2.Warning(message=sentence))


class Troubled:
    """The store, with a gate before every write of events and errors that it raises on demand."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.gate = asyncio.Event()
        self.gate.set()
        self.append_errors: list[Exception] = []
        self.finish_errors: list[Exception] = []
        self.get_errors: list[Exception] = []
        self.appends = 0

    async def append_events(self, turn_id: str, rows: Sequence[EventRow]) -> None:
        await self.gate.wait()
        self.appends += 1
        if self.append_errors:
            raise self.append_errors.pop(0)
        await self._store.append_events(turn_id, rows)

    async def finish_turn(self, turn_id: str, made: TurnEnd, rows: Sequence[EventRow]) -> TurnRecord | None:
        if self.finish_errors:
            raise self.finish_errors.pop(0)
        return await self._store.finish_turn(turn_id, made, rows)

    async def get_turn(self, turn_id: str) -> TurnRecord | None:
        if self.get_errors:
            raise self.get_errors.pop(0)
        return await self._store.get_turn(turn_id)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)


@pytest.fixture
def troubled(store: Store, monkeypatch: pytest.MonkeyPatch) -> Troubled:
    monkeypatch.setattr(log_module, "_RETRY_S", 0.001)
    return Troubled(store)


async def new_log(store: Store | Troubled, limits: LogLimits | None = None, **more: object) -> TurnLog:
    """The log of a turn that was just accepted."""
    record = turn(next(_numbers))
    accepted = turns_pb2.TurnEvent(turn_id=record.id, seq=1, accepted=turns_pb2.TurnAccepted(instance="blue"))
    await store.accept_turn(record, [EventRow(1, accepted.SerializeToString())])  # type: ignore[operator]
    made = TurnLog(record.id, store, SystemClock(), limits or LogLimits(), **more)  # type: ignore[arg-type]
    made.resume_at(1)
    return made


async def collect(events: AsyncIterator[turns_pb2.TurnEvent]) -> Events:
    return [event async for event in events]


async def journal(store: Store, log: TurnLog) -> Events:
    rows = await store.read_events(log.turn_id, 0, 100_000, 1 << 30)
    return [turns_pb2.TurnEvent.FromString(row.payload) for row in rows]


def kinds(events: Events) -> list[str]:
    return [event.WhichOneof("event") or "" for event in events]


def seqs(events: Events) -> list[int]:
    return [event.seq for event in events]


def streamed(events: Events) -> str:
    return "".join(event.text.text for event in events if event.HasField("text"))


# --- following ------------------------------------------------------------------------------------------------------


async def test_what_is_not_committed_is_not_told(store: Store, troubled: Troubled) -> None:
    log = await new_log(troubled)
    seen: Events = []

    async def follow() -> None:
        async for event in log.follow(0):
            assert seqs(await journal(store, log))[-1] >= event.seq
            seen.append(event)

    following = asyncio.get_running_loop().create_task(follow())
    await wait_for(lambda: len(seen) == 1)
    troubled.gate.clear()
    log.append(warning("held back"))
    await wait_for(lambda: not log._pending, what="the write to begin")
    for _ in range(50):
        await asyncio.sleep(0)
    assert kinds(seen) == ["accepted"]
    troubled.gate.set()
    await wait_for(lambda: len(seen) == 2)
    await log.end(end("the answer"))
    await following
    assert kinds(seen) == ["accepted", "warning", "ended"]
    assert seen[-1].ended.turn.answer == "the answer"
    assert seen[-1].ended.turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert [event.turn_id for event in seen] == [log.turn_id] * 3


pieces = st.one_of(
    st.builds(text, st.sampled_from(["m1", "m2"]), st.text(max_size=40)),
    st.builds(reasoning, st.just("r1"), st.text(max_size=10)),
    st.builds(message, st.sampled_from(["m1", "m2"]), st.text(max_size=200)),
    st.builds(warning, st.text(max_size=10)),
    st.just(None),  # the loop gets to write
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(script=st.lists(pieces, max_size=30), ring_bytes=st.sampled_from([1, 200, 100_000]), data=st.data())
def test_following_from_any_number_gives_exactly_the_rest(
    runner: asyncio.Runner,
    lasting_store: Store,
    script: list[turns_pb2.TurnEvent | None],
    ring_bytes: int,
    data: st.DataObject,
) -> None:
    late_at = data.draw(st.integers(0, len(script)), "a second follower comes at")

    async def example() -> None:
        log = await new_log(lasting_store, LogLimits(ring_bytes=ring_bytes))
        loop = asyncio.get_running_loop()
        followers = [loop.create_task(collect(log.follow(0)))]
        said = ""
        for number, given_event in enumerate(script):
            if number == late_at:
                followers.append(loop.create_task(collect(log.follow(log.last_seq))))
                after = log.last_seq
            if given_event is None:
                await log.flushed()
                continue
            event = turns_pb2.TurnEvent()
            event.CopyFrom(given_event)
            said += event.text.text
            log.append(event)
        assert await log.end(end("the answer"))
        everything = await followers[0]
        assert seqs(everything) == list(range(1, log.last_seq + 1))
        assert kinds(everything)[0] == "accepted"
        assert kinds(everything).count("ended") == 1
        assert kinds(everything)[-1] == "ended"
        assert streamed(everything) == said
        if len(followers) == 2:
            assert await followers[1] == everything[after:]
        record = await lasting_store.get_turn(log.turn_id)
        assert record is not None
        for position in range(log.last_seq + 1):
            assert await collect(log.follow(position)) == everything[position:]
            assert await collect(replay(lasting_store, record, position)) == everything[position:]

    runner.run(example())


async def test_a_reader_that_does_not_read_costs_no_memory_and_misses_nothing(store: Store) -> None:
    limits = LogLimits(ring_bytes=64 * 1024)
    log = await new_log(store, limits)
    slow = log.follow(0)
    first = await anext(slow)
    whole = "x" * 10_000
    for number in range(300):
        log.append(message(f"m{number}", whole))
        await log.flushed()
        held = sum(len(row.payload) for row in log._ring)
        assert held == log._ring_size <= limits.ring_bytes
        assert not log._pending
    await log.end(end("the answer"))
    rest = await collect(slow)
    assert seqs([first, *rest]) == list(range(1, 303))
    assert all(event.message.text == whole for event in rest[:-1])


async def test_one_event_larger_than_the_ring_arrives(store: Store) -> None:
    log = await new_log(store, LogLimits(ring_bytes=1000))
    log.append(message("m", "y" * 100_000))
    await log.flushed()
    log.append(warning("after it"))
    await log.end(end())
    assert kinds(await collect(log.follow(0))) == ["accepted", "message", "warning", "ended"]


async def test_people_who_follow_are_counted(store: Store) -> None:
    log = await new_log(store)
    with log.attached(interactive=True), log.attached(interactive=False):
        assert log.interactive_followers == 1
        with contextlib.suppress(ZeroDivisionError), log.attached(interactive=True):
            assert log.interactive_followers == 2
            raise ZeroDivisionError
        assert log.interactive_followers == 1
    assert log.interactive_followers == 0
    await log.end(end())


# --- joining and dropping -------------------------------------------------------------------------------------------


async def test_pieces_that_wait_are_joined_where_they_belong_together(store: Store, troubled: Troubled) -> None:
    log = await new_log(troubled)
    troubled.gate.clear()
    log.append(text("m1", "being written"))
    await wait_for(lambda: not log._pending, what="the write to begin")
    for piece in "abc":
        log.append(text("m1", piece))
    log.append(text("m2", "d"))
    log.append(reasoning("m2", "e"))
    log.append(reasoning("m2", "f"))
    log.append(text("m2", "g"))
    log.append(warning("between"))
    log.append(text("m2", "h"))
    troubled.gate.set()
    await log.end(end())
    told = await journal(store, log)
    assert [event.text.text or event.reasoning.text or event.WhichOneof("event") for event in told] == [
        "accepted", "being written", "abc", "d", "ef", "g", "warning", "h", "ended"
    ]  # fmt: skip
    assert troubled.appends == 1, "what waited is written with the end"


async def test_joined_pieces_stay_small(store: Store, troubled: Troubled) -> None:
    log = await new_log(troubled)
    troubled.gate.clear()
    for _ in range(100):
        log.append(text("m", "ä" * 1000))
    troubled.gate.set()
    await log.end(end())
    told = await journal(store, log)
    assert streamed(told) == "ä" * 100_000
    assert 2 <= len([event for event in told if event.HasField("text")]) < 20
    assert max(len(event.text.text.encode()) for event in told) <= 64 * 1024


async def test_past_the_recorded_limit_pieces_are_dropped_and_messages_kept(store: Store) -> None:
    counted: list[int] = []
    log = await new_log(store, LogLimits(recorded_bytes=10), on_dropped=counted.append)
    log.append(text("m", "12345"))
    log.append(text("m", "éé"))
    log.append(text("m", "ab"))  # eleven bytes with it
    log.append(text("m", "cdé"))
    log.append(message("m", "12345ééabcdé"))
    log.append(reasoning("r", "gone too"))
    await log.end(end("12345ééabcdé"))
    told = await collect(log.follow(0))
    assert kinds(told) == ["accepted", "text", "dropped", "message", "dropped", "ended"]
    assert streamed(told) == "12345éé"
    assert [(event.dropped.count, event.dropped.bytes) for event in told if event.HasField("dropped")] == [
        (2, 6),
        (1, 8),
    ]
    assert "recorded_output_limit" in told[2].dropped.reason
    assert sum(counted) == 3


async def test_while_the_disk_is_slow_pieces_are_dropped_and_the_gap_is_marked_where_it_is(
    store: Store, troubled: Troubled
) -> None:
    log = await new_log(troubled, LogLimits(pending_bytes=10))
    troubled.gate.clear()
    log.append(text("m", "being written"[:10]))
    await wait_for(lambda: not log._pending, what="the write to begin")
    log.append(text("m", "1234567"))
    log.append(text("m", "too much"))
    log.append(text("m", "fit"))  # it would fit, and must not hide the gap before it
    troubled.gate.set()
    await log.end(end())
    told = await journal(store, log)
    assert kinds(told) == ["accepted", "text", "text", "dropped", "text", "ended"]
    assert [event.text.text for event in told if event.HasField("text")] == ["being writ", "1234567", "fit"]
    assert "slower" in told[3].dropped.reason


# --- a disk that fails ----------------------------------------------------------------------------------------------

FULL = LimitExceeded("the disk is full")
AWAY = StoreUnavailable("the store is locked")


async def test_events_wait_for_a_full_disk_and_come_in_order(store: Store, troubled: Troubled) -> None:
    log = await new_log(troubled)
    troubled.append_errors = [FULL, AWAY, FULL]
    for number in range(5):
        log.append(warning(str(number)))
        await asyncio.sleep(0)
    await wait_for(lambda: log._published == 6, what="the events to be written")
    assert troubled.append_errors == []
    await log.end(end())
    told = await collect(log.follow(0))
    assert [event.warning.message for event in told[1:-1]] == list("01234")  # type: ignore[attr-defined]
    assert seqs(told) == [1, 2, 3, 4, 5, 6, 7]
    assert told[:-1] == (await journal(store, log))[:-1]


async def test_an_end_that_the_disk_refuses_is_tried_again_with_the_same_events(
    store: Store, troubled: Troubled
) -> None:
    log = await new_log(troubled)
    following = asyncio.get_running_loop().create_task(collect(log.follow(0)))
    troubled.finish_errors = [FULL, AWAY]
    log.append(message("m", "the answer"))
    with pytest.raises(LimitExceeded):
        await log.end(end("the answer"))
    with pytest.raises(StoreUnavailable):
        await log.end(end("the answer"))
    assert not following.done()
    assert await log.end(end("the answer"))
    told = await following
    assert kinds(told) == ["accepted", "message", "ended"]
    assert seqs(told) == [1, 2, 3]
    assert seqs(await journal(store, log)) == [1, 2, 3]


async def test_an_end_that_was_there_and_is_not_read_back_still_reaches_the_followers(
    store: Store, troubled: Troubled
) -> None:
    log = await new_log(troubled)
    following = asyncio.get_running_loop().create_task(collect(log.follow(0)))
    await store.finish_turn(log.turn_id, end("the answer"), [])
    troubled.get_errors = [AWAY]
    with pytest.raises(StoreUnavailable):
        await log.end(end("another"))
    assert not await log.end(end("another"))
    told = await following
    assert kinds(told) == ["accepted", "ended"]
    assert told[-1].ended.turn.answer == "the answer"


# --- the end --------------------------------------------------------------------------------------------------------


async def test_the_first_end_counts(store: Store) -> None:
    log = await new_log(store)
    assert await log.end(end("first"))
    assert not await log.end(end("second", Outcome.FAILED, Cause.PROVIDER))
    record = await store.get_turn(log.turn_id)
    assert record is not None
    assert record.answer == "first"
    assert kinds(await journal(store, log)) == ["accepted", "ended"]


async def test_a_turn_that_another_log_has_ended_ends_for_its_followers_too(store: Store) -> None:
    log = await new_log(store)
    other = TurnLog(log.turn_id, store, SystemClock(), LogLimits())
    other.resume_at(1)
    assert await log.end(end("first"))
    following = asyncio.get_running_loop().create_task(collect(other.follow(0)))
    # The follower reads the last event from the journal before the log has the record that goes with it.
    reads = asyncio.get_running_loop().create_task(store.last_seq(log.turn_id))
    assert await reads == 2
    assert not await other.end(end("second"))
    told = await following
    assert kinds(told) == ["accepted", "ended"]
    assert told[-1].ended.turn.answer == "first"


async def test_what_comes_after_the_end_is_no_part_of_the_turn(store: Store) -> None:
    log = await new_log(store)
    ending = asyncio.get_running_loop().create_task(log.end(end("the answer")))
    await asyncio.sleep(0)
    log.append(warning("too late"))
    assert await ending
    log.append(warning("much too late"))
    assert log.last_seq == 2
    assert kinds(await journal(store, log)) == ["accepted", "ended"]


async def test_a_follower_that_has_everything_gets_nothing_more(store: Store) -> None:
    log = await new_log(store)
    await log.end(end())
    assert await collect(log.follow(2)) == []
    assert await collect(log.follow(99)) == []


async def test_a_log_goes_on_after_what_an_earlier_supervisor_wrote(store: Store) -> None:
    log = await new_log(store)
    log.append(warning("before"))
    await log.flushed()
    again = TurnLog(log.turn_id, store, SystemClock(), LogLimits())
    again.resume_at(await store.last_seq(log.turn_id))
    again.append(warning("after"))
    await again.end(end())
    told = await collect(again.follow(0))
    assert [event.warning.message for event in told[1:3]] == ["before", "after"]  # type: ignore[attr-defined]
    assert seqs(told) == [1, 2, 3, 4]


# --- replay of what is over -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("after_seq", [0, 1, 3, 4])
async def test_a_turn_whose_events_were_pruned_still_has_its_end(store: Store, after_seq: int) -> None:
    log = await new_log(store)
    log.append(warning("2"))
    log.append(warning("3"))
    await log.end(end("the answer"))
    store.set_limits(event_turns_per_instance=0)
    await store.tidy()
    record = await store.get_turn(log.turn_id)
    assert record is not None
    assert await journal(store, log) == []
    told = await collect(replay(store, record, after_seq))
    if after_seq == 4:
        assert told == []
        return
    (last,) = told
    assert (last.seq, last.turn_id) == (4, log.turn_id)
    assert last.ended.turn.answer == "the answer"
    assert last.at.ToNanoseconds() == record.ended_ns


async def test_a_turn_that_ended_without_events_has_a_last_one(store: Store) -> None:
    record = turn(next(_numbers))
    await store.accept_turn(record, [])
    await store.finish_turn(record.id, end("the answer"), [])
    ended = await store.get_turn(record.id)
    assert ended is not None
    (last,) = await collect(replay(store, ended, 0))
    assert (last.seq, last.ended.turn.answer) == (1, "the answer")
