"""The contract of an engine: lease, attempts, fencing token, idempotent submit by id, exactly one end.

- A worker has a task through a `Claim`, whose token grows with every claim of that task. Every write of the worker
  carries it; a write with an older token, or after the end, raises `LeaseLost` and changes nothing.
- A claim is good until its lease ends. `renew` prolongs it. After that any worker may `reclaim` it.
- What a method returned is on the disk: a submitted task, a new state, an end. Heartbeats and progress may be lost by a
  cut of the power, never by the death of a process.
- Changes are told through `signals` at once; an engine polls, slowly, only where news can get lost on the way.

Every method raises `StoreUnavailable` while the engine cannot be reached or used, and `LimitExceeded` while its disk is
full. Both pass: the same call may be made again, also one whose answer was lost. What was accepted is not lost.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from codex_control.errors import WrongState

from codex_supervisor.task.records import (
    AttemptEnd,
    Claim,
    EventPage,
    NewEvent,
    Note,
    Renewal,
    Seat,
    TaskPage,
    TaskRecord,
    TaskRequest,
    TaskState,
    Worker,
)
from codex_supervisor.task.signals import Signals


class IdTaken(WrongState):
    """The id belongs to another task."""

    reason = "ID_TAKEN"
    status = "ALREADY_EXISTS"


class NameTaken(WrongState):
    """Another supervisor works under the same name."""

    reason = "NAME_TAKEN"


class LeaseLost(WrongState):
    """The task is no longer this worker's."""

    reason = "LEASE_LOST"


class Engine(Protocol):
    """Where tasks are kept and queued. All methods are for one event loop."""

    name: str
    """sqlite or postgresql."""
    signals: Signals

    async def close(self) -> None:
        """End what runs for the engine. Claims stay until they are taken over or expire."""
        ...

    # For whoever hands work over and looks at it.

    async def submit(self, task_id: str, request: TaskRequest) -> tuple[TaskRecord, bool]:
        """Accept a task durably; return it, and whether it existed with the same request already.

        A new one is told of as work; nobody can have asked for news of its changes yet.

        Raises `BadInput` (id, request), `NotFound` (a parent), `IdTaken`.
        """
        ...

    async def get(self, task_id: str) -> TaskRecord:
        """Return a task. Raises `NotFound`."""
        ...

    async def get_many(self, task_ids: Collection[str]) -> list[TaskRecord]:
        """Return the tasks in the order of the ids, as of one moment. Raises `NotFound` where one is unknown."""
        ...

    async def list_tasks(
        self,
        *,
        states: Collection[TaskState] = (),
        queue: str = "",
        limit: int = 50,
        before: int | None = None,
    ) -> TaskPage:
        """Return a page of tasks, the newest first; `before` is `TaskPage.next_number` of the page before."""
        ...

    async def counts(self) -> Mapping[tuple[TaskState, str], int]:
        """Return the number of tasks for each state and queue that has any."""
        ...

    async def events(self, task_id: str, after_seq: int, *, limit: int = 256) -> EventPage:
        """Return at most `limit` events past `after_seq`. Raises `NotFound`."""
        ...

    async def cancel(self, task_id: str, reason: str = "") -> TaskRecord:
        """End a pending task; ask a running one to stop (its worker is told by `signals` and at its next renewal).

        One that has ended stays as it is. Raises `NotFound`.
        """
        ...

    async def retry(self, task_id: str) -> TaskRecord:
        """Make a task that ended without success pending again. Raises `NotFound`, `WrongState`."""
        ...

    async def prune(
        self,
        *,
        task_ids: Collection[str] = (),
        ended_before_s: float = 0.0,
        states: Collection[TaskState] = (),
        keep: int = 0,
        limit: int = 1000,
    ) -> int:
        """Forget at most `limit` tasks that ended at least `ended_before_s` seconds ago; return how many.

        The `keep` that were submitted last stay. Fewer than `limit` means that none is left. Raises `NotFound` or
        `WrongState` where one of `task_ids` is unknown or has not ended.
        """
        ...

    # For workers.

    async def claim(
        self, worker: Worker, *, lease_s: float, queues: Collection[str] = (), labels: Collection[str] = ()
    ) -> Claim | None:
        """Take the next task: by priority, then by order of submission; None where there is none for this worker.

        Only tasks of `queues` (empty: of all), and only those whose labels the worker has all of. A task whose time is
        over is ended, not returned.
        """
        ...

    async def renew(self, claim: Claim, *, lease_s: float, heartbeat: bool = False) -> Renewal:
        """Keep the task. `heartbeat` says that it is alive and moves. Raises `LeaseLost`."""
        ...

    async def note(self, claim: Claim, note: Note, events: Sequence[NewEvent] = ()) -> None:
        """Write what is known of the running attempt, then `events` (of kind ITEM). Raises `LeaseLost`.

        A changed `progress` makes its own event. Events whose `turn_seq` is recorded already are left out.
        """
        ...

    async def finish(self, claim: Claim, end: AttemptEnd, *, delay_s: float = 0.0) -> TaskRecord:
        """Write how the attempt ended; `delay_s` is the back-off if there will be another (`rules.retry_delay_s`).

        Raises `LeaseLost`, also where the claim has finished the attempt already: `get` then says how.
        """
        ...

    async def give_back(self, claim: Claim, reason: str, *, delay_s: float = 0.0) -> TaskRecord:
        """Make the task pending again without counting the attempt. Raises `LeaseLost`."""
        ...

    async def enrol(self, worker: Worker, seat: Seat, *, for_s: float) -> None:
        """Keep the worker's name for `for_s`, against whoever has another seat. Raises `NameTaken`."""
        ...

    async def leave(self, worker: Worker) -> None:
        """Give the worker's name free: it claims nothing more."""
        ...

    async def take_over(self, worker: Worker, *, lease_s: float, known: Collection[str] | None = None) -> list[Claim]:
        """Claim anew, under new tokens, what earlier runs of this worker had when they died.

        With `known` also what this run has without knowing it, because the answer to its claim was lost: all that is
        not named there.
        """
        ...

    async def reclaim(self, *, delay_s: float = 0.0, limit: int = 100) -> list[TaskRecord]:
        """Take tasks whose lease ran out from their workers, and return what became of them.

        A worker that still lives and comes late gets `LeaseLost`.
        """
        ...

    async def next_due_s(self) -> float | None:
        """Return the seconds (0 or more) until a back-off or a lease ends; None where none runs.

        For a timer: everything else that makes `claim` or `reclaim` worth a call is told by `signals.work`. Ask before
        `claim` and `reclaim`: what falls due in between is not counted any more.
        """
        ...
