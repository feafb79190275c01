"""A lost connection loses nothing and doubles nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

import grpc
import pytest
from codex_control.errors import CodexError, ServiceUnavailable, StoreUnavailable
from codex_control.paths import Paths
from codex_control.v1 import turns_pb2 as tpb
from codexctl import feed
from codexctl.client import Client
from codexctl.feed import LinkBack, LinkLost, TurnFeed

from tests.support.waiting import wait_for_sync

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor, FakeTurn


def cut_before(fake: FakeSupervisor, end: Callable[[FakeTurn], None], times: int = 1) -> Callable[[FakeTurn], None]:
    """A script that streams, loses its server `times` times, and goes on with `end`."""

    def script(turn: FakeTurn) -> None:
        turn.text("The ")
        for number in range(times):
            turn.wait_for(lambda: turn.watchers == 1)
            fake.stop()
            turn.text(f"piece {number} ")
            fake.start()
        turn.wait_for(lambda: turn.watchers == 1)
        end(turn)

    return script


def completed(turn: FakeTurn) -> None:
    turn.text("end")
    turn.end("The whole answer")


@pytest.mark.parametrize("times", [1, 3])
def test_ask_attaches_by_itself_and_prints_nothing_twice(ctl: Ctl, fake: FakeSupervisor, times: int) -> None:
    fake.script = cut_before(fake, completed, times)
    result = ctl("ask", "hi", "--json")
    assert result.code == 0, result.err
    seqs = [event["seq"] for event in result.json_lines]
    assert seqs == list(range(1, len(seqs) + 1))
    assert result.json_lines[-1]["event"] == "ended"
    assert len(fake.turns) == 1
    assert result.err.count("the connection to the service was lost, trying again") == times
    assert result.err.count("the connection is back") == times


def test_the_answer_in_a_pipe_after_a_lost_connection(ctl: Ctl, fake: FakeSupervisor) -> None:
    fake.script = cut_before(fake, completed)
    assert ctl("ask", "hi").out == "The whole answer\n"


def test_attach_reconnects_too(ctl: Ctl, fake: FakeSupervisor) -> None:
    hold = threading.Event()

    def script(turn: FakeTurn) -> None:
        hold.wait(20)
        cut_before(fake, completed)(turn)

    fake.script = script
    ctl("ask", "hi", "--detach")
    with ctl.process("attach", "01TURN0001") as process:
        # Cut before it is there, it would have nothing to come back from.
        wait_for_sync(
            lambda: any(isinstance(request, tpb.AttachRequest) for request in fake.requests), what="it to attach"
        )
        hold.set()
        out, _ = process.communicate(timeout=20)
    assert out == "The whole answer\n"


def test_a_connection_lost_before_the_receipt_asks_again_with_the_same_request_id(fake: FakeSupervisor) -> None:
    fake.errors["Ask"] = grpc.StatusCode.UNAVAILABLE
    feed = feed_of(fake)
    items = iter(feed)
    assert isinstance(next(items), LinkLost)
    assert feed.attach_id == "r1"
    del fake.errors["Ask"]
    assert isinstance(next(items), LinkBack)
    events = list(items)
    assert events[-1].WhichOneof("event") == "ended"  # type: ignore[union-attr] # an event, as the assertion says
    asked = {request.request_id for request in fake.requests if isinstance(request, tpb.AskRequest)}
    assert asked == {"r1"}
    assert feed.attach_id == "01TURN0001"


def test_a_service_that_stays_away_ends_it_with_how_to_attach(fake: FakeSupervisor) -> None:
    fake.script = lambda turn: None
    feed = feed_of(fake, limit_s=0.3)
    items = iter(feed)
    next(items)
    fake.stop()
    assert isinstance(next(items), LinkLost)
    with pytest.raises(ServiceUnavailable) as raised:
        next(items)
    assert raised.value.next_step.startswith("`codexctl attach 01TURN0001` ")


def test_an_error_that_the_service_answers_with_is_not_tried_again(fake: FakeSupervisor) -> None:
    fake.errors["Ask"] = StoreUnavailable("the store is full")
    with pytest.raises(StoreUnavailable, match="the store is full"):
        list(feed_of(fake))
    assert len(fake.requests) == 1


def test_a_bug_of_the_service_is_not_tried_again(fake: FakeSupervisor) -> None:
    fake.errors["Ask"] = grpc.StatusCode.INTERNAL
    with pytest.raises(CodexError, match="INTERNAL"):
        list(feed_of(fake))
    assert len(fake.requests) == 1


def feed_of(fake: FakeSupervisor, limit_s: float = 20.0) -> TurnFeed:
    """A feed that asks `fake`."""

    def connect(start: bool) -> Client:
        if not fake.socket_path.exists():
            raise ServiceUnavailable("the service is not running")
        return Client(fake.socket_path)

    return TurnFeed(connect, ask=tpb.AskRequest(request_id="r1", prompt="hi"), limit_s=limit_s)


def test_the_service_is_started_once_when_it_stays_away(fake: FakeSupervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codexctl.feed.START_AFTER_S", 0.1)
    fake.script = lambda turn: None
    started: list[bool] = []

    def connect(start: bool) -> Client:
        started.append(start)
        if len(started) > 1:
            raise ServiceUnavailable("the service is not running")
        return Client(fake.socket_path)

    items = iter(TurnFeed(connect, ask=tpb.AskRequest(request_id="r1", prompt="hi"), limit_s=1.0))
    next(items)
    fake.stop()
    with pytest.raises(ServiceUnavailable):
        list(items)
    assert started.count(True) == 2  # at the beginning, and once more


def test_a_service_that_somebody_ended_is_not_started_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CODEX_SUPERVISOR_STATE_DIR", str(tmp_path))
    monkeypatch.setattr(feed, "START_AFTER_S", 0.1)
    monkeypatch.setattr(feed, "ENDED_AFTER_S", 0.2)
    log = Paths.from_environment().log_dir / "supervisor.log"
    log.parent.mkdir()
    log.write_text('{"event": "ready"}\n{"event": "stopping", "because": "told to"}\n')
    asked: list[bool] = []

    def connect(may_start: bool) -> Client:
        asked.append(may_start)
        raise ServiceUnavailable

    with pytest.raises(ServiceUnavailable, match=r"was ended.*codexctl start.*attach"):
        feed.Reconnecting(connect).again(time.monotonic(), "", "attach")
    assert asked
    assert not any(asked)
    log.write_text('{"event": "stopping", "because": "failure"}\n')
    with pytest.raises(ServiceUnavailable, match="was lost"):
        feed.Reconnecting(connect, limit_s=0.3).again(time.monotonic(), "", "attach")
    assert any(asked)
