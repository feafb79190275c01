"""The root command: it knows the verbs by name and loads a verb's module when that verb is wanted."""

from __future__ import annotations

import click
from codex_control.service.command_group import CommandGroup

# Beside the names, by what a person wants, so that --help loads no verb and a line fits into 80 columns.
HELP = {
    "Ask and read": {
        "ask": "Ask Codex, and show the answer.",
        "review": "Have changes reviewed: those not committed, or a branch's.",
        "attach": "Show a turn from its beginning to its end.",
        "steer": "Add text to the turn that runs.",
        "interrupt": "Stop a turn, and wait for its record.",
        "approve": "Allow what Codex asks for, or answer its questions.",
        "deny": "Refuse what Codex asks for.",
        "turns": "List turns that wait, run and ended.",
        "history": "Show, search, export and clear past asks and answers.",
    },
    "Work that nobody has to wait for": {
        "task": "Submit tasks; list, wait for, watch, retry and cancel them.",
    },
    "Instances, each with a thread, settings and a Codex of its own": {
        "status": "Show the service and all instances, or all about one.",
        "top": "Show the instances live.",
        "start": "Start an instance's Codex.",
        "stop": "Stop an instance's Codex.",
        "restart": "Replace an instance's Codex by a new one.",
        "config": "Get or set what an instance remembers.",
        "profiles": "List the profiles: effort, model and instructions by name.",
        "delete": "Forget an instance with its history.",
    },
    "The service": {
        "doctor": "Say what is wrong, and how to mend it.",
        "health": "Say whether the service serves.",
        "events": "Print what the service decided, and why.",
        "logs": "Print the log of the service, or what a Codex complained of.",
        "reload": "Read the configuration again, or run the installed version.",
        "drain": "Accept no new turns, and wait for the others.",
        "shutdown": "End the service with its children.",
        "version": "Print what is installed and what runs.",
        "completion": "Print a shell's completion script.",
    },
    "Claude Code": {
        "claude": "Install the plugin for plain claude, and look after it.",
        "statusline": "Print a segment for Claude Code's status line.",
        "hook": "Answer a hook; the plugin runs it, not people.",
        "mcp": "Serve Codex as tools; the plugin runs it, not people.",
    },
}

VERBS = tuple(sorted(verb for section in HELP.values() for verb in section))


@click.command(
    cls=CommandGroup,
    package="codexctl.commands",
    lazy_commands={verb: (verb, "command") for verb in VERBS},
    sections=HELP,
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
