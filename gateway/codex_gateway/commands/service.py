"""`codex-gateway install` and `uninstall`: the gateway in the system's service manager; `status` tells of it, too."""

from __future__ import annotations

import os
from typing import Any

import click
from codex_control.errors import CodexError
from codex_control.gateway_paths import GatewayPaths
from codex_control.service import systemd
from codex_control.service.managing import Service, managed_state, perform, systemd_version, under_launchd

from codex_gateway.extra import check_extra
from codex_gateway.osservice import agent, units
from codex_gateway.osservice.program import COMMAND, find_program

SERVICE = Service(COMMAND)
DRY_RUN = click.option("--dry-run", is_flag=True, help="Print what would be done, and do nothing.")
FORCE = click.option("--force", is_flag=True, help="Also where a file was edited by hand or is not ours.")


@click.command()
@DRY_RUN
@FORCE
@click.option("--now", is_flag=True, help="Start it at once too (launchd always does).")
def install(dry_run: bool, force: bool, now: bool) -> None:
    """Install the service for this user: a systemd user unit, or a launchd agent on macOS.

    It remembers the PATH of this shell, on which key commands are found, and where the configuration is, but no keys.
    """
    check_extra()
    program = find_program()
    paths = GatewayPaths.from_environment()
    if under_launchd():
        plan = agent.install_plan(program, paths, SERVICE.agent_file, os.getuid())
    else:
        version = systemd_version(SERVICE, dry_run=dry_run)
        plan = units.install_plan(program, paths, systemd.unit_dir(os.environ), version, start=now)
    perform(plan, dry_run=dry_run, force=force, done="installed")


@click.command()
@DRY_RUN
@FORCE
def uninstall(dry_run: bool, force: bool) -> None:
    """Stop the service, once requests under way have ended, and remove it from the service manager.

    Configuration, records and client tokens stay.
    """
    if under_launchd():
        plan = agent.uninstall_plan(SERVICE.agent_file, os.getuid())
    else:
        if not dry_run:
            systemd_version(SERVICE, dry_run=False)
        plan = units.uninstall_plan(systemd.unit_dir(os.environ))
    perform(plan, dry_run=dry_run, force=force, done="uninstalled")


@click.command("serve-under-launchd", hidden=True)
def serve_under_launchd() -> None:
    """Run `serve`, but not too often: launchd knows no limit of starts."""
    from codex_control.service.clock import SystemClock
    from codex_control.service.start_limit import may_start

    state_dir = GatewayPaths.from_environment().state_dir
    if may_start(state_dir / "launchd-starts.json", SystemClock()):
        command = [*find_program().commands[COMMAND], "serve"]
        os.execv(command[0], command)  # noqa: S606 (no shell is wanted)
    # Exit code 0, on which launchd does not start it again.
    click.echo("the gateway was started too often in a short time and ends: it is left stopped", err=True)


def managed() -> dict[str, Any] | None:
    """What the service manager knows of the gateway; None where there is none, or it knows nothing."""
    try:
        found = managed_state(SERVICE)
    except CodexError:
        return None
    return None if found["installed"] == "no" else found


def managed_line(found: dict[str, Any]) -> str:
    """What `managed` found, for people."""
    installed = "" if found["installed"] in ("yes", "by a package") else f", unit {found['installed']}"
    if found["manager"] == "launchd":
        state = found["state"] or "not loaded"
        return f"launchd: {state}, runs {found['runs']}, last exit {found['last_exit'] or '-'}{installed}"
    line = f"systemd: {found['active']} ({found['sub']}), {found['enabled']}, {found['restarts']} restarts{installed}"
    if found["active"] == "failed":
        line += f"; it ended with {found['result']}, see `journalctl --user -u {COMMAND}`"
        if found["status"]:
            line += f": {found['status']}"
    return line
