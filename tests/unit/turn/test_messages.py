"""Records to messages and back: what was recorded comes back as it was."""

from __future__ import annotations

from codex_control.v1 import outcome_pb2, turns_pb2
from codex_supervisor.store.records import (
    Cause,
    CommandRecord,
    FileRecord,
    Outcome,
    TurnRecord,
    TurnRequest,
    TurnState,
    Usage,
)
from codex_supervisor.turn.messages import (
    command_message,
    command_record,
    duration,
    file_message,
    file_record,
    timestamp,
    turn_message,
    usage_message,
    usage_record,
)
from hypothesis import given
from hypothesis import strategies as st

words = st.text(st.characters(codec="utf-8"), max_size=20)
counts = st.integers(0, 2**63 - 1)
# Codex counts whole milliseconds.
durations_s = st.integers(0, 10**9).map(lambda milliseconds: milliseconds / 1000)
seconds = st.none() | st.floats(0, 1e8)
usages = st.builds(Usage, counts, counts, counts, counts, counts)
commands = st.builds(
    CommandRecord,
    item_id=words,
    command=words,
    status=words,
    exit_code=st.none() | st.integers(-(2**31), 2**31 - 1),
    duration_s=durations_s,
    output_tail=words,
)
files = st.builds(FileRecord, item_id=words, path=words, kind=words, status=words)


@given(usage=usages)
def test_usage_comes_back(usage: Usage) -> None:
    message = outcome_pb2.TokenUsage.FromString(usage_message(usage).SerializeToString())
    assert usage_record(message) == usage


@given(record=commands)
def test_a_command_comes_back(record: CommandRecord) -> None:
    message = turns_pb2.CommandRun.FromString(command_message(record).SerializeToString())
    assert command_record(message) == record


@given(record=files)
def test_a_file_comes_back(record: FileRecord) -> None:
    message = turns_pb2.FileChange.FromString(file_message(record).SerializeToString())
    assert file_record(message) == record


@given(wall_ns=st.integers(-(10**18), 10**19))
def test_a_timestamp_keeps_every_nanosecond(wall_ns: int) -> None:
    assert timestamp(wall_ns).ToNanoseconds() == wall_ns


@given(seconds=seconds)
def test_a_duration_is_exact_to_the_nanosecond(seconds: float | None) -> None:
    message = duration(seconds)
    if seconds is None:
        assert message is None
    else:
        assert message is not None
        assert abs(message.ToNanoseconds() - seconds * 1e9) <= max(1.0, seconds)
        assert 0 <= message.nanos < 1_000_000_000


@given(outcome=st.none() | st.sampled_from(Outcome), cause=st.none() | st.sampled_from(Cause), sent=st.booleans())
def test_every_state_outcome_and_cause_has_its_number(outcome: Outcome | None, cause: Cause | None, sent: bool) -> None:
    record = TurnRecord(
        id="t",
        request_id="r",
        instance="blue",
        request=TurnRequest(prompt="p"),
        accepted_ns=1,
        sent_ns=2 if sent else None,
        ended_ns=3 if outcome else None,
        outcome=outcome,
        cause=cause,
    )
    message = turn_message(record)
    state = TurnState.ENDED if outcome else TurnState.RUNNING if sent else TurnState.QUEUED
    assert turns_pb2.TurnState.Name(message.state) == f"TURN_STATE_{state.name}"
    assert outcome_pb2.Outcome.Name(message.outcome) == f"OUTCOME_{outcome.name if outcome else 'UNSPECIFIED'}"
    assert outcome_pb2.Cause.Name(message.cause) == f"CAUSE_{cause.name if cause else 'UNSPECIFIED'}"
    assert message.HasField("ended_at") == (outcome is not None)


def test_the_whole_record_is_in_the_message() -> None:
    record = TurnRecord(
        id="turn-1",
        request_id="request-1",
        instance="blue",
        request=TurnRequest(prompt="why?", images=("/i.png",), cwd="/w", profile="high"),
        accepted_ns=1_000_000_001,
        thread_id="thread",
        codex_turn_id="codex-turn",
        sent_ns=2,
        ended_ns=3,
        outcome=Outcome.FAILED,
        cause=Cause.QUOTA,
        error="no more",
        answer="part of it",
        reasoning="because",
        usage=Usage(input=1, cached_input=2, output=3, reasoning_output=4, context_window=5),
        commands=(CommandRecord("c", "make", "completed", 0, 1.5, "out"),),
        files=(FileRecord("f", "/p", "add", "completed"),),
        recoveries=2,
        queued_s=0.25,
        first_event_s=0.5,
        first_text_s=None,
        total_s=2.0,
    )
    message = turn_message(record, queue_position=7)
    assert turn_message(record) != message
    texts = {
        name: getattr(message, name)
        for name in ("id", "request_id", "instance", "thread_id", "codex_turn_id", "error", "prompt", "answer",
                     "reasoning", "profile", "cwd", "recoveries", "queue_position")
    }  # fmt: skip
    assert texts == {
        "id": "turn-1", "request_id": "request-1", "instance": "blue", "thread_id": "thread",
        "codex_turn_id": "codex-turn", "error": "no more", "prompt": "why?", "answer": "part of it",
        "reasoning": "because", "profile": "high", "cwd": "/w", "recoveries": 2, "queue_position": 7,
    }  # fmt: skip
    assert usage_record(message.usage) == record.usage
    assert [command_record(command) for command in message.commands] == list(record.commands)
    assert [file_record(file) for file in message.files] == list(record.files)
    assert list(message.images) == ["/i.png"]
    assert (message.accepted_at.ToNanoseconds(), message.ended_at.ToNanoseconds()) == (1_000_000_001, 3)
    assert message.timings.queued.ToMilliseconds() == 250
    assert not message.timings.HasField("first_text")
    unset = {field.name for field in message.DESCRIPTOR.fields} - {field.name for field, _ in message.ListFields()}
    assert unset <= {"review"}, "nothing of the record is left out; this turn is no review"
