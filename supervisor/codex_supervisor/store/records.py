"""What the store keeps, as plain records. Times are wall-clock nanoseconds since the epoch; durations are seconds."""

from __future__ import annotations

import enum

import msgspec


class Outcome(enum.StrEnum):
    """How a turn ended; every accepted turn gets exactly one."""

    COMPLETED = "completed"
    """Codex finished it; the answer is recorded."""
    FAILED = "failed"
    """Codex or the model provider gave up."""
    CANCELLED = "cancelled"
    """A person or a client stopped it."""
    INTERRUPTED = "interrupted"
    """A process died under it and the policy was to report."""


class Cause(enum.StrEnum):
    """Why a turn did not complete."""

    CHILD_DIED = "child_died"
    """The child died and the turn was not carried on."""
    STALLED = "stalled"
    """It gave no sign of life for too long."""
    TIMED_OUT = "timed_out"
    """Its own time limit passed."""
    QUOTA = "quota"
    """The account's quota or rate limit is used up."""
    AUTH = "auth"
    """The model provider rejected the credentials."""
    CONTEXT_WINDOW = "context_window"
    """The conversation no longer fits."""
    REFUSED = "refused"
    """The model provider refused the content."""
    SUPERVISOR_LOST = "supervisor_lost"
    """The supervisor was lost and the turn could not be taken over."""
    USER = "user"
    """A person or a client asked for it."""
    PROVIDER = "provider"
    """The model provider could not be reached or failed."""
    CODEX = "codex"
    """Codex could not be started or rejected the request."""
    LIMIT = "limit"
    """The answer was longer than the limit."""


class TurnState(enum.StrEnum):
    """Where an accepted turn stands."""

    QUEUED = "queued"
    """Accepted; waits for its instance."""
    RUNNING = "running"
    """Sent to Codex."""
    ENDED = "ended"
    """The outcome is set."""


class Usage(msgspec.Struct, frozen=True, omit_defaults=True):
    """Tokens of one turn, as the provider counted them."""

    input: int = 0
    cached_input: int = 0
    output: int = 0
    reasoning_output: int = 0
    context_window: int = 0


class CommandRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One shell command of a turn. `output_tail` holds at most 4 KiB."""

    item_id: str
    command: str
    status: str
    exit_code: int | None = None
    duration_s: float = 0.0
    output_tail: str = ""


class FileRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One file that a turn changed; `kind` is add, delete or update."""

    item_id: str
    path: str
    kind: str
    status: str


class Moment(msgspec.Struct, frozen=True):
    """A moment that no jump of the wall clock moves: seconds on the monotonic clock, in one boot of the machine."""

    boot_id: str
    monotonic_s: float


class ReviewKind(enum.StrEnum):
    """What a review is about."""

    UNCOMMITTED = "uncommitted"
    """All that is not committed."""
    BASE = "base"
    """What is different from the merge base with a branch, tag or commit."""
    COMMIT = "commit"
    """What one commit changes."""
    INSTRUCTIONS = "instructions"
    """What a text says."""


class ReviewRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What shall be reviewed: `name` is the branch, the commit or the text; `focus` what to mind above all."""

    kind: ReviewKind
    name: str = ""
    focus: str = ""


class TurnRequest(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a client asked for; everything needed to send the turn, and to send it again."""

    prompt: str
    images: tuple[str, ...] = ()
    cwd: str = ""
    profile: str = ""
    output_schema: str = ""
    show_reasoning: bool | None = None
    timeout_s: float | None = None
    accepted: Moment | None = None
    """When it was accepted: what its time limit counts from."""
    review: ReviewRecord | None = None
    """Set where the turn is a review; `prompt` then says in words of what."""
    wanted_end: Cause | None = None
    """Why somebody wants it to end, from the moment on in which that is known: whoever has the turn next ends it."""
    stops: int = 0
    """How many of its recoveries followed a stop of the service: nothing died then."""


class TurnRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The journal's row of one turn."""

    id: str
    request_id: str
    instance: str
    request: TurnRequest
    accepted_ns: int
    thread_id: str = ""
    """Codex's thread; empty until the turn is about to be sent."""
    codex_turn_id: str = ""
    """Codex's turn; empty until Codex has answered."""
    sent_ns: int | None = None
    """When it was sent to Codex (the intent is committed before the sending)."""
    ended_ns: int | None = None
    outcome: Outcome | None = None
    cause: Cause | None = None
    error: str = ""
    answer: str = ""
    reasoning: str = ""
    usage: Usage = Usage()
    commands: tuple[CommandRecord, ...] = ()
    files: tuple[FileRecord, ...] = ()
    recoveries: int = 0
    queued_s: float | None = None
    first_event_s: float | None = None
    first_text_s: float | None = None
    total_s: float | None = None

    @property
    def state(self) -> TurnState:
        """Where it stands, from its times."""
        if self.ended_ns is not None:
            return TurnState.ENDED
        return TurnState.QUEUED if self.sent_ns is None else TurnState.RUNNING


class SettingsRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What an instance remembers about how its turns run; empty means the configured default."""

    profile: str = ""
    show_reasoning: bool | None = None
    final_only: bool | None = None
    approval_policy: str = ""
    on_interrupted: str = ""
    cwd: str = ""
    max_recoveries: int | None = None
    """How often one turn is carried on after a death; the configured number where None."""


class LeaseRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A Claude Code process that an instance belongs to, and the session that it shows.

    `boot_id`, `pid` and `start_time` name one process for ever; see `ChildRecord`.
    """

    session: str
    pid: int
    start_time: int
    boot_id: str
    bound_ns: int
    gone_ns: int | None = None
    """When it was found gone; the lease is kept until the grace has passed."""


class TaskLink(msgspec.Struct, frozen=True, omit_defaults=True):
    """The task whose attempt an instance was made for; the instance has no other turn than that one."""

    id: str
    token: int
    """The fencing token of the claim that it was made under. It names the turn, so that asking again finds it."""
    deaths: int = 0
    """Deaths that the task had seen before."""


class InstanceRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """One known instance. `wanted` says whether a person wants it up (False after Stop)."""

    id: str
    created_ns: int
    workspace: str = ""
    claude_session: str = ""
    thread_id: str = ""
    settings: SettingsRecord = SettingsRecord()
    instructions: str = ""
    """Developer instructions that the thread was told last."""
    default_model: str = ""
    """Model that Codex itself chose for the thread."""
    default_effort: str = ""
    """Reasoning effort that Codex itself chose for the thread; empty where it named none."""
    wanted: bool = True
    restarts: int = 0
    claude_sessions: tuple[str, ...] = ()
    """Ids of all Claude Code sessions that lead to this instance, the latest last; `claude_session` is that one."""
    leases: tuple[LeaseRecord, ...] = ()
    task: TaskLink | None = None
    """Set where it belongs to a task: it is then no session's, and goes when the attempt is over."""


class ChildRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A child process that was spawned and not yet proven gone; what adoption verifies it by.

    `pid` is 0 in the record that is committed before the spawn; `token` is in the child's environment as
    `CODEX_SUPERVISOR_CHILD`, so that a child of a supervisor that died between spawn and commit is found too.
    """

    token: str
    instance: str
    generation: int
    socket: str
    boot_id: str
    pid: int = 0
    start_time: int = 0
    """Field 22 of /proc/PID/stat: clock ticks since boot (microseconds since the epoch on macOS)."""
    codex_version: str = ""
    started_ns: int = 0
    cgroup: str = ""
    """Directory of its own control group; empty where it has none."""
    demo_overrides: tuple[str, ...] = ()
    """What led it to the demo model; empty where it was started for the real one."""


class EventRow(msgspec.Struct, frozen=True):
    """One recorded event of a turn: its sequence number and the serialised `codex_control.v1.TurnEvent`."""

    seq: int
    payload: bytes


class TurnEnd(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that is written when a turn ends, in one transaction with its last event."""

    outcome: Outcome
    cause: Cause | None
    error: str
    answer: str
    reasoning: str
    usage: Usage
    commands: tuple[CommandRecord, ...]
    files: tuple[FileRecord, ...]
    ended_ns: int
    queued_s: float | None
    first_event_s: float | None
    first_text_s: float | None
    total_s: float
