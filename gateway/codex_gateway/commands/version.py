"""`codex-gateway version`."""

from __future__ import annotations

import click
from codex_control import __version__


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        from codex_gateway.commands.printing import put_json

        put_json({"version": __version__})
        return
    click.echo(f"codex-gateway {__version__}")
