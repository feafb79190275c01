"""Click groups: one that loads a command when it is wanted, and one whose help has whole sentences."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class WholeHelpGroup(click.Group):
    """A few commands of one module. Their lines in the help are wrapped; click would cut them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands with their whole first sentences."""
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, self.commands[name].get_short_help_str(limit=1000)) for name in self.list_commands(ctx)]
            )


class CommandGroup(click.Group):
    """A program's commands, or those below one of its commands, so that `--help` and completion load none of them.

    `lazy_commands` has, for each name, its module below `package` and the attribute in it; `sections` has, below each
    heading of the help, a line for each command that people use, in the order in which they are listed.
    """

    def __init__(
        self,
        *arguments: Any,
        package: str,
        lazy_commands: Mapping[str, tuple[str, str]],
        sections: Mapping[str, Mapping[str, str]],
        **settings: Any,
    ) -> None:
        super().__init__(*arguments, **settings)
        self._package = package
        self._lazy_commands = lazy_commands
        self._sections = sections
        self._summaries = {name: text for section in sections.values() for name, text in section.items()}

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        """Names of all commands that people use."""
        return list(self._summaries)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # click's signature
        """Load one command; None where there is no such command."""
        if cmd_name not in self._lazy_commands:
            return None
        module, attribute = self._lazy_commands[cmd_name]
        command: click.Command = getattr(import_module(f"{self._package}.{module}"), attribute)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, or name the nearest one."""
        if args and args[0] not in self._lazy_commands and not args[0].startswith("-") and not ctx.resilient_parsing:
            from codex_control.service.nearest import did_you_mean

            hint = did_you_mean(args[0], self._summaries) or f"{ctx.command_path} --help lists the commands."
            ctx.fail(f"No such command {args[0]!r}: {hint}")
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete a command's name without loading any."""
        from click.shell_completion import CompletionItem

        named = [
            CompletionItem(name, help=text) for name, text in self._summaries.items() if name.startswith(incomplete)
        ]
        return named + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002 # click's signature
        """List the commands, without loading them."""
        width = max(map(len, self._summaries))
        for heading, commands in self._sections.items():
            with formatter.section(heading):
                # Padded, so that the lines of all sections are in one column.
                formatter.write_dl([(f"{name:<{width}}", text) for name, text in commands.items()])
