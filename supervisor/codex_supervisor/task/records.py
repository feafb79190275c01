"""What a task is, as plain records that both engines keep.

Times are nanoseconds since the epoch on the engine's clock (the embedded engine's: this machine's, without its jumps;
PostgreSQL's: the database server's); durations are seconds.
"""

from __future__ import annotations

import enum
import re

import msgspec
from codex_control.errors import BadInput

from codex_supervisor.store.records import Usage

DEFAULT_QUEUE = "default"

MAX_PRIORITY = 1000
"""Priorities go from minus this to this."""

MAX_PARENTS = 64
"""Most tasks that one task comes after."""

MAX_LABELS = 32
"""Most labels of one task."""

LISTED_CHARS = 500
"""How much of the prompt and of an error a list shows; it leaves out answers and schemas."""

# A task's id is the name of its state file and part of its branch's name. Not a dot at either end, and never two in a
# row: git allows neither.
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,62}[A-Za-z0-9])?")
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_./=:-]{0,62}[A-Za-z0-9])?")


class TaskState(enum.StrEnum):
    """Where a task stands; the state files use the same words."""

    PENDING = "PENDING"
    """Accepted; waits for a worker, for its parents, or for its next attempt."""
    RUNNING = "RUNNING"
    """A worker has it."""
    DONE = "DONE"
    """Ended: Codex finished it."""
    ERROR = "ERROR"
    """Ended without success; the outcome says how."""
    TIMEOUT = "TIMEOUT"
    """Ended: its time limit passed."""

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it, unless a person retries it."""
        return self not in (TaskState.PENDING, TaskState.RUNNING)


class TaskOutcome(enum.StrEnum):
    """How a task, or one attempt of it, ended."""

    COMPLETED = "completed"
    """Codex finished it."""
    FAILED = "failed"
    """Codex gave up; the error says why."""
    CANCELLED = "cancelled"
    """A person or a client asked for it."""
    TIMED_OUT = "timed_out"
    """Its time limit passed."""
    CHILD_DIED = "child_died"
    """Its child died and the turn could not be carried on."""
    STALLED = "stalled"
    """It gave no sign of life for too long."""
    QUOTA = "quota"
    """The account's quota or rate limit is used up."""
    AUTH = "auth"
    """The model provider rejected the credentials."""
    CONTEXT_WINDOW = "context_window"
    """The conversation no longer fits."""
    REFUSED = "refused"
    """The model provider refused the content."""
    PROVIDER = "provider"
    """The model provider could not be reached or failed."""
    CODEX = "codex"
    """Codex could not be started or rejected the request."""
    LIMIT = "limit"
    """The answer was longer than the limit."""
    SETUP = "setup"
    """What it needs is missing: its directory, its git repository."""
    WORKER_LOST = "worker_lost"
    """Its worker was lost: the lease expired."""
    PARENT_FAILED = "parent_failed"
    """A task that it comes after did not succeed."""

    @property
    def state(self) -> TaskState:
        """The state of a task that ended so."""
        match self:
            case TaskOutcome.COMPLETED:
                return TaskState.DONE
            case TaskOutcome.TIMED_OUT:
                return TaskState.TIMEOUT
            case _:
                return TaskState.ERROR


class EventKind(enum.StrEnum):
    """What an event of a task says."""

    CHANGED = "changed"
    """It stands elsewhere now, without having ended; `state` says where, `text` why."""
    HEARTBEAT = "heartbeat"
    """It is alive and moves."""
    PROGRESS = "progress"
    """`text` says what it does now."""
    ITEM = "item"
    """`item` is a serialised `codex_control.v1.TurnEvent`."""
    COMPLETE = "complete"
    """It ended with success."""
    ERROR = "error"
    """It ended without success; `outcome` and `text` say how and why."""


class TaskRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client asked for. Never changes; two requests with one id are the same when all of it is the same."""

    prompt: str
    cwd: str
    priority: int = 0
    timeout_s: float | None = None
    """Time limit from the first start, all attempts together; None for the configured one."""
    retries: int | None = None
    """How often it is tried again after a failure; None for the configured number."""
    after: tuple[str, ...] = ()
    profile: str = ""
    worktree: bool = False
    output_schema: str = ""
    queue: str = DEFAULT_QUEUE
    labels: tuple[str, ...] = ()
    """Sorted; a worker must have all of them."""
    state_dir: str = ""


class TaskResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """What came of a task, so far as is known."""

    answer: str = ""
    files_changed: tuple[str, ...] = ()
    tests_run: int | None = None
    tests_passed: int | None = None
    summary: str = ""
    usage: Usage = Usage()
    diff_path: str = ""
    branch: str = ""
    worktree: str = ""


class Worker(msgspec.Struct, frozen=True):
    """Who claims: a supervisor, and which run of it."""

    name: str
    """Stays the same over restarts, unlike that of any other supervisor: it says whose claims may be taken over."""
    run: str
    """New with every start."""


class Seat(msgspec.Struct, frozen=True):
    """Where a worker runs, so that two of one name are told apart from two runs of one."""

    key: str
    """Machine, its boot, and state directory: of two runs with the same one the earlier is over."""
    where: str
    """Host and state directory, for people."""


class Lease(msgspec.Struct, frozen=True):
    """Who has a running task, and until when if it gives no sign of life."""

    worker: Worker
    expires_ns: int


class TaskStatus(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of a task that changes. Only the rules make a new one."""

    state: TaskState = TaskState.PENDING
    outcome: TaskOutcome | None = None
    error: str = ""
    """One sentence: why it ended without success, or why its last attempt did."""
    waits_for: str = ""
    """One sentence: what a pending task waits for; empty where it waits for a worker."""
    blocked_by: tuple[str, ...] = ()
    """Parents that are not done yet."""
    not_before_ns: int = 0
    """Its next attempt does not start before; 0 for at once."""
    token: int = 0
    """The fencing token: grows with every claim. A write with an older one is refused."""
    attempt: int = 0
    """Number of the attempt, 1 for the first. One that was given back is not counted."""
    failures: int = 0
    """Attempts that failed and count against the retries."""
    deaths: int = 0
    """Children and workers that died under it."""
    lease: Lease | None = None
    cancel_reason: str | None = None
    """Set where a running task was asked to stop."""
    submitted_ns: int = 0
    started_ns: int | None = None
    """When its first attempt began."""
    deadline_ns: int | None = None
    """When its time is over; None before the first start, and where it has no limit."""
    heartbeat_ns: int | None = None
    ended_ns: int | None = None
    thread_id: str = ""
    """Codex's thread, which every later attempt goes on with."""
    thread_worker: str = ""
    """`Worker.name` of the machine that has the thread's rollout."""
    instance: str = ""
    """The instance of the running attempt; for the worker that adopts it."""
    turn_id: str = ""
    """The turn of the running attempt; for the worker that adopts it."""
    turn_seq: int = 0
    """The turn's last event that is recorded here: where the worker that adopts it goes on."""
    progress: str = ""
    state_file: str = ""
    state_file_error: str = ""
    result: TaskResult = TaskResult()


class TaskRecord(msgspec.Struct, frozen=True):
    """One task. `number` is the order of submission; `last_seq` the number of its last event."""

    id: str
    number: int
    request: TaskRequest
    status: TaskStatus
    last_seq: int = 0

    @property
    def state(self) -> TaskState:
        """Where it stands."""
        return self.status.state

    @property
    def ended(self) -> bool:
        """Whether it has its outcome."""
        return self.status.state.ended


class Claim(msgspec.Struct, frozen=True):
    """A worker's right to run a task, until its lease ends. Every write of the worker carries it."""

    id: str
    token: int
    record: TaskRecord
    """As it was when it was claimed: `status.thread_id`, `status.instance` and `status.turn_id` say where to go on."""


class Renewal(msgspec.Struct, frozen=True):
    """The answer to a renewed lease."""

    expires_ns: int
    cancel_reason: str | None
    """Not None where the worker shall end the task as cancelled."""


class Note(msgspec.Struct, frozen=True):
    """What a worker tells of its running attempt; None leaves a field as it is."""

    thread_id: str | None = None
    instance: str | None = None
    turn_id: str | None = None
    progress: str | None = None
    state_file: str | None = None
    state_file_error: str | None = None
    result: TaskResult | None = None
    deaths: int = 0
    """How many children and workers have died under the task by now, so that a note may be written again: the ones
    before the attempt, and those of its children that the turn's own recovery replaced. A death that ends the attempt
    is not among them: `AttemptEnd` says it."""


class AttemptEnd(msgspec.Struct, frozen=True):
    """How an attempt ended. The rules decide whether the task ends with it or gets another one."""

    outcome: TaskOutcome
    error: str = ""
    note: Note = Note()
    """What is known at the end; a `result` without an answer is kept too."""


class NewEvent(msgspec.Struct, frozen=True, omit_defaults=True):
    """An event before it has its place."""

    kind: EventKind
    text: str = ""
    item: bytes = b""
    turn_seq: int = 0
    """Of an item: its sequence number in the turn of the attempt. One that is recorded already is not recorded again;
    0 for an event without."""
    state: TaskState | None = None
    outcome: TaskOutcome | None = None


class TaskEvent(msgspec.Struct, frozen=True):
    """A recorded event; `seq` starts at 1 and grows."""

    seq: int
    at_ns: int
    attempt: int
    event: NewEvent


class EventPage(msgspec.Struct, frozen=True):
    """Events of one task past a position, in their order."""

    events: tuple[TaskEvent, ...]
    last_seq: int
    """The number of the task's last event."""
    dropped_seq: int
    """Events up to this one are gone; 0 where none is."""
    ended: bool
    """Whether the task has ended: then nothing follows `last_seq`, unless a person retries it."""


class TaskPage(msgspec.Struct, frozen=True):
    """A page of tasks, the newest first, with `LISTED_CHARS` of their prompts and without answers and schemas."""

    records: tuple[TaskRecord, ...]
    next_number: int | None
    """Where the next page begins (`before` of the next call); None on the last."""


class Policy(msgspec.Struct, frozen=True):
    """What a task gets that its request does not say, and when it is given up."""

    retries: int = 2
    timeout_s: float | None = None
    max_deaths: int = 3
    """A task under which so many children and workers died is parked as ERROR."""
    backoff_base_s: float = 5.0
    backoff_cap_s: float = 300.0
    max_events: int = 10_000
    """Events kept of one task; past it the oldest go."""
    max_event_bytes: int = 8 * 1024 * 1024
    """Their bytes."""


def check_id(task_id: str) -> str:
    """Return `task_id`, or raise `BadInput` where it cannot be a task's id."""
    if not _ID.fullmatch(task_id) or ".." in task_id or task_id.endswith(".lock"):
        raise BadInput(
            what=f"{task_id[:80]!r} is no id of a task",
            why='an id has at most 64 letters, digits, "-", "_" and ".", with a letter or digit first and last',
            next_step="choose another one",
        )
    return task_id


def check_request(task_id: str, request: TaskRequest) -> TaskRequest:
    """Return `request` with its labels sorted and its parents each named once, or raise `BadInput`.

    What needs the disk or the configuration (the directory, the prompt's limit, the profile) is checked by the caller.
    """
    check_id(task_id)
    after = tuple(dict.fromkeys(request.after))
    if task_id in after:
        raise BadInput(what=f"task {task_id} comes after itself", next_step="leave its own id out of --after")
    for parent in after:
        check_id(parent)
    _at_most("parents", len(after), MAX_PARENTS)
    labels = tuple(sorted(set(request.labels)))
    _at_most("labels", len(labels), MAX_LABELS)
    for kind, name in (("queue", request.queue), *(("label", label) for label in labels)):
        if not _NAME.fullmatch(name):
            raise BadInput(
                what=f"{name[:80]!r} is no name of a {kind}",
                why='a name has at most 64 letters, digits and "-_./=:", with a letter or digit first and last',
            )
    if abs(request.priority) > MAX_PRIORITY:
        raise BadInput(what=f"priority {request.priority} is not between {-MAX_PRIORITY} and {MAX_PRIORITY}")
    if request.timeout_s is not None and not request.timeout_s > 0:
        raise BadInput(what="the time limit of a task is more than 0 s")
    if request.retries is not None and not 0 <= request.retries <= 1000:
        raise BadInput(what=f"{request.retries} is no number of retries", why="it is between 0 and 1000")
    return msgspec.structs.replace(request, after=after, labels=labels)


def _at_most(what: str, number: int, limit: int) -> None:
    if number > limit:
        raise BadInput(what=f"a task has at most {limit} {what}", why=f"this one has {number}")
