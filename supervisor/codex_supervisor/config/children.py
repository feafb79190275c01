"""The sections `codex` and `instances`: the Codex binary, and the life of the children."""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from codex_control.service.config_key import Applies, Bytes, Seconds, count, duration, size, switch, text, texts
from codex_control.service.units import DAY, GIB, HOUR, MIB, MINUTE, TIB


class Provider(enum.StrEnum):
    """Where children get their model from."""

    CODEX = "codex"
    """As Codex's own config.toml and login say."""
    GATEWAY = "gateway"
    """The gateway of the same user (codex-gateway)."""


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
