"""The root command: it knows the verbs by name and loads a verb's module when that verb is wanted."""

from __future__ import annotations

import click

from codexctl.verb_group import VerbGroup

VERBS = (
    "approve",
    "ask",
    "attach",
    "claude",
    "completion",
    "config",
    "delete",
    "deny",
    "doctor",
    "drain",
    "events",
    "health",
    "history",
    "hook",
    "interrupt",
    "logs",
    "mcp",
    "profiles",
    "reload",
    "restart",
    "review",
    "shutdown",
    "start",
    "status",
    "statusline",
    "steer",
    "stop",
    "task",
    "top",
    "turns",
    "version",
)


@click.command(
    cls=VerbGroup,
    package="codexctl.commands",
    verbs=VERBS,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="codex-supervisor", prog_name="codexctl")
def cli() -> None:
    """Ask Codex, and look after the service that keeps it.

    The instance that a verb works on is -i, else CODEX_INSTANCE, else the Claude Code session that codexctl runs in,
    else the git root of the working directory (outside of a repository: the working directory).

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 service not reachable, 4 not found, 5 a limit, 6 cancelled,
    7 interrupted, 8 timed out, 9 wrong configuration or surroundings, 10 conflict with the present state,
    11 the task has not ended, 130 left with Ctrl-C, 141 the reader of the output went away.
    """
