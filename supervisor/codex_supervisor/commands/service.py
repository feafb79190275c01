"""`codex-supervisor install`, `uninstall` and `status`: the service in the operating system's service manager."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from codex_control.paths import Paths
from codex_control.service.own_file import Owner, owner_of
from codex_control.service.plan import Plan, carry_out, describe

from codex_supervisor.osservice import launchd, systemd
from codex_supervisor.osservice.program import find_program

DRY_RUN = click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
FORCE = click.option("--force", is_flag=True, help="Also where a file was edited by hand or is not ours.")


@click.command()
@DRY_RUN
@FORCE
@click.option("--now", is_flag=True, help="Start it at once too (launchd always does).")
def install(dry_run: bool, force: bool, now: bool) -> None:
    """Install the service for this user: a systemd user unit, or a launchd agent on macOS.

    It remembers the PATH of this shell, so that Codex and its commands are found. Run it again after a change of the
    PATH or of the place where codex-supervisor is installed.
    """
    program = find_program()
    if sys.platform == "darwin":
        plan = launchd.install_plan(program, Paths.from_environment(), launchd.agent_file(os.environ), os.getuid())
    else:
        version = systemd.version() if dry_run else systemd.reachable_version()
        plan = systemd.install_plan(program, systemd.unit_dir(os.environ), version, start=now)
    _do(plan, dry_run=dry_run, force=force, done="installed")


@click.command()
@DRY_RUN
@FORCE
def uninstall(dry_run: bool, force: bool) -> None:
    """Stop the service and its children, and remove it from the service manager.

    Configuration, history and threads stay.
    """
    if sys.platform == "darwin":
        plan = launchd.uninstall_plan(launchd.agent_file(os.environ), os.getuid())
    else:
        if not dry_run:
            systemd.reachable_version()
        plan = systemd.uninstall_plan(systemd.unit_dir(os.environ))
    _do(plan, dry_run=dry_run, force=force, done="uninstalled")


def _do(plan: Plan, *, dry_run: bool, force: bool, done: str) -> None:
    if dry_run:
        click.echo(describe(plan), nl=False)
        return
    carry_out(plan, force=force)
    click.echo(done)
    for note in plan.notes:
        click.echo(f"note: {note}", err=True)


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def status(as_json: bool) -> None:
    """Show what the service manager knows of the service."""
    found = _launchd_status() if sys.platform == "darwin" else _systemd_status()
    if as_json:
        click.echo(json.dumps(found))
        return
    width = max(map(len, found))
    for name, value in found.items():
        click.echo(f"{name.replace('_', ' '):<{width}}  {value}")


def _systemd_status() -> dict[str, Any]:
    systemd.reachable_version()
    file = systemd.unit_dir(os.environ) / systemd.UNIT
    state = asdict(systemd.unit_state())
    return {"manager": "systemd", **_installed(file, state["load"] == "loaded"), **state, "lingering": _lingering()}


def _launchd_status() -> dict[str, Any]:
    state = launchd.agent_state(os.getuid())
    return {"manager": "launchd", **_installed(launchd.agent_file(os.environ), state.loaded), **asdict(state)}


def _installed(file: Path, loaded: bool) -> dict[str, str]:
    owner = owner_of(file)
    if owner is Owner.NOBODY:
        # A package's unit is in a directory of the system.
        return {"installed": "by a package" if loaded else "no"}
    return {"installed": "yes" if owner is Owner.OURS else owner.value, "file": str(file)}


def _lingering() -> str:
    # logind keeps it as a file, which can be read where its bus cannot be reached.
    import pwd

    try:
        name = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return "unknown"
    return "yes" if Path("/var/lib/systemd/linger", name).exists() else "no"
