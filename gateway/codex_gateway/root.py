"""The root command of `codex-gateway`: it knows the commands by name and loads one's module when it is wanted."""

from __future__ import annotations

import click
from codex_control.service.command_group import CommandGroup

# Command: the module below `commands/`, and the attribute in it where that is not the command's own name.
COMMANDS = {
    "serve": ("serve", "serve"),
    "setup": ("setup", "setup"),
    "endpoints": ("endpoints", "endpoints"),
    "tokens": ("tokens", "tokens"),
    "requests": ("requests", "requests"),
    "show": ("show", "show"),
    "export": ("export", "export"),
    "stats": ("stats", "stats"),
    "learned": ("learned", "learned"),
    "config": ("config", "config"),
    "import": ("import_settings", "import_settings"),
    "install": ("service", "install"),
    "uninstall": ("service", "uninstall"),
    "serve-under-launchd": ("service", "serve_under_launchd"),
    "status": ("status", "status"),
    "completion": ("completion", "completion"),
    "version": ("version", "version"),
}

# Beside the names, so that --help loads no command.
HELP = {
    "serve": "Run the gateway in the foreground.",
    "setup": "Let Claude Code or Codex use the gateway, and undo it.",
    "endpoints": "List, test, switch and reorder the upstream model APIs.",
    "tokens": "List, make and revoke client tokens.",
    "requests": "List recorded requests.",
    "show": "Show one request with every attempt.",
    "export": "Write one request to a zip, without secrets.",
    "stats": "Sum up requests: tokens, cost, speed.",
    "learned": "List and forget what was learned about endpoints.",
    "config": "Show and check the configuration.",
    "import": "Take over the endpoints of another proxy's configuration.",
    "install": "Install the service for this user.",
    "uninstall": "Stop the service and remove it.",
    "status": "Show how the gateway and its endpoints are.",
    "completion": "Print a shell's completion script.",
    "version": "Print the version.",
}


@click.command(
    cls=CommandGroup,
    package="codex_gateway.commands",
    lazy_commands=COMMANDS,
    sections={"Commands": HELP},
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(package_name="codex-supervisor", prog_name="codex-gateway")
def cli() -> None:
    """Let Codex and Claude Code use any model provider, through one loopback port.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the gateway or the service manager cannot be reached, 4 no such
    thing, 9 wrong configuration or surroundings, 10 another gateway runs, 130 stopped with Ctrl-C.
    """
