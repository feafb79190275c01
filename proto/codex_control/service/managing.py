"""What `install`, `uninstall` and `status` do, for every service of ours."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from codex_control.errors import CodexError
from codex_control.service import launchd, systemd
from codex_control.service.lock_holder import holder_of
from codex_control.service.own_file import Owner, owner_of
from codex_control.service.plan import Plan, carry_out, describe


@dataclass(frozen=True)
class Service:
    """One service, as the service managers know it."""

    name: str
    """The program, and launchd's label."""

    @property
    def unit(self) -> str:
        """systemd's unit."""
        return f"{self.name}.service"

    @property
    def foreground(self) -> str:
        """The command that runs it without a service manager."""
        return f"{self.name} serve"

    @property
    def agent_file(self) -> Path:
        """launchd's property list."""
        return launchd.agent_file(self.name, os.environ)


def under_launchd() -> bool:
    """Whether this system's service manager is launchd; else it is systemd."""
    return sys.platform == "darwin"


def systemd_version(service: Service, *, dry_run: bool) -> int:
    """systemd's version, and but for a dry run a check that it can be reached. Raises `ServiceUnavailable`."""
    return systemd.version() if dry_run else systemd.reachable_version(service.foreground)


def perform(plan: Plan, *, dry_run: bool, force: bool, done: str) -> None:
    """Carry `plan` out and say `done`, or show it."""
    if dry_run:
        click.echo(describe(plan), nl=False)
        return
    carry_out(plan, force=force)
    click.echo(done)
    for note in plan.notes:
        click.echo(f"note: {note}", err=True)


def known_state(service: Service, lock_file: Path) -> dict[str, Any]:
    """What can be known of `service`, also where no service manager can be asked (`manager` is none, `why` says why).

    `running` and `pid` are true of one that was started by hand, too.
    """
    try:
        managed = managed_state(service)
    except CodexError as error:
        file = service.agent_file if under_launchd() else systemd.unit_dir(os.environ) / service.unit
        why = f"{error.what}: {error.why}" if error.why else error.what
        managed = {"manager": "none", "why": why, **_installed(file, loaded=False)}
    pid = managed.pop("pid", 0) or holder_of(lock_file) or 0
    return {"running": pid > 0, "pid": pid, **managed}


def managed_state(service: Service) -> dict[str, Any]:
    """What the service manager knows of `service`. Raises `ServiceUnavailable`."""
    if under_launchd():
        agent = launchd.agent_state(service.name, os.getuid())
        return {"manager": "launchd", **_installed(service.agent_file, agent.loaded), **asdict(agent)}
    systemd.reachable_version(service.foreground)
    file = systemd.unit_dir(os.environ) / service.unit
    state = asdict(systemd.unit_state(service.unit))
    return {"manager": "systemd", **_installed(file, state["load"] == "loaded"), **state, "lingering": _lingering()}


def show_state(found: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what `known_state` found."""
    if as_json:
        click.echo(json.dumps(found))
        return
    width = max(map(len, found))
    for name, value in found.items():
        text = {True: "yes", False: "no"}.get(value, value) if isinstance(value, bool) else value
        click.echo(f"{name.replace('_', ' '):<{width}}  {text}")


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
