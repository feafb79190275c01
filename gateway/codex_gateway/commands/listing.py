"""A group of commands that lists where no command is named."""

from __future__ import annotations

import click
from codex_control.service.command_group import WholeHelpGroup


class ListingGroup(WholeHelpGroup):
    """`endpoints --json` means `endpoints list --json`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """See click; not while words are completed, for then the commands are wanted."""
        names_none = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        if names_none and not ctx.resilient_parsing:
            args = ["list", *args]
        return super().parse_args(ctx, args)
