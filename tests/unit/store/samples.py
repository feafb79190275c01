"""Turns, ends and stores for the tests of the store."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

from codex_control.service.clock import SystemClock
from codex_supervisor.store.records import Cause, EventRow, Outcome, TurnEnd, TurnRecord, TurnRequest, Usage
from codex_supervisor.store.store import Store

BEGAN_NS = 1_700_000_000_000_000_000


def turn(number: int, instance: str = "blue", prompt: str = "") -> TurnRecord:
    return TurnRecord(
        id=f"turn-{number}",
        request_id=f"request-{number}",
        instance=instance,
        request=TurnRequest(prompt=prompt or f"prompt {number}"),
        accepted_ns=BEGAN_NS + number,
    )


def end(answer: str = "", outcome: Outcome = Outcome.COMPLETED, cause: Cause | None = None) -> TurnEnd:
    return TurnEnd(
        outcome=outcome,
        cause=cause,
        error="",
        answer=answer,
        reasoning="",
        usage=Usage(input=1, output=2),
        commands=(),
        files=(),
        ended_ns=BEGAN_NS + 10**9,
        queued_s=0.1,
        first_event_s=0.2,
        first_text_s=0.3,
        total_s=0.4,
    )


def events(*numbers: int, size: int = 4) -> list[EventRow]:
    return [EventRow(number, bytes([number % 256]) * size) for number in numbers]


async def finished(
    store: Store, number: int, instance: str = "blue", prompt: str = "", answer: str = "", size: int = 4
) -> None:
    """Accept and finish a turn with the events 1 and 2."""
    made = turn(number, instance, prompt)
    await store.accept_turn(made, events(1, size=size))
    assert await store.finish_turn(made.id, end(answer or f"answer {number}"), events(2, size=size))


@asynccontextmanager
async def opened(
    directory: Path,
    *,
    entries_per_instance: int = 1000,
    on_commit: Callable[[float], None] | None = None,
    lock_wait_s: float = 5.0,
) -> AsyncIterator[Store]:
    """A store below `directory`, closed at the end."""
    store = await Store.open(
        database(directory),
        archive_dir=archive_dir(directory),
        clock=SystemClock(),
        entries_per_instance=entries_per_instance,
        on_commit=on_commit,
        lock_wait_s=lock_wait_s,
    )
    try:
        yield store
    finally:
        await store.close()


def database(directory: Path) -> Path:
    return directory / "state" / "supervisor.db"


def archive_dir(directory: Path) -> Path:
    return directory / "state" / "archive"


def archive_files(directory: Path) -> list[Path]:
    return sorted(archive_dir(directory).iterdir())


def rows(directory: Path, query: str) -> list[tuple[object, ...]]:
    """What the database holds, read from outside the store."""
    with closing(sqlite3.connect(f"file:{database(directory)}?mode=ro", uri=True)) as db:
        return db.execute(query).fetchall()
