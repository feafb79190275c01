"""`codex-supervisor config show|check|reference`: the configuration, without the service."""

from __future__ import annotations

import click
from codex_control.paths import Paths
from codex_control.service.command_group import WholeHelpGroup


@click.group(cls=WholeHelpGroup)
def config() -> None:
    """Show and check the configuration."""


@config.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object: durations in seconds, sizes in bytes.")
def show(as_json: bool) -> None:
    """Print every key with the value that the file gives it; defaults are marked."""
    from codex_supervisor.config.reading import load_config
    from codex_supervisor.config.reference import config_values, show_config

    path = Paths.from_environment().config_file
    in_file = load_config(path)
    if as_json:
        import json

        click.echo(json.dumps(config_values(in_file), ensure_ascii=False))
        return
    click.echo(f"# {path}{'' if path.exists() else ' (does not exist)'}")
    click.echo(show_config(in_file), nl=False)


@config.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False))
def check(file: str | None) -> None:
    """Check the configuration file, or FILE, and name every mistake with its line and the fix."""
    from pathlib import Path

    from codex_control.errors import BadConfig, BadInput
    from codex_control.service.yaml_nodes import Mistakes

    from codex_supervisor.config.reading import load_config

    path = Path(file).absolute() if file else Paths.from_environment().config_file
    if not path.exists() and not path.is_symlink():
        if file:
            raise BadInput(f"{path} does not exist", next_step="name a file that does")
        click.echo(f"{path} does not exist: the defaults hold")
        return
    try:
        load_config(path)
    except Mistakes as error:
        for line in error.lines():
            click.echo(line, err=True)
        raise BadConfig(error.what, next_step="correct them, and check again") from None
    click.echo(f"{path} is right")


@config.command()
def reference() -> None:
    """Print the reference of every key, as Markdown."""
    from codex_supervisor.config.reference import config_reference

    click.echo(config_reference(), nl=False)
