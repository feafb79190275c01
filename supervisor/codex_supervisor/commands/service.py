"""`codex-supervisor install`, `uninstall` and `status`: the service in the operating system's service manager."""

from __future__ import annotations

import os

import click
from codex_control.paths import Paths
from codex_control.service import systemd
from codex_control.service.managing import (
    Service,
    managed_state,
    perform,
    show_state,
    systemd_version,
    under_launchd,
)

from codex_supervisor.osservice import agent, units
from codex_supervisor.osservice.program import find_program

SERVICE = Service("codex-supervisor")
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
    if under_launchd():
        plan = agent.install_plan(program, Paths.from_environment(), SERVICE.agent_file, os.getuid())
    else:
        version = systemd_version(SERVICE, dry_run=dry_run)
        plan = units.install_plan(program, systemd.unit_dir(os.environ), version, start=now)
    perform(plan, dry_run=dry_run, force=force, done="installed")


@click.command()
@DRY_RUN
@FORCE
def uninstall(dry_run: bool, force: bool) -> None:
    """Stop the service and its children, and remove it from the service manager.

    Configuration, history and threads stay.
    """
    if under_launchd():
        plan = agent.uninstall_plan(SERVICE.agent_file, os.getuid())
    else:
        if not dry_run:
            systemd_version(SERVICE, dry_run=False)
        plan = units.uninstall_plan(systemd.unit_dir(os.environ))
    perform(plan, dry_run=dry_run, force=force, done="uninstalled")


@click.command()
@click.option("--json", "as_json", is_flag=True, help="As one JSON object.")
def status(as_json: bool) -> None:
    """Show what the service manager knows of the service."""
    show_state(managed_state(SERVICE), as_json=as_json)
