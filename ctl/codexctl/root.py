"""The root command: it knows the verbs by name and loads a verb's module when that verb is wanted."""

from __future__ import annotations

from importlib import import_module

import click

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
    "start",
    "status",
    "statusline",
    "steer",
    "stop",
    "top",
    "turns",
    "version",
)


class VerbGroup(click.Group):
    """A group whose verb `x` is `codexctl.commands.x.command`."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 # click's signature
        """Names of all verbs."""
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 # click's signature
        """Load one verb; None where there is no such verb."""
        if cmd_name not in VERBS:
            return None
        command: click.Command = import_module(f"codexctl.commands.{cmd_name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the verb, or name the nearest ones."""
        if args and args[0] not in VERBS and not args[0].startswith("-") and not ctx.resilient_parsing:
            from difflib import get_close_matches

            near = get_close_matches(args[0], VERBS)
            hint = f"Did you mean {' or '.join(near)}?" if near else "codexctl --help lists the verbs."
            ctx.fail(f"No such verb '{args[0]}'. {hint}")
        return super().resolve_command(ctx, args)


@click.command(cls=VerbGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="codex-supervisor", prog_name="codexctl")
def cli() -> None:
    """Ask Codex, and look after the service that keeps it.

    The instance that a verb works on is -i, else CODEX_INSTANCE, else the Claude Code session that codexctl runs in,
    else the git root of the working directory (outside of a repository: the working directory).

    Exit codes: 0 done, 1 failed, 2 wrong usage, 3 service not reachable, 4 not found, 5 a limit, 6 cancelled,
    7 interrupted, 8 timed out, 9 wrong configuration or surroundings, 10 conflict with the present state,
    130 left with Ctrl-C, 141 the reader of the output went away.
    """
