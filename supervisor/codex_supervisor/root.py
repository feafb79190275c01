"""The root command of `codex-supervisor`: it knows the commands by name and loads one's module when it is wanted."""

from __future__ import annotations

from importlib import import_module

import click

# Command: the module below `commands/`, and the attribute in it where that is not the command's own name.
COMMANDS = {
    "serve": ("serve", "serve"),
    "config": ("config", "config"),
    "doctor": ("doctor", "doctor"),
    "install": ("service", "install"),
    "uninstall": ("service", "uninstall"),
    "status": ("service", "status"),
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
    "status": "Show what the service manager knows of the service.",
    "version": "Print the version.",
}


class CommandGroup(click.Group):
    """A group whose commands are loaded when they are wanted."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        """Names of all commands that people use."""
        return list(HELP)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # click's signature
        """Load one command; None where there is no such command."""
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name]
        command: click.Command = getattr(import_module(f"codex_supervisor.commands.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args and args[0] not in COMMANDS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from codex_control.service.nearest import did_you_mean

            hint = did_you_mean(args[0], HELP) or "codex-supervisor --help lists the commands."
            ctx.fail(f"No such command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 # click's signature
        """List the commands without loading them."""
        with formatter.section("Commands"):
            formatter.write_dl(list(HELP.items()))


@click.command(cls=CommandGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="codex-supervisor", prog_name="codex-supervisor")
def cli() -> None:
    """Give every Claude Code session its own Codex child that never loses an answer.

    This is the service and what installs it; codexctl asks it.

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 service manager not reachable, 9 wrong configuration or surroundings,
    10 another supervisor runs, 130 stopped with Ctrl-C.
    """
