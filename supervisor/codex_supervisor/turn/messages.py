"""From records of the store to messages of the API. Pure."""

from __future__ import annotations

from codex_control.v1 import outcome_pb2, turns_pb2
from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from codex_supervisor.store.records import CommandRecord, FileRecord, TurnRecord, Usage
from codex_supervisor.turn.review import review_message


def timestamp(wall_ns: int) -> Timestamp:
    """Return wall-clock nanoseconds as a protobuf timestamp."""
    seconds, nanos = divmod(wall_ns, 1_000_000_000)
    return Timestamp(seconds=seconds, nanos=nanos)


def duration(seconds: float | None) -> Duration | None:
    """Return seconds as a protobuf duration; None stays None (an absent field)."""
    if seconds is None:
        return None
    # Rounded: a record that went through a message must be the same record, or it is taken for news.
    whole, nanos = divmod(round(seconds * 1e9), 1_000_000_000)
    return Duration(seconds=whole, nanos=nanos)


def usage_message(usage: Usage) -> outcome_pb2.TokenUsage:
    """Return the tokens of a turn as a message."""
    return outcome_pb2.TokenUsage(
        input=usage.input,
        cached_input=usage.cached_input,
        output=usage.output,
        reasoning_output=usage.reasoning_output,
        context_window=usage.context_window,
    )


def usage_record(message: outcome_pb2.TokenUsage) -> Usage:
    """Return the record of `usage_message`'s message."""
    return Usage(
        input=message.input,
        cached_input=message.cached_input,
        output=message.output,
        reasoning_output=message.reasoning_output,
        context_window=message.context_window,
    )


def command_message(record: CommandRecord) -> turns_pb2.CommandRun:
    """Return a command of a turn as a message."""
    return turns_pb2.CommandRun(
        item_id=record.item_id,
        command=record.command,
        exit_code=record.exit_code,
        duration=duration(record.duration_s),
        status=record.status,
        output_tail=record.output_tail,
    )


def command_record(message: turns_pb2.CommandRun) -> CommandRecord:
    """Return the record of `command_message`'s message."""
    return CommandRecord(
        item_id=message.item_id,
        command=message.command,
        status=message.status,
        exit_code=message.exit_code if message.HasField("exit_code") else None,
        duration_s=message.duration.ToNanoseconds() / 1e9,
        output_tail=message.output_tail,
    )


def file_record(message: turns_pb2.FileChange) -> FileRecord:
    """Return the record of `file_message`'s message."""
    return FileRecord(item_id=message.item_id, path=message.path, kind=message.kind, status=message.status)


def file_message(record: FileRecord) -> turns_pb2.FileChange:
    """Return a file change of a turn as a message."""
    return turns_pb2.FileChange(item_id=record.item_id, path=record.path, kind=record.kind, status=record.status)


def turn_message(turn: TurnRecord, *, queue_position: int = 0) -> turns_pb2.Turn:
    """Return the record of a turn as a message."""
    return turns_pb2.Turn(
        id=turn.id,
        request_id=turn.request_id,
        instance=turn.instance,
        thread_id=turn.thread_id,
        codex_turn_id=turn.codex_turn_id,
        state=f"TURN_STATE_{turn.state.name}",
        outcome=f"OUTCOME_{turn.outcome.name if turn.outcome else 'UNSPECIFIED'}",
        cause=f"CAUSE_{turn.cause.name if turn.cause else 'UNSPECIFIED'}",
        error=turn.error,
        profile=turn.request.profile,
        prompt=turn.request.prompt,
        answer=turn.answer,
        reasoning=turn.reasoning,
        usage=usage_message(turn.usage),
        timings=outcome_pb2.Timings(
            queued=duration(turn.queued_s),
            first_event=duration(turn.first_event_s),
            first_text=duration(turn.first_text_s),
            total=duration(turn.total_s),
        ),
        accepted_at=timestamp(turn.accepted_ns),
        ended_at=timestamp(turn.ended_ns) if turn.ended_ns is not None else None,
        commands=[command_message(command) for command in turn.commands],
        files=[file_message(file) for file in turn.files],
        recoveries=turn.recoveries,
        cwd=turn.request.cwd,
        images=turn.request.images,
        queue_position=queue_position,
        review=review_message(turn.request.review),
    )
