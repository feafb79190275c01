"""`codex-supervisor sweep`: what the systemd units run after a stop and after a failure. People need it rarely."""

from __future__ import annotations

import asyncio
import sys

import click
from codex_control.errors import AlreadyRunning, ChildFailed
from codex_control.paths import Paths, make_private_dir


@click.command(hidden=True)
@click.option(
    "--after-failure", is_flag=True, help="Only where systemd has given the service up; else its next start adopts."
)
def sweep(after_failure: bool) -> None:
    """End every child that a supervisor left behind. Does nothing while a supervisor runs."""
    if after_failure and not _given_up():
        click.echo("the service is being restarted, and adopts its children: nothing to do", err=True)
        return
    end_lost_children()


def end_lost_children() -> None:
    """Sweep, and say what was done. Raises `ChildFailed` where something could not be ended."""
    from codex_control.service.clock import SystemClock
    from codex_control.service.lock import SupervisorLock

    from codex_supervisor.osservice.sweep import end_recorded_children

    paths = Paths.from_environment()
    for directory in (paths.state_dir, paths.runtime_dir):
        make_private_dir(directory)
    lock = SupervisorLock(paths.lock_file, also=paths.state_lock_file)
    try:
        # Held to the end: no supervisor can start and adopt what is being ended.
        lock.acquire()
    except AlreadyRunning as error:
        click.echo(f"{error.why}: its children are its own, nothing to do", err=True)
        return
    try:
        report = asyncio.run(end_recorded_children(paths, SystemClock()))
    finally:
        lock.release()
    if report.left:
        raise ChildFailed(
            f"children of {', '.join(report.left)} could not be ended",
            why="the kernel does not let them go, or they are not ours to signal",
            next_step="see their processes with systemctl --user status codex-supervisor",
        )
    click.echo(f"children swept: {report.gone}", err=True)


def _given_up() -> bool:
    """Since systemd 254 OnFailure= may fire although a restart follows; then the unit is activating by now."""
    if sys.platform == "darwin":
        return True
    from codex_control.service.systemd import unit_state

    from codex_supervisor.osservice.units import UNIT

    return unit_state(UNIT).active in ("failed", "inactive")


@click.command("serve-under-launchd", hidden=True)
def serve_under_launchd() -> None:
    """Run `serve`, but not too often: launchd knows no limit of starts."""
    import os

    from codex_control.service.clock import SystemClock
    from codex_control.service.start_limit import may_start

    from codex_supervisor.osservice.program import find_program

    state_dir = Paths.from_environment().state_dir
    if may_start(state_dir / "launchd-starts.json", SystemClock()):
        command = [*find_program().commands["codex-supervisor"], "serve"]
        os.execv(command[0], command)  # noqa: S606 (no shell is wanted)
    click.echo("the supervisor was started too often in a short time and ends: it is left stopped", err=True)
    # Then exit code 0, on which launchd does not start it again.
    end_lost_children()
