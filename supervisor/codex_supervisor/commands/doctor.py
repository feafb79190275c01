"""`codex-supervisor doctor`: the checks, as this shell sees them and without the service."""

from __future__ import annotations

import asyncio
import os

import click
from codex_control.errors import CodexError, Exit
from codex_control.paths import Paths


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object for each check: name, status, found, fix.")
def doctor(as_json: bool) -> int:
    """Check the surroundings: Codex, its login and sandbox, directories, disk, limits.

    It sees what this shell sees; `codexctl doctor` sees what the service sees. Ends with 9 where something
    does not work.
    """
    from codex_supervisor.config.model import Config
    from codex_supervisor.config.reading import load_config
    from codex_supervisor.doctor.check import CheckStatus
    from codex_supervisor.doctor.examining import examine

    paths = Paths.from_environment()
    try:
        config = load_config(paths.config_file)
    except CodexError:  # the check of the file tells about it
        config = Config()
    results = asyncio.run(examine(paths, config, os.environ))
    for result in results:
        if as_json:
            import msgspec

            click.echo(msgspec.json.encode(result).decode())
            continue
        colour = {CheckStatus.OK: "green", CheckStatus.WARNING: "yellow", CheckStatus.ERROR: "red"}[result.status]
        click.echo(f"{click.style(f'{result.status.value:<7}', fg=colour)} {result.name}: {result.found}")
        if result.fix:
            click.echo(f"        fix: {result.fix}")
    return int(Exit.CONFIG if any(result.status is CheckStatus.ERROR for result in results) else Exit.OK)
