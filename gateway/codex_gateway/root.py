"""The root command of `codex-gateway`: it knows the commands by name and loads one's module when it is wanted."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

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


class CommandGroup(click.Group):
    """A group whose commands are loaded when they are wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        """Names of all commands."""
        return list(HELP)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # click's signature
        """Load one command; None where there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"codex_gateway.commands.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from codex_control.service.nearest import did_you_mean

            hint = did_you_mean(args[0], HELP) or "codex-gateway --help lists the commands."
            ctx.fail(f"No such command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name without loading any."""
        from click.shell_completion import CompletionItem

        named = [CompletionItem(name, help=text) for name, text in HELP.items() if name.startswith(incomplete)]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 # click's signature
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(HELP.items()))


@click.command(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="codex-supervisor", prog_name="codex-gateway")
def cli() -> None:
    """Let Codex and Claude Code use any model provider, through one loopback port.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 the gateway or the service manager cannot be reached, 4 no such
    thing, 9 wrong configuration or surroundings, 10 another gateway runs, 130 stopped with Ctrl-C.
    """
