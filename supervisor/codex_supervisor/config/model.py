"""The one model of `~/.config/codex-supervisor/config.yaml`: every key with its unit, bounds, default and meaning.

Every key is optional. A key of the file and its attribute here have the same name. Durations are seconds
(`Seconds`), sizes are bytes (`Bytes`). `reading` reads the file, `reference` writes the reference page and
shows what is in force.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Annotated

import msgspec
from codex_control.service.config_key import (
    Applies,
    Bytes,
    Seconds,
    count,
    duration,
    named,
    section,
    size,
    switch,
    text,
    texts,
)

from codex_supervisor.config.profiles import DEFAULT_PROFILE, Profile

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
TIB = 1024 * GIB
MINUTE = 60.0
HOUR = 60 * MINUTE
DAY = 24 * HOUR
RESTART = Applies.RESTART

_TASK_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_./=:-]{0,62}[A-Za-z0-9])?"
_TASK_NAME_MEANS = "letters, digits and `-_./=:`, with a letter or digit first and last"


class ApprovalPolicy(enum.StrEnum):
    """Who answers when Codex asks for leave or puts a question."""

    AUTO = "auto"
    """Everything is accepted at once."""
    INTERACTIVE = "interactive"
    """The person who is attached answers; without one, or past the time limit, it is denied."""
    DENY = "deny"
    """Everything is denied at once."""


class Provider(enum.StrEnum):
    """Where children get their model from."""

    CODEX = "codex"
    """As Codex's own config.toml and login say."""
    GATEWAY = "gateway"
    """The gateway of the same user (codex-gateway)."""


class OnInterrupted(enum.StrEnum):
    """What happens to a turn whose child died under it."""

    CONTINUE = "continue"
    """It goes on from what the thread kept."""
    REPLAY = "replay"
    """It is taken back and sent again from its beginning; changes to files stay."""
    REPORT = "report"
    """It ends as interrupted, with a report of what it had done."""


class OnStall(enum.StrEnum):
    """What happens to a turn that has given no sign of life for `stall_after`."""

    REPORT = "report"
    """The people attached are warned; the turn goes on until its time limit."""
    INTERRUPT = "interrupt"
    """The turn ends as failed with the cause `stalled`."""


class TaskApprovals(enum.StrEnum):
    """Who answers when Codex asks for leave in a task, which nobody attends."""

    DENY = "deny"
    """Everything is denied at once."""
    AUTO = "auto"
    """Everything is accepted at once."""


class TaskEngine(enum.StrEnum):
    """Where tasks are kept and queued."""

    SQLITE = "sqlite"
    """A database file of the supervisor's own. Nothing to start; one machine."""
    POSTGRESQL = "postgresql"
    """A PostgreSQL database that any number of supervisors work on together."""


class LogLevel(enum.StrEnum):
    """The least important records that are logged."""

    DEBUG = "debug"
    """Every message to and from the children by its name and size."""
    INFO = "info"
    """Every decision."""
    WARNING = "warning"
    """What went wrong and was put right."""
    ERROR = "error"
    """What went wrong and stayed so."""


class CodexConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Codex binary and how it is started."""

    binary: Annotated[
        str,
        text(
            "Path of the Codex binary, or its name on the PATH. Empty: `codex` on the PATH, then the Python package "
            "`openai-codex-cli-bin`.",
            max_length=4096,
            pattern=r"|(~?/).*|[^/~][^/]*",
            pattern_means="a path that begins with `/` or `~/`, or a name",
            applies=Applies.NEW_CHILDREN,
        ),
    ] = ""
    home: Annotated[
        str,
        text(
            "Path of Codex's own directory (logins, config.toml, threads). Empty: `CODEX_HOME`, else `~/.codex`.",
            max_length=4096,
            pattern=r"|(~?/).*",
            pattern_means="a path that begins with `/` or `~/`",
            applies=Applies.RESTART,
        ),
    ] = ""
    overrides: Annotated[
        tuple[str, ...],
        texts(
            "Settings handed to Codex with `-c`. Other users see them in the process list: no secrets here.",
            max_length=4096,
            pattern=r"[A-Za-z0-9_\"'][A-Za-z0-9_.\-\"' ]*=.*",
            pattern_means="`key=value`",
            applies=Applies.NEW_CHILDREN,
        ),
    ] = ()
    environment_allow: Annotated[
        tuple[str, ...],
        texts(
            "Environment variables that children get beside the built-in list; `*` and `?` match as in file names.",
            max_length=200,
            pattern=r"[A-Za-z0-9_*?]+",
            pattern_means="a variable's name, where `*` and `?` stand for any characters",
            applies=Applies.NEW_CHILDREN,
        ),
    ] = ()
    provider: Annotated[
        Provider,
        text(
            "Where children get their model from: `codex`, as Codex's own config.toml and login say; `gateway`, the "
            "running codex-gateway of the same user, which need not be set up in config.toml for it.",
            applies=Applies.NEW_CHILDREN,
        ),
    ] = Provider.CODEX
    demo_model: Annotated[
        bool,
        switch(
            "Answer with the built-in demo model, which only shows that everything works, in place of a real one.",
            applies=Applies.RESTART,
        ),
    ] = False


class InstancesConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The life of the children."""

    start_timeout: Annotated[
        Seconds, duration("Longest time from the spawn of a child until it answers.", 1, 10 * MINUTE)
    ] = 30.0
    stop_timeout: Annotated[
        Seconds, duration("Time that a child gets to end after TERM, before KILL.", 0.1, 10 * MINUTE)
    ] = 10.0
    kill_timeout: Annotated[
        Seconds,
        duration("Time that the processes of a child get to vanish after KILL, before it is reported.", 0.1, MINUTE),
    ] = 5.0
    idle_after: Annotated[
        Seconds, duration("A child without a turn for this long is hibernated.", 1, 30 * DAY, zero_means="never")
    ] = 15 * MINUTE
    memory_limit: Annotated[
        Bytes,
        size(
            "Memory of one child, under systemd with all that it started; past it the child is replaced between turns.",
            64 * MIB,
            TIB,
            zero_means="no limit",
        ),
    ] = 2 * GIB
    memory_budget: Annotated[
        Bytes,
        size(
            "Resident memory of all children together; past it idle ones are hibernated, the longest idle first.",
            64 * MIB,
            TIB,
            zero_means="no limit",
        ),
    ] = 0
    memory_pressure: Annotated[
        int,
        count(
            "Percentage of the last ten seconds in which some process of the machine waited for memory (Linux's PSI); "
            "past it idle children are hibernated, one at each look. 100 for never.",
            1,
            100,
        ),
    ] = 20
    max_awake: Annotated[
        int, count("Most children at once; past it the longest idle one is hibernated, or the new turn waits.", 1, 1000)
    ] = 50
    restart_burst: Annotated[int, count("Restarts that an instance may use up at once.", 1, 1000)] = 5
    restart_refill: Annotated[Seconds, duration("Time after which one used-up restart is regained.", 0.1, DAY)] = 60.0
    backoff_initial: Annotated[
        Seconds, duration("Upper end of the random wait before the first restart; doubled for each next one.", 0, HOUR)
    ] = 0.25
    backoff_max: Annotated[Seconds, duration("Cap of that upper end.", 0, HOUR)] = 30.0
    cool_down: Annotated[
        Seconds,
        duration("Time after which a FAILED instance is tried again.", 0.1, 30 * DAY, zero_means="only by a person"),
    ] = 10 * MINUTE
    probe_interval: Annotated[
        Seconds, duration("Time between two probes of a child's life.", 0.1, HOUR, zero_means="no probes")
    ] = 10.0
    probe_timeout: Annotated[Seconds, duration("Time that a child gets to answer a probe.", 0.1, 10 * MINUTE)] = 5.0
    probe_misses: Annotated[int, count("Probes missed in a row after which a child counts as dead.", 1, 100)] = 3


class TurnsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of turns, and what happens to those that cannot go on."""

    timeout: Annotated[
        Seconds,
        duration(
            "Time limit of a turn from its acceptance, where the request has none.",
            1,
            7 * DAY,
            applies=Applies.NEW_TURNS,
        ),
    ] = 2 * HOUR
    queue_limit: Annotated[
        int, count("Most turns that wait behind the running one of an instance; one more is refused.", 0, 10_000)
    ] = 32
    prompt_limit: Annotated[
        int,
        # Codex answers -32602 `input_too_large` above 1,048,576 characters; a replay must fit as well.
        count("Most characters of a prompt. Codex itself refuses more than 1,048,576.", 1, 1_048_576),
    ] = 1_000_000
    answer_limit: Annotated[
        Bytes,
        size("Largest answer; a turn that passes it ends with the cause `limit`.", KIB, GIB, applies=Applies.NEW_TURNS),
    ] = 16 * MIB
    recorded_output_limit: Annotated[
        Bytes,
        size(
            "Most bytes of events recorded for one turn; past it deltas and command output are dropped, and counted.",
            64 * KIB,
            4 * GIB,
            applies=Applies.NEW_TURNS,
        ),
    ] = 64 * MIB
    buffer: Annotated[
        Bytes,
        size(
            "Most bytes of events held in memory for one client of a running turn; a slower one is served from the "
            "journal.",
            4 * KIB,
            64 * MIB,
            applies=Applies.NEW_TURNS,
        ),
    ] = 256 * KIB
    stall_after: Annotated[
        Seconds, duration("A running turn without any event for this long is stalled.", 1, 7 * DAY, zero_means="never")
    ] = 10 * MINUTE
    on_stall: Annotated[OnStall, text("What happens to a stalled turn.")] = OnStall.REPORT
    on_interrupted: Annotated[
        OnInterrupted, text("What happens to a turn whose child died, where its instance has no setting of its own.")
    ] = OnInterrupted.CONTINUE
    max_recoveries: Annotated[
        int, count("Most times that one turn is carried on after a death; then it ends as interrupted.", 0, 100)
    ] = 3


class ApprovalsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Codex asks for leave."""

    policy: Annotated[ApprovalPolicy, text("Who answers, where the instance has no setting of its own.")] = (
        ApprovalPolicy.INTERACTIVE
    )
    timeout: Annotated[Seconds, duration("Time that a person gets to answer; then it is denied.", 1, DAY)] = 5 * MINUTE


class DefaultsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of an instance that has none of its own."""

    profile: Annotated[str, text("Name of the profile.", max_length=64, applies=Applies.NEW_TURNS)] = DEFAULT_PROFILE
    show_reasoning: Annotated[
        bool, switch("Whether reasoning summaries come with the answers.", applies=Applies.NEW_TURNS)
    ] = False
    final_only: Annotated[
        bool,
        switch(
            "Whether only the final answer is shown, without commands, file changes and commentary.",
            applies=Applies.NEW_TURNS,
        ),
    ] = False


class HistoryConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of ended turns."""

    entries_per_instance: Annotated[
        int,
        count("Entries of an instance kept in the store; older ones move to compressed archive files.", 1, 1_000_000),
    ] = 1000
    events_kept: Annotated[
        int,
        count(
            "Newest ended turns of an instance whose single events are kept, for `attach` to replay; of older ones the "
            "record stays.",
            0,
            100_000,
        ),
    ] = 100
    total_limit: Annotated[
        Bytes,
        size("Most bytes of store and archive together; past it the oldest archive files are deleted.", 16 * MIB, TIB),
    ] = 2 * GIB


class MetricsConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The metrics page."""

    enabled: Annotated[bool, switch("Whether it is served.", applies=Applies.RESTART)] = True
    port: Annotated[int, count("Its TCP port; 0 for any free one.", 0, 65_535, applies=Applies.RESTART)] = 9476
    address: Annotated[
        str,
        text(
            "Its address. The page has no login, so only this machine may read it.",
            pattern=r"127\.0\.0\.1",
            pattern_means="127.0.0.1, the only address allowed",
            applies=Applies.RESTART,
        ),
    ] = "127.0.0.1"


class LogConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The supervisor's own log, and the children's error output."""

    level: Annotated[LogLevel, text("The least important records that are logged.")] = LogLevel.INFO
    file_limit: Annotated[
        Bytes, size("Size at which a log file is rotated.", 64 * KIB, GIB, applies=Applies.RESTART)
    ] = 10 * MIB
    files_kept: Annotated[int, count("Rotated files kept beside the current one.", 0, 100, applies=Applies.RESTART)] = 3


class ClaudeConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The Claude Code session that an instance belongs to."""

    grace: Annotated[
        Seconds, duration("Time between the end of the session and the hibernation of its child.", 0, DAY)
    ] = 30.0


class TasksConfig(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tasks: turns that nobody waits for."""

    enabled: Annotated[
        bool,
        switch("Whether this supervisor runs tasks. It takes them in and shows them in any case.", applies=RESTART),
    ] = True
    concurrency: Annotated[
        int, count("Tasks that run at once, each in a child of its own beside those of the instances.", 1, 100)
    ] = 2
    engine: Annotated[TaskEngine, text("Where tasks are kept and queued.", applies=RESTART)] = TaskEngine.SQLITE
    dsn: Annotated[
        str,
        text(
            "The PostgreSQL database, as a URL or as `key=value` words. Better without a password: name the place of "
            "the whole in `dsn_env` or `dsn_file`, or use libpq's `~/.pgpass`.",
            max_length=4096,
            secret=True,
            applies=RESTART,
        ),
    ] = ""
    dsn_env: Annotated[
        str,
        text(
            "Environment variable of the service that holds the DSN.",
            max_length=200,
            pattern=r"|[A-Za-z_][A-Za-z0-9_]*",
            pattern_means="a variable's name",
            applies=RESTART,
        ),
    ] = ""
    dsn_file: Annotated[
        str,
        text(
            "File that holds the DSN alone; only you may read it (`chmod 600`).",
            max_length=4096,
            pattern=r"|(~?/).*",
            pattern_means="a path that begins with `/` or `~/`",
            applies=RESTART,
        ),
    ] = ""
    worker: Annotated[
        str,
        text(
            "Name of this supervisor among those on one PostgreSQL database; no two may share it. Empty: the host's "
            "name and the user's number.",
            max_length=64,
            pattern=r"|[A-Za-z0-9][A-Za-z0-9_.-]*",
            pattern_means="letters, digits, `_`, `.` and `-`",
            applies=RESTART,
        ),
    ] = ""
    queues: Annotated[
        tuple[str, ...],
        texts(
            "Queues whose tasks run here; all where none is named.",
            max_length=64,
            pattern=_TASK_NAME,
            pattern_means=_TASK_NAME_MEANS,
        ),
    ] = ()
    labels: Annotated[
        tuple[str, ...],
        texts(
            "Labels of this machine, such as `gpu`: a task with labels runs only where all of them are.",
            max_length=64,
            pattern=_TASK_NAME,
            pattern_means=_TASK_NAME_MEANS,
        ),
    ] = ()
    timeout: Annotated[
        Seconds,
        duration(
            "Time limit of a task from its first start, all attempts together, where the request has none.",
            1,
            365 * DAY,
            zero_means="no limit",
            applies=RESTART,
        ),
    ] = DAY
    retries: Annotated[
        int,
        count(
            "How often a task is tried again after a failure that may pass, where the request does not say.",
            0,
            1000,
            applies=RESTART,
        ),
    ] = 2
    backoff_initial: Annotated[
        Seconds,
        duration(
            "Upper end of the random wait before the second attempt; doubled for each next one.",
            0,
            DAY,
            applies=RESTART,
        ),
    ] = 5.0
    backoff_max: Annotated[Seconds, duration("Cap of that upper end.", 0, DAY, applies=RESTART)] = 5 * MINUTE
    max_deaths: Annotated[
        int,
        count(
            "A task under which so many children died is given up: it may be what kills them.", 1, 100, applies=RESTART
        ),
    ] = 3
    heartbeat_interval: Annotated[
        Seconds,
        duration(
            "Time between two heartbeats of a task whose child is alive and whose turn moves: something has come from "
            "Codex since the last one, or a command that it started still runs.",
            0.1,
            10 * MINUTE,
        ),
    ] = 10.0
    stall_after: Annotated[
        Seconds,
        duration(
            "A task without a heartbeat for this long is stalled: its turn is interrupted, and it is tried again on "
            "its own thread.",
            0.5,
            7 * DAY,
            zero_means="never",
        ),
    ] = MINUTE
    memory_limit: Annotated[
        Bytes,
        size(
            "Memory of one task's child, under systemd with all that it started; past it the child is killed, which "
            "counts as a death.",
            64 * MIB,
            TIB,
            zero_means="no limit",
        ),
    ] = 4 * GIB
    approval_policy: Annotated[
        TaskApprovals, text("Who answers when Codex asks for leave in a task, which nobody attends.")
    ] = TaskApprovals.DENY
    prompt_limit: Annotated[
        int, count("Most characters of a task's prompt. Codex itself refuses more than 1,048,576.", 1, 1_000_000)
    ] = 1_000_000
    events_kept: Annotated[
        int, count("Events kept of one task; past it the oldest go.", 100, 10_000_000, applies=RESTART)
    ] = 10_000
    state_files: Annotated[
        bool, switch("Whether every task mirrors itself to `.codex/tasks/<id>.json` in its directory.")
    ] = True
    retention: Annotated[
        Seconds, duration("Time after its end when a task is forgotten.", MINUTE, 3650 * DAY, zero_means="never")
    ] = 30 * DAY
    kept: Annotated[
        int,
        count(
            "Most tasks that are remembered; of more than that, the oldest that have ended are forgotten.",
            0,
            10_000_000,
        ),
    ] = 100_000


class Config(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole configuration. `Config()` is what holds without a file."""

    codex: Annotated[CodexConfig, section("The Codex binary and how it is started.")] = CodexConfig()
    instances: Annotated[InstancesConfig, section("The life of the children.")] = InstancesConfig()
    turns: Annotated[TurnsConfig, section("Limits of turns, and what happens to those that cannot go on.")] = (
        TurnsConfig()
    )
    approvals: Annotated[ApprovalsConfig, section("Who answers when Codex asks for leave or puts a question.")] = (
        ApprovalsConfig()
    )
    defaults: Annotated[DefaultsConfig, section("Settings of an instance that has none of its own.")] = DefaultsConfig()
    profiles: Annotated[
        Mapping[str, Profile],
        named(
            "Profiles by name. `high`, `default` and `low` always exist; what is written here for one of them changes "
            "only the keys named.",
            applies=Applies.NEW_TURNS,
        ),
    ] = {}
    history: Annotated[HistoryConfig, section("What is kept of ended turns.")] = HistoryConfig()
    tasks: Annotated[TasksConfig, section("Tasks: turns that nobody waits for.")] = TasksConfig()
    metrics: Annotated[MetricsConfig, section("The metrics page.")] = MetricsConfig()
    log: Annotated[LogConfig, section("The supervisor's own log, and the children's error output.")] = LogConfig()
    claude: Annotated[ClaudeConfig, section("The Claude Code session that an instance belongs to.")] = ClaudeConfig()
