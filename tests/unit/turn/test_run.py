"""One turn over one or more children that are scripted here: what is sent, what is recorded, and when."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from codex_control.errors import ChildFailed, LimitExceeded, NotFound
from codex_control.v1 import turns_pb2
from codex_supervisor.child.awake import AwakeChild
from codex_supervisor.child.conversation import Turn
from codex_supervisor.child.exitwatch import ExitStatus
from codex_supervisor.child.notifications import TokenUsageBreakdown, TurnCompletedNotification
from codex_supervisor.child.requests import AppServerError
from codex_supervisor.house import House
from codex_supervisor.store.records import (
    Cause,
    ChildRecord,
    EventRow,
    InstanceRecord,
    Outcome,
    TurnRecord,
    TurnRequest,
)
from codex_supervisor.store.store import Store
from codex_supervisor.turn import codex_turn as codex_turn_module
from codex_supervisor.turn import run as run_module
from codex_supervisor.turn.log import LogLimits, TurnLog
from codex_supervisor.turn.run import TurnRun

from tests.support.waiting import wait_for
from tests.unit.house import house_of
from tests.unit.turn.told import codex_turn, completed, delta, says, user

THREAD = {"thread": {"id": "thread", "status": {"type": "idle"}}, "model": "m", "modelProvider": "p"}
FULL = LimitExceeded("the disk is full")


class ScriptedChild:
    """A child that answers requests as told. `seen` are the methods that it was asked."""

    def __init__(self, kept: list[Turn] | None = None) -> None:
        self.seen: list[str] = []
        self.last_word = ""
        """The request that it still answers as it dies."""
        self.kept = kept or []
        self.answers: dict[str, Callable[[Any], Awaitable[object]]] = {}
        self.exited: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
        process = SimpleNamespace(exited=self.exited, signal=self._signal, pid=1)
        record = ChildRecord(token="t", instance="blue", generation=1, socket="/s", boot_id="b")
        self.awake = AwakeChild(process, self, record)  # type: ignore[arg-type]

    def _signal(self, number: signal.Signals) -> bool:
        self.die()
        return True

    def die(self) -> None:
        """End, as a process does."""
        if not self.exited.done():
            self.exited.set_result(ExitStatus(signal=signal.SIGKILL))

    async def request(self, method: str, params: Any, reply: type, timeout_s: float) -> Any:
        """See `AppServer.request`."""
        self.seen.append(method)
        answer = self.answers.get(method)
        raw = await answer(params) if answer is not None else self._usual(method)
        if method == self.last_word:
            # Its end is heard of before the reply is looked at.
            self.die()
            await asyncio.sleep(0)
        elif self.exited.done():
            raise ChildFailed("the connection was lost")
        return msgspec.json.decode(msgspec.json.encode(raw), type=reply)

    def _usual(self, method: str) -> object:
        match method:
            case "account/read":
                return {"requiresOpenaiAuth": False}
            case "thread/start" | "thread/resume":
                return THREAD
            case "turn/start":
                return {"turn": {"id": "codex-turn", "status": "inProgress"}}
            case "thread/turns/list":
                return {"data": self.kept}
            case _:
                return {}


class Owner:
    """The instance, as far as a run needs it."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.record = InstanceRecord(id="blue", created_ns=0)
        self.thread_tokens: TokenUsageBreakdown | None = None
        self.last_death = "it was killed"
        self.died_at = 0.0
        self.over: list[str] = []
        self.cancelled: list[Cause] = []
        self.recycled = 0

    def save(self, record: InstanceRecord) -> None:
        self.record = record

    def cancel_turn(self, turn: str, cause: Cause) -> None:
        self.cancelled.append(cause)

    def recycle(self, generation: int) -> None:
        self.recycled += 1

    def turn_over(self, turn: str) -> None:
        self.over.append(turn)


class Desk:
    """The store with gates and errors in front of single methods."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.before: dict[str, Callable[[], Awaitable[None]]] = {}

    def __getattr__(self, name: str) -> Any:
        real = getattr(self._store, name)
        before = self.before.get(name)
        if before is None:
            return real

        async def call(*arguments: Any, **more: Any) -> Any:
            await before()
            return await real(*arguments, **more)

        return call


@pytest.fixture
async def desk(store: Store, monkeypatch: pytest.MonkeyPatch) -> Desk:
    monkeypatch.setattr(run_module, "_RECORD_RETRY_S", 0.001)
    return Desk(store)


@pytest.fixture
async def owner(desk: Desk, tmp_path: Path) -> AsyncIterator[Owner]:
    async with house_of(tmp_path, desk) as house:
        yield Owner(house)


async def accepted(owner: Owner, **more: Any) -> TurnRun:
    """A turn in the journal, and its run."""
    request = TurnRequest(prompt="why?", cwd="/", profile="default")
    now_ns = owner.house.clock.wall_ns()
    record = TurnRecord(id="turn-1", request_id="r", instance="blue", request=request, accepted_ns=now_ns, **more)
    await owner.house.store.accept_turn(record, [EventRow(1, turns_pb2.TurnEvent(seq=1).SerializeToString())])
    log = TurnLog(record.id, owner.house.store, owner.house.clock, LogLimits())
    log.resume_at(1)
    return TurnRun(record, log, owner)


async def sent(owner: Owner) -> TurnRun:
    """A turn that an earlier child had."""
    owner.record = msgspec.structs.replace(owner.record, thread_id="thread")
    return await accepted(owner, thread_id="thread", sent_ns=owner.house.clock.wall_ns(), codex_turn_id="codex-turn")


def begin(owner: Owner, run: TurnRun, child: ScriptedChild) -> None:
    owner.house.tasks.start(run.run(child.awake), "turn")


def finish(run: TurnRun, answer: str, codex_turn_id: str = "codex-turn") -> None:
    """Codex says the answer and ends the turn."""
    run.feed(completed(says("m", answer)))
    run.feed(TurnCompletedNotification(thread_id="thread", turn=Turn(id=codex_turn_id, status="completed")))


async def outcome(owner: Owner) -> TurnRecord:
    await wait_for(lambda: owner.over == ["turn-1"], 5, "the turn's end")
    record = await owner.house.store.get_turn("turn-1")
    assert record is not None
    return record


async def test_a_turn_is_sent_followed_and_recorded(owner: Owner) -> None:
    run, child = await accepted(owner), ScriptedChild()
    begin(owner, run, child)
    await wait_for(lambda: "turn/start" in child.seen)
    run.feed(delta("m", "the "))
    finish(run, "the answer")
    record = await outcome(owner)
    assert (record.outcome, record.cause, record.answer) == (Outcome.COMPLETED, None, "the answer")
    assert record.sent_ns is not None
    assert record.queued_s is not None
    assert child.seen == ["account/read", "thread/start", "turn/start"]


async def test_a_turn_that_was_never_sent_is_just_sent_by_the_next_child(owner: Owner) -> None:
    run, first, second = await accepted(owner), ScriptedChild(), ScriptedChild()
    opening = asyncio.Event()

    async def never(_: object) -> object:
        await opening.wait()
        return THREAD

    first.answers["thread/start"] = never
    begin(owner, run, first)
    await wait_for(lambda: "thread/start" in first.seen)
    first.die()
    opening.set()
    begin(owner, run, second)
    await wait_for(lambda: "turn/start" in second.seen)
    finish(run, "the answer")
    record = await outcome(owner)
    assert (record.outcome, record.recoveries) == (Outcome.COMPLETED, 0)
    assert "thread/turns/list" not in second.seen


async def test_a_turn_whose_child_died_while_the_store_was_slow_is_followed(owner: Owner, desk: Desk) -> None:
    """The first drive comes back from the store when the next child has long been there."""
    run, first = await accepted(owner), ScriptedChild()
    second = ScriptedChild(kept=[codex_turn("codex-turn", "inProgress", user("turn-1"))])
    slow = asyncio.Event()
    desk.before["mark_sent"] = slow.wait  # type: ignore[assignment]
    begin(owner, run, first)
    await wait_for(lambda: first.awake.thread is not None)
    first.die()
    begin(owner, run, second)
    for _ in range(20):
        await asyncio.sleep(0)
    slow.set()
    await wait_for(lambda: "thread/turns/list" in second.seen, what="the second drive to look for the turn")
    await wait_for(lambda: run.codex.id == "codex-turn")
    finish(run, "the answer")
    assert (await outcome(owner)).answer == "the answer"


async def test_a_turn_whose_outcome_waits_for_the_disk_is_not_run_again(owner: Owner, desk: Desk) -> None:
    run, first, second = await accepted(owner), ScriptedChild(), ScriptedChild()
    full = True

    async def refuse() -> None:
        if full:
            raise FULL

    desk.before["finish_turn"] = refuse
    begin(owner, run, first)
    await wait_for(lambda: "turn/start" in first.seen)
    await wait_for(lambda: run.codex.id != "")
    finish(run, "the answer")
    await wait_for(lambda: run._ended)
    first.die()
    begin(owner, run, second)
    for _ in range(50):
        await asyncio.sleep(0)
    full = False
    assert (await outcome(owner)).answer == "the answer"
    assert second.seen == []


async def test_an_outcome_of_a_turn_whose_record_is_gone_is_not_tried_for_ever(owner: Owner, desk: Desk) -> None:
    run = await accepted(owner)

    async def gone() -> None:
        raise NotFound("there is no turn turn-1")

    desk.before["finish_turn"] = gone
    await run.end(Outcome.CANCELLED, Cause.USER, "the instance was deleted")
    assert owner.over == ["turn-1"]


async def test_a_start_that_cannot_be_written_down_goes_on(owner: Owner, desk: Desk) -> None:
    run, child = await accepted(owner), ScriptedChild()

    async def refuse() -> None:
        raise FULL

    desk.before["mark_started"] = refuse
    begin(owner, run, child)
    await wait_for(lambda: run.codex.id != "")
    for _ in range(20):
        await asyncio.sleep(0)
    finish(run, "the answer")
    record = await outcome(owner)
    assert (record.outcome, record.answer) == (Outcome.COMPLETED, "the answer")
    assert not child.exited.done()


async def test_a_turn_that_cannot_be_written_down_is_not_sent(owner: Owner, desk: Desk) -> None:
    run, child = await accepted(owner), ScriptedChild()

    async def refuse() -> None:
        raise FULL

    desk.before["mark_sent"] = refuse
    begin(owner, run, child)
    record = await outcome(owner)
    assert (record.outcome, record.error) == (Outcome.FAILED, str(FULL))
    assert "turn/start" not in child.seen
    assert not child.exited.done()


async def test_a_turn_that_is_given_up_does_not_run_on(owner: Owner, caplog: pytest.LogCaptureFixture) -> None:
    """A start on a busy thread would be a steer: what nobody follows is ended."""
    run, child = await accepted(owner), ScriptedChild()

    async def nonsense(_: object) -> object:
        return {"turn": {"id": "codex-turn", "status": "inProgress", "items": "a fault of ours"}}

    child.answers["turn/start"] = nonsense
    begin(owner, run, child)
    record = await outcome(owner)
    assert (record.outcome, record.cause) == (Outcome.FAILED, Cause.CODEX)
    assert "report it" in record.error
    assert child.exited.done()


async def test_a_refused_turn_ends_with_codexs_words_and_the_child_lives(owner: Owner) -> None:
    run, child = await accepted(owner), ScriptedChild()

    async def refuse(_: object) -> object:
        raise AppServerError(-32600, "no such model")

    child.answers["turn/start"] = refuse
    begin(owner, run, child)
    record = await outcome(owner)
    assert record.outcome is Outcome.FAILED
    assert "no such model" in record.error
    assert not child.exited.done()


@pytest.mark.parametrize(
    ("status", "expected"), [("completed", (Outcome.COMPLETED, None)), ("failed", (Outcome.FAILED, Cause.CODEX))]
)
async def test_a_turn_that_was_over_is_recorded_and_nothing_is_sent(
    owner: Owner, status: str, expected: tuple[Outcome, Cause | None]
) -> None:
    run = await sent(owner)
    child = ScriptedChild(kept=[codex_turn("codex-turn", status, user("turn-1"), says("m", "the answer"))])
    begin(owner, run, child)
    record = await outcome(owner)
    assert (record.outcome, record.cause) == expected
    assert record.answer == "the answer"
    assert "turn/start" not in child.seen


async def test_a_turn_that_was_over_is_recorded_though_the_child_is_gone_by_then(owner: Owner) -> None:
    run = await sent(owner)
    child = ScriptedChild(kept=[codex_turn("codex-turn", "completed", user("turn-1"), says("m", "the answer"))])
    child.last_word = "thread/turns/list"
    begin(owner, run, child)
    record = await outcome(owner)
    assert (record.outcome, record.answer) == (Outcome.COMPLETED, "the answer")


async def test_a_turn_that_is_cut_off_goes_on_in_the_next_child(owner: Owner) -> None:
    run, first = await accepted(owner), ScriptedChild()
    second = ScriptedChild(kept=[codex_turn("codex-turn", "interrupted", user("turn-1"))])
    inputs: list[int] = []

    async def go_on(params: Any) -> object:
        inputs.append(len(params.input))
        return {"turn": {"id": "codex-turn-2", "status": "inProgress"}}

    second.answers["turn/start"] = go_on
    driving = owner.house.tasks.start(run.run(first.awake), "turn")
    await wait_for(lambda: run.codex.id != "")
    run.feed(delta("m", "half of"))
    first.die()
    await asyncio.wait_for(driving, 5)
    begin(owner, run, second)
    await wait_for(lambda: run.codex.id == "codex-turn-2")
    run.feed(completed(says("m3", "a late word of the turn that was cut off")))
    run.feed(msgspec.structs.replace(completed(says("m2", "the answer")), turn_id="codex-turn-2"))
    run.feed(TurnCompletedNotification(thread_id="thread", turn=Turn(id="codex-turn-2", status="completed")))
    record = await outcome(owner)
    assert (record.outcome, record.answer, record.recoveries) == (Outcome.COMPLETED, "the answer", 1)
    assert inputs == [0], "the conversation has the prompt already"
    rows = await owner.house.store.read_events("turn-1", 0, 100, 1 << 20)
    events = [turns_pb2.TurnEvent.FromString(row.payload) for row in rows]
    (report,) = [event.recovery for event in events if event.HasField("recovery")]
    assert list(report.superseded_item_ids) == ["m"]
    assert "it was killed" in report.what_happened


@pytest.mark.parametrize("cause", [Cause.USER, Cause.TIMED_OUT, Cause.STALLED, Cause.LIMIT])
async def test_a_turn_that_is_cancelled_before_it_is_sent_is_not_sent(owner: Owner, cause: Cause) -> None:
    run, child = await accepted(owner), ScriptedChild()
    await run.interrupt(cause)
    begin(owner, run, child)
    record = await outcome(owner)
    assert record.cause is cause
    assert record.outcome is (Outcome.CANCELLED if cause is Cause.USER else Outcome.FAILED)
    assert "turn/start" not in child.seen


async def test_a_cancelled_turn_is_interrupted_in_codex(owner: Owner) -> None:
    run, child = await accepted(owner), ScriptedChild()
    begin(owner, run, child)
    await wait_for(lambda: run.codex.id != "")
    interrupting = asyncio.get_running_loop().create_task(run.interrupt(Cause.USER))
    await wait_for(lambda: "turn/interrupt" in child.seen)
    run.feed(TurnCompletedNotification(thread_id="thread", turn=Turn(id="codex-turn", status="interrupted")))
    record = await outcome(owner)
    assert (record.outcome, record.cause) == (Outcome.CANCELLED, Cause.USER)
    await interrupting
    assert not child.exited.done()


async def test_a_child_that_does_not_end_an_interrupted_turn_is_killed(
    owner: Owner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codex_turn_module, "INTERRUPT_TIMEOUT_S", 0.01)
    run, child = await accepted(owner), ScriptedChild()
    begin(owner, run, child)
    await wait_for(lambda: run.codex.id != "")
    await run.interrupt(Cause.USER)
    assert child.exited.done()
    assert owner.over == [], "the instance decides what follows"
    await run.end(Outcome.CANCELLED, Cause.USER, "")


async def test_the_first_outcome_counts(owner: Owner) -> None:
    run, child = await accepted(owner), ScriptedChild()
    begin(owner, run, child)
    await wait_for(lambda: run.codex.id != "")
    await run.end(Outcome.CANCELLED, Cause.USER, "the instance was stopped")
    finish(run, "too late")
    await run.end(Outcome.FAILED, Cause.CODEX, "later still")
    record = await outcome(owner)
    assert (record.outcome, record.answer) == (Outcome.CANCELLED, "")
