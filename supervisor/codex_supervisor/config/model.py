"""The one model of `~/.config/codex-supervisor/config.yaml`: every key with its unit, bounds, default and meaning.

Every key is optional. A key of the file and its attribute here have the same name. Durations are seconds
(`Seconds`), sizes are bytes (`Bytes`). The long sections have modules of their own: `children`, `turns`, `tasks`.
`reading` reads the file, `reference` writes the reference page and shows what is in force.
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
)
from codex_control.service.units import DAY, GIB, KIB, MIB, TIB

from codex_supervisor.config.children import CodexConfig, InstancesConfig
from codex_supervisor.config.profiles import DEFAULT_PROFILE, Profile
from codex_supervisor.config.tasks import TasksConfig
from codex_supervisor.config.turns import ApprovalsConfig, TurnsConfig


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
