"""Turns as lines for people."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator

from codex_control.safe_text import duration_text, one_line, strip_controls
from codex_control.v1.outcome_pb2 import Cause, Outcome
from codex_control.v1.turns_pb2 import Turn, TurnState

from codexctl.output import put_table, table_width
from codexctl.view.lines import command_text, file_text

HEADINGS = ("TURN", "INSTANCE", "ACCEPTED", "TOOK", "OUTCOME", "PROMPT")

# What a narrow terminal goes without, first to last; in a table of all instances each has to be told apart.
_EXPENDABLE = ("TOOK", "INSTANCE", "ACCEPTED")
_EXPENDABLE_OF_ALL = ("TOOK", "ACCEPTED")


def row(turn: Turn) -> tuple[str, ...]:
    """One turn under `HEADINGS`."""
    return (
        turn.id,
        turn.instance,
        local_time(turn.accepted_at.seconds),
        _took(turn),
        standing(turn),
        turn.prompt[:200],
    )


def put_turns(turns: Iterable[Turn], *, all_instances: bool) -> None:
    """Print the table of `turns`."""
    expendable = _EXPENDABLE_OF_ALL if all_instances else _EXPENDABLE
    put_table(HEADINGS, [row(turn) for turn in turns], width=table_width(), expendable=expendable)


def standing(turn: Turn) -> str:
    """The outcome with its cause, or where the turn stands without one."""
    if not turn.outcome:
        state = TurnState.Name(turn.state).removeprefix("TURN_STATE_").lower()
        return f"{state} ({turn.queue_position})" if turn.queue_position else state
    outcome = Outcome.Name(turn.outcome).removeprefix("OUTCOME_").lower()
    return f"{outcome} ({Cause.Name(turn.cause).removeprefix('CAUSE_').lower()})" if turn.cause else outcome


def full_text(turn: Turn) -> Iterator[str]:
    """One turn with everything that is recorded."""
    facts = [turn.id, turn.instance, local_time(turn.accepted_at.seconds), standing(turn), _took(turn), turn.profile]
    yield " · ".join(one_line(fact) for fact in facts if fact)
    if turn.error:
        yield f"error: {one_line(turn.error, 2000)}"
    if turn.recoveries:
        yield f"recoveries: {turn.recoveries}"
    for image in turn.images:
        yield f"image: {one_line(image)}"
    yield from ("", "prompt:", *_indented(turn.prompt))
    if turn.reasoning:
        yield from ("", "reasoning:", *_indented(turn.reasoning))
    if turn.commands:
        yield from ("", "commands:", *(f"  {command_text(command)}" for command in turn.commands))
    if turn.files:
        yield from ("", "files:", *(f"  {file_text(change)}" for change in turn.files))
    yield from ("", "answer:", *_indented(turn.answer))


def local_time(seconds: int) -> str:
    """A time in seconds since the epoch, in the user's time zone; empty for 0."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds)) if seconds else ""


def _took(turn: Turn) -> str:
    total = turn.timings.total if turn.timings.HasField("total") else None
    return duration_text(total.ToTimedelta().total_seconds()) if total else ""


def _indented(text: str) -> list[str]:
    return [f"  {line}" for line in strip_controls(text).splitlines()]
