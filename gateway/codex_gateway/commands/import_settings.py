"""`codex-gateway import cccc FILE`: another proxy's endpoints become ours."""

from __future__ import annotations

from pathlib import Path

import click
from codex_control.service.command_group import WholeHelpGroup

from codex_gateway.paths import GatewayPaths

MAX_FILE_BYTES = 4 << 20


@click.group("import", cls=WholeHelpGroup)
def import_settings() -> None:
    """Take over the endpoints of another proxy's configuration."""


@import_settings.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Print the configuration that would be written, without its secrets.")
def cccc(file: Path, dry_run: bool) -> None:
    """Read a CCCC config.yaml and add its endpoints to the gateway's configuration.

    What has no counterpart is named. Keys go into the configuration file, which is 0600.
    """
    from codex_control.errors import BadInput
    from codex_control.service.redaction import redact

    from codex_gateway.config.importing_cccc import import_cccc
    from codex_gateway.config.rewriting import rewrite_config

    try:
        with file.open("rb") as opened:
            content = opened.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise BadInput(
            f"{file} cannot be read", why=error.strerror or str(error), next_step="name CCCC's config.yaml"
        ) from error
    if len(content) > MAX_FILE_BYTES:
        raise BadInput(f"{file} is longer than {MAX_FILE_BYTES >> 20} MiB", next_step="name CCCC's config.yaml")
    imported = import_cccc(content, str(file))
    for note in imported.notes:
        click.echo(f"note: {note}", err=True)
    if dry_run:
        click.echo(redact(imported.text()), nl=False)
        return
    path = GatewayPaths.from_environment().config_file
    found = rewrite_config(path, imported.text)
    click.echo(f"{path}: {len(found.endpoints)} endpoints now")
