"""`codex-supervisor install`, `uninstall` and `status`: the service in the operating system's service manager."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import click
from codex_control.errors import Exit
from codex_control.paths import Paths
from codex_control.service import systemd
from codex_control.service.managing import (
    Service,
    known_state,
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
def status(as_json: bool) -> int:
    """Show whether the service runs, and what the service manager knows of it.

    Ends with 0 where it runs, whatever started it, else with 3. codexctl status shows what it does.
    """
    found = known_state(SERVICE, Paths.from_environment().lock_file)
    show_state(found, as_json=as_json)
    if not found["running"]:
        click.echo(f"  next: {_start_hint(found)}", err=True)
    return int(Exit.OK if found["running"] else Exit.UNAVAILABLE)


def _start_hint(found: Mapping[str, Any]) -> str:
    if found["manager"] == "none":
        return "`codexctl start` runs it in the background, `codex-supervisor serve` in the foreground"
    if found["installed"] == "no":
        return "`codex-supervisor install --now` installs and starts it"
    return "`codexctl start` starts it; its log says why it ended (journalctl --user -u codex-supervisor)"
