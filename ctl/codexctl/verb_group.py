"""A group that knows its verbs by name and loads a verb's module when that verb is wanted."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click


class VerbGroup(click.Group):
    """A group whose verb `x` is `PACKAGE.x.command`; `verbs` is in alphabetical order."""

    def __init__(self, *arguments: Any, package: str, verbs: Sequence[str], **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._package = package
        self._verbs = tuple(verbs)

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        """Names of all verbs."""
        return list(self._verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # click's signature
        """Load one verb; None where there is no such verb."""
        if cmd_name not in self._verbs:
            return None
        command: click.Command = import_module(f"{self._package}.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or name the nearest ones."""
        if args and args[0] not in self._verbs and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0], self._verbs)
            hint = f"Did you mean {' or '.join(near)}?" if near else f"{ctx.command_path} --help lists the verbs."
            ctx.fail(f"No such verb '{args[0]}'. {hint}")
        return super().resolve_command(ctx, args)
