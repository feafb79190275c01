"""Workers and calls of an engine, for the tests of what every engine promises (`codex_supervisor.task.contract`)."""

from __future__ import annotations

from codex_supervisor.task.contract import Engine
from codex_supervisor.task.records import (
    AttemptEnd,
    Claim,
    Note,
    TaskOutcome,
    TaskRecord,
    TaskRequest,
    TaskResult,
    Worker,
)

ALICE = Worker("alice", "1")
BOB = Worker("bob", "1")
COMPLETED = AttemptEnd(TaskOutcome.COMPLETED, note=Note(result=TaskResult(answer="42", files_changed=("a.py",))))
FAILED = AttemptEnd(TaskOutcome.FAILED, "the model gave up")
REFUSED = AttemptEnd(TaskOutcome.REFUSED, "the model refused")
DIED = AttemptEnd(TaskOutcome.CHILD_DIED, "signal 9")


def asking(prompt: str = "do it", **settings: object) -> TaskRequest:
    return TaskRequest(prompt, "/srv", **settings)  # type: ignore[arg-type]


async def submit(engine: Engine, task_id: str, prompt: str = "do it", **settings: object) -> TaskRecord:
    record, existed = await engine.submit(task_id, asking(prompt, **settings))
    assert not existed
    return record


async def claim(engine: Engine, worker: Worker = ALICE, **settings: object) -> Claim:
    found = await engine.claim(worker, lease_s=30, **settings)  # type: ignore[arg-type]
    assert found is not None
    return found


async def nothing_to_claim(engine: Engine, worker: Worker = ALICE, **settings: object) -> bool:
    return await engine.claim(worker, lease_s=30, **settings) is None  # type: ignore[arg-type]


async def events_of(engine: Engine, task_id: str, after_seq: int = 0) -> list[str]:
    page = await engine.events(task_id, after_seq)
    return [f"{event.seq} {event.event.kind} {event.event.text}".rstrip() for event in page.events]
