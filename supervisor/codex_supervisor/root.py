"""The root command of `codex-supervisor`: it knows the commands by name and loads one's module when it is wanted."""

from __future__ import annotations

import click
from codex_control.service.command_group import CommandGroup

# Command: the module below `commands/`, and the attribute in it where that is not the command's own name.
COMMANDS = {
    "serve": ("serve", "serve"),
    "config": ("config", "config"),
    "doctor": ("doctor", "doctor"),
    "install": ("service", "install"),
    "uninstall": ("service", "uninstall"),
    "status": ("service", "status"),
    "completion": ("completion", "completion"),
    "version": ("version", "version"),
    "sweep": ("sweep", "sweep"),
    "serve-under-launchd": ("sweep", "serve_under_launchd"),
}

# Beside the names, so that --help loads no command (grpc and msgspec come with most of them).
HELP = {
    "serve": "Run the supervisor in the foreground.",
    "config": "Show and check the configuration.",
    "doctor": "Check the surroundings, without the service.",
    "install": "Install the service for this user.",
    "uninstall": "Stop the service and remove it.",
    "status": "Show whether the service runs, and what manages it.",
    "completion": "Print a shell's completion script.",
    "version": "Print the version.",
}


@click.command(
    cls=CommandGroup,
    package="codex_supervisor.commands",
    lazy_commands=COMMANDS,
    sections={"Commands": HELP},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="codex-supervisor", prog_name="codex-supervisor")
def cli() -> None:
    """Give every Claude Code session its own Codex child that never loses an answer.

    This is the service and what installs it; codexctl asks it.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the service does not run or its manager cannot be
    reached, 9 wrong configuration or surroundings,
    10 another supervisor runs, 130 stopped with Ctrl-C, 141 the reader of the output went away.
    """
