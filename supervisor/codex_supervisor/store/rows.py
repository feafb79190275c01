"""Records to rows and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from codex_supervisor.store.records import (
    Cause,
    CommandRecord,
    FileRecord,
    Outcome,
    TurnEnd,
    TurnRecord,
    TurnRequest,
    Usage,
)

TURN_COLUMNS = (
    "id, request_id, instance, outcome, cause, accepted_ns, sent_ns, ended_ns, thread_id, codex_turn_id, recoveries,"
    " queued_s, first_event_s, first_text_s, total_s, error, usage, request, answer, reasoning, commands, files"
)
"""Columns of `turns` in the order of `turn_values` and `turn_from_row`."""

_request = msgspec.json.Decoder(TurnRequest)
_usage = msgspec.json.Decoder(Usage)
_commands = msgspec.json.Decoder(tuple[CommandRecord, ...])
_files = msgspec.json.Decoder(tuple[FileRecord, ...])


def storable_text(text: str) -> str:
    """`text` as it can be stored: bytes that were no UTF-8 (lone surrogates in Python) become question marks."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode(errors="replace").decode()
    return text


def to_json(value: object) -> bytes:
    """`value` as JSON; lone surrogates in its texts become question marks, because JSON can't hold them."""
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:
        return msgspec.json.encode(_storable(msgspec.to_builtins(value)))


def turn_values(turn: TurnRecord) -> tuple[Any, ...]:
    """The values of a new row of `turns`."""
    return (
        turn.id,
        turn.request_id,
        turn.instance,
        turn.outcome,
        turn.cause,
        turn.accepted_ns,
        turn.sent_ns,
        turn.ended_ns,
        turn.thread_id,
        turn.codex_turn_id,
        turn.recoveries,
        turn.queued_s,
        turn.first_event_s,
        turn.first_text_s,
        turn.total_s,
        storable_text(turn.error),
        to_json(turn.usage),
        to_json(turn.request),
        storable_text(turn.answer),
        storable_text(turn.reasoning),
        to_json(turn.commands),
        to_json(turn.files),
    )


def turn_from_row(row: tuple[Any, ...]) -> TurnRecord:
    """The record of a row that was selected with `TURN_COLUMNS`."""
    (
        turn_id,
        request_id,
        instance,
        outcome,
        cause,
        accepted_ns,
        sent_ns,
        ended_ns,
        thread_id,
        codex_turn_id,
        recoveries,
        queued_s,
        first_event_s,
        first_text_s,
        total_s,
        error,
        usage,
        request,
        answer,
        reasoning,
        commands,
        files,
    ) = row
    return TurnRecord(
        id=turn_id,
        request_id=request_id,
        instance=instance,
        request=_request.decode(request),
        accepted_ns=accepted_ns,
        thread_id=thread_id,
        codex_turn_id=codex_turn_id,
        sent_ns=sent_ns,
        ended_ns=ended_ns,
        outcome=None if outcome is None else Outcome(outcome),
        cause=None if cause is None else Cause(cause),
        error=error,
        answer=answer,
        reasoning=reasoning,
        usage=_usage.decode(usage),
        commands=_commands.decode(commands),
        files=_files.decode(files),
        recoveries=recoveries,
        queued_s=queued_s,
        first_event_s=first_event_s,
        first_text_s=first_text_s,
        total_s=total_s,
    )


def end_values(end: TurnEnd) -> Mapping[str, Any]:
    """The named values that are written when a turn ends."""
    return {
        "outcome": end.outcome,
        "cause": end.cause,
        "ended_ns": end.ended_ns,
        "queued_s": end.queued_s,
        "first_event_s": end.first_event_s,
        "first_text_s": end.first_text_s,
        "total_s": end.total_s,
        "error": storable_text(end.error),
        "usage": to_json(end.usage),
        "answer": storable_text(end.answer),
        "reasoning": storable_text(end.reasoning),
        "commands": to_json(end.commands),
        "files": to_json(end.files),
    }


def _storable(value: Any) -> Any:
    match value:
        case str():
            return storable_text(value)
        case list() | tuple():
            return [_storable(item) for item in value]
        case dict():
            return {key: _storable(item) for key, item in value.items()}
        case _:
            return value
