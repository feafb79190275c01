"""What the stand-in for Codex can be told to do. Everything is off at first: then it behaves."""

from __future__ import annotations

import enum
import os
from pathlib import Path
from typing import Literal

import msgspec

KNOBS_VARIABLE = "CODEX_FAKE"
KNOBS_FILE = "fake.json"
STARTS_FILE = "fake-starts"


class Stage(enum.StrEnum):
    """Points in a turn, in their order; each comes right after what it names was sent."""

    ACCEPTED = "accepted"
    """`turn/start` was read; nothing is kept or answered yet."""
    REPLIED = "replied"
    """`turn/start` was answered."""
    STARTED = "started"
    """`turn/started`."""
    USER_MESSAGE = "user_message"
    """`item/completed` of the user message, which is kept from here on."""
    APPROVAL = "approval"
    """A request for approval, or a question."""
    COMMAND = "command"
    """`item/started` of the command, after its approval."""
    DELTA = "delta"
    """The first delta of the answer."""
    ANSWER = "answer"
    """`item/completed` of the answer; the turn itself is not completed yet."""
    COMPLETED = "completed"
    """`turn/completed`."""


class Knobs(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The knobs. Sizes are in bytes, times in seconds."""

    starts: tuple[int, ...] | None = None
    """Which starts of `app-server` in this home the knobs are for, counted from 1; the others behave. None: all."""

    # Before it is ready.
    version: str = "0.163.0"
    """What `--version` and the handshake say."""
    version_output: str | None = None
    """All that `--version` prints, instead."""
    exit_code: int | None = None
    """Exit with this code at once."""
    stderr: str = ""
    """Written to standard error at the start."""
    start_delay_s: float = 0.0
    """Listen only after this time."""
    listens: bool = True
    answers_initialize: bool = True
    config_warning: str = ""
    """Sent as `configWarning` after the handshake; `thread/start` and `thread/resume` then fail, as for a broken
    config.toml."""

    # The process.
    die_after_ready_s: float | None = None
    """SIGKILL itself this long after the first handshake; 0 is at once."""
    exit_after_ready: int | None = None
    """Exit with this code right after the first handshake, leaving the grandchild behind."""
    ignores_term: bool = False
    grandchild: Literal["", "group", "session"] = ""
    """Start a process that sleeps, holds our pipes, and ignores TERM: in our process group, or in a session of its own
    (setsid). Its pid is in the file `fake-grandchild` of the home."""
    memory_bytes: int = 0
    """Memory to fill when a turn starts."""

    # Requests.
    silent_methods: tuple[str, ...] = ()
    """Methods that are read and never answered: the hanging liveness request, the ignored interrupt."""
    failing_methods: dict[str, str] = {}
    """Methods that are answered with this error message."""

    # A turn.
    answer: str | None = None
    """The answer's text; None: "fake: <what was asked>"."""
    answer_bytes: int = 0
    """An answer of this many bytes in one single delta, instead."""
    deltas: int = 3
    reasoning: str = ""
    """A summary of reasoning before the answer."""
    plan: tuple[str, ...] = ()
    """Steps of a plan, all pending."""
    command: str = ""
    """A shell command that is shown, not run; its output is `command_output`."""
    command_output: str = "done\n"
    approval: Literal["", "command", "file", "question"] = ""
    """Ask for approval of the command or of a file's change, or ask a question, and wait for the reply."""
    ignores_replies: bool = False
    """Never take a reply for an approval or a question."""
    die_at: Stage | None = None
    """SIGKILL itself at this stage, after everything before it was sent."""
    stall_at: Stage | None = None
    """Send nothing more of this turn from this stage on. `turn/interrupt` ends it."""
    turn_error: str = ""
    """Fail the turn with this `codexErrorInfo` after the user message, such as `usageLimitExceeded`."""
    flood_bytes: int = 0
    """Command output of this size in 64 KB notifications, sent without looking whether anybody reads."""
    frames: tuple[str, ...] = ()
    """Text frames to send as they are after the user message: garbage, half messages."""
    invalid_utf8: bool = False
    """Send a text frame that is no UTF-8 after the user message."""
    unknown_events: bool = False
    """Send a notification, an item and a server request of types that nobody knows."""


def knobs_of(environ: dict[str, str]) -> Knobs:
    """The knobs as set now: from `CODEX_FAKE` (JSON) where it is set, else from `fake.json` in CODEX_HOME.

    The supervisor hands on no variable that it doesn't know, so a file is what reaches its children.
    """
    if text := environ.get(KNOBS_VARIABLE):
        return msgspec.json.decode(text, type=Knobs)
    try:
        return msgspec.json.decode((home_of(environ) / KNOBS_FILE).read_bytes(), type=Knobs)
    except FileNotFoundError:
        return Knobs()


def knobs_of_start(environ: dict[str, str], start: int) -> Knobs:
    """The knobs for the `start`th start in this home."""
    knobs = knobs_of(environ)
    return knobs if knobs.starts is None or start in knobs.starts else Knobs(version=knobs.version)


def home_of(environ: dict[str, str]) -> Path:
    """CODEX_HOME, made where it is missing."""
    home = Path(environ.get("CODEX_HOME") or Path(environ["HOME"]) / ".codex")
    home.mkdir(parents=True, exist_ok=True)
    return home


def count_start(home: Path) -> int:
    """Count this start and return its number, from 1."""
    descriptor = os.open(home / STARTS_FILE, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(descriptor, b".")
        return os.fstat(descriptor).st_size
    finally:
        os.close(descriptor)
