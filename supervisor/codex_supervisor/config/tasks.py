"""The section `tasks`: turns that nobody waits for, and the engine that keeps them."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from codex_control.service.config_key import Applies, Bytes, Seconds, count, duration, size, switch, text, texts
from codex_control.service.units import DAY, GIB, MIB, MINUTE, TIB

RESTART = Applies.RESTART

_TASK_NAME = r"[A-Za-z0-9](?:[A-Za-z0-9_./=:-]{0,62}[A-Za-z0-9])?"
_TASK_NAME_MEANS = "letters, digits and `-_./=:`, with a letter or digit first and last"


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
            "Name of this supervisor among those on one PostgreSQL database; of two with one name the second runs no "
            "task. Empty: the host's name and the user's number.",
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
