"""`codex-supervisor doctor`: the checks, as this shell sees them and without the service."""

from __future__ import annotations

import asyncio
import os

import click
from codex_control.errors import CodexError
from codex_control.paths import Paths
from codex_control.service.doctor_report import Finding, tell


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As a JSON array of checks: name, status, found, fix.")
def doctor(as_json: bool) -> int:
    """Check the surroundings as this shell sees them: Codex, its login and sandbox, directories, disk, limits.

    Needs no service. Ends with 0, or with 9 where something is an error, as codexctl doctor does, which tells what the
    running service sees.
    """
    from codex_supervisor.config.model import Config
    from codex_supervisor.config.reading import load_config
    from codex_supervisor.doctor.examining import examine

    paths = Paths.from_environment()
    try:
        config = load_config(paths.config_file)
    except CodexError:  # the check of the file tells about it
        config = Config()
    findings = [
        Finding(result.name, result.status.value, result.found, result.fix)
        for result in asyncio.run(examine(paths, config, os.environ))
    ]
    unseen = "whether the service runs, and what it sees (codexctl doctor); the model provider"
    return tell(findings, not_looked_at=unseen, as_json=as_json)
