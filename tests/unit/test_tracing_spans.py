"""The spans of a turn: its ids follow from the turn, they are bounded, and they tell why it did not complete."""

from __future__ import annotations

from codex_control.v1 import turns_pb2
from codex_supervisor.store.records import Cause, Outcome, TurnRecord, TurnRequest
from codex_supervisor.tracing_spans import MAX_ITEMS, TurnSpans, span_id_of, trace_id_of


def record(**more: object) -> TurnRecord:
    """A turn that was accepted at 100 and has ended at 900."""
    given: dict[str, object] = {"sent_ns": 200, "ended_ns": 900, "outcome": Outcome.COMPLETED, **more}
    return TurnRecord(
        id="t1",
        request_id="r",
        instance="main",
        request=TurnRequest(prompt="secret"),
        accepted_ns=100,
        **given,  # type: ignore[arg-type]
    )


def event(at_ns: int, **kind: object) -> turns_pb2.TurnEvent:
    """An event at a moment."""
    made = turns_pb2.TurnEvent(turn_id="t1", **kind)  # type: ignore[arg-type]
    made.at.FromNanoseconds(at_ns)
    return made


def command(at_ns: int, item_id: str, status: str) -> turns_pb2.TurnEvent:
    """A command that begins or ends."""
    return event(at_ns, command=turns_pb2.CommandRun(item_id=item_id, command="secret", status=status))


def test_ids_follow_from_the_turn() -> None:
    assert trace_id_of("t1") == trace_id_of("t1") != trace_id_of("t2")
    assert 0 < trace_id_of("t1") < 1 << 128
    assert 0 < span_id_of("t1", "ask") < 1 << 64
    assert span_id_of("t1", "ask") != span_id_of("t1", "turn")


def test_an_item_lasts_from_its_beginning_to_its_end() -> None:
    made = TurnSpans("t1")
    made.take(event(250, started=turns_pb2.TurnStarted()))
    made.take(command(300, "c1", "inProgress"))
    made.take(event(350, recovery=turns_pb2.RecoveryReport(recovery=1)))
    made.take(command(400, "c1", "completed"))
    ask, queue, turn, item = made.spans(record())
    assert [(span.name, span.start_ns, span.end_ns) for span in (ask, queue, turn, item)] == [
        ("ask", 100, 900),
        ("queue", 100, 250),
        ("turn", 250, 900),
        ("command", 300, 400),
    ]
    assert (ask.parent, queue.parent, turn.parent, item.parent) == (0, ask.span_id, ask.span_id, turn.span_id)
    assert [mark.name for mark in turn.marks] == ["recovery"]
    assert not ask.failed
    assert "secret" not in repr((ask, queue, turn, item))


def test_a_turn_that_was_never_sent_only_waited() -> None:
    ended = record(sent_ns=None, outcome=Outcome.CANCELLED, cause=Cause.USER)
    assert [(span.name, span.failed) for span in TurnSpans("t1").spans(ended)] == [("ask", "user"), ("queue", "")]


def test_a_clock_that_jumped_makes_no_negative_span() -> None:
    made = TurnSpans("t1")
    made.take(event(5000, started=turns_pb2.TurnStarted()))
    for span in made.spans(record(ended_ns=50)):
        assert span.start_ns <= span.end_ns


def test_items_are_bounded() -> None:
    made = TurnSpans("t1")
    for number in range(MAX_ITEMS + 7):
        made.take(command(300, f"c{number}", "completed"))
    spans = made.spans(record())
    assert len(spans) == 3 + MAX_ITEMS
    assert spans[2].attributes["codex.items_left_out"] == 7
