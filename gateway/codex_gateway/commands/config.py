"""`codex-gateway config show|check|reference`: the configuration, without the gateway."""

from __future__ import annotations

from pathlib import Path

import click
from codex_control.service.command_group import WholeHelpGroup

from codex_gateway.paths import GatewayPaths


@click.group(cls=WholeHelpGroup)
def config() -> None:
    """Show and check the configuration."""


@config.command()
def show() -> None:
    """Print what is set; secrets are left out. `reference` has the defaults."""
    from codex_gateway.config.reading import load_config
    from codex_gateway.config.reference import show_config

    path = GatewayPaths.from_environment().config_file
    click.echo(f"# {path}{'' if path.exists() else ' (does not exist)'}")
    click.echo(show_config(load_config(path)), nl=False)


@config.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
def check(file: str | None) -> None:
    """Check the configuration file, or FILE, and name every mistake with its line and the fix."""
    from codex_control.errors import BadConfig, BadInput
    from codex_control.service.yaml_nodes import Mistakes

    from codex_gateway.config.reading import load_config

    path = Path(file).absolute() if file else GatewayPaths.from_environment().config_file
    if not path.exists() and not path.is_symlink():
        if file:
            raise BadInput(f"{path} does not exist", next_step="name a file that does")
        click.echo(f"{path} does not exist: there is no endpoint")
        return
    try:
        found = load_config(path)
    except Mistakes as error:
        for line in error.lines():
            click.echo(line, err=True)
        raise BadConfig(error.what, next_step="correct them, and check again") from None
    enabled = sum(endpoint.enabled for endpoint in found.endpoints)
    click.echo(f"{path} is right: {len(found.endpoints)} endpoints, {enabled} of them enabled")


@config.command()
def reference() -> None:
    """Print the reference of every key, as Markdown."""
    from codex_gateway.config.reference import config_reference

    click.echo(config_reference(), nl=False)
