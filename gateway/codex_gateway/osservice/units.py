"""The gateway's systemd user unit: its text, and the plans that install and remove it."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from codex_control.gateway_paths import GatewayPaths
from codex_control.service import systemd
from codex_control.service.own_file import blank_seal, sealed
from codex_control.service.plan import Plan
from codex_control.service.program import Program

from codex_gateway.osservice.program import COMMAND, KEYS_NOTE

UNIT = f"{COMMAND}.service"

# Type=notify-reload sends SIGHUP and waits for the word that the reload is done.
NOTIFY_RELOAD_VERSION = 253
# The shell's own kill: not every system has /bin/kill.
_RELOAD = "ExecReload=/bin/sh -c 'kill -HUP $$MAINPID'"


def unit_text(program: Program, systemd_version: int, paths: GatewayPaths | None = None) -> str:
    """Return the sealed text of the unit. `paths` are the gateway's places where they are known."""
    waits = systemd_version >= NOTIFY_RELOAD_VERSION
    places = (paths.state_dir, paths.runtime_dir, paths.config_file.parent) if paths is not None else ()
    values = {
        "SEAL": blank_seal(COMMAND),
        "GATEWAY": systemd.command_line(program.commands[COMMAND]),
        "ENVIRONMENT": systemd.environment_lines(program.environment),
        "TYPE": "notify-reload" if waits else "notify",
        "RELOAD": "" if waits else _RELOAD,
        "WRITABLE": "\n".join(f"ReadWritePaths={systemd.quoted(f'-{place}')}" for place in places),
    }
    template = files("codex_gateway.osservice").joinpath(UNIT + ".in").read_text("utf-8")
    return sealed(systemd.filled(template, values, systemd_version))


def install_plan(program: Program, paths: GatewayPaths, folder: Path, systemd_version: int, *, start: bool) -> Plan:
    """Return what installs the unit into `folder`, enables it and, if asked, starts it."""
    texts = {UNIT: unit_text(program, systemd_version, paths)}
    return systemd.install_plan(texts, folder, UNIT, (KEYS_NOTE,), start=start)


def uninstall_plan(folder: Path) -> Plan:
    """Return what stops the service and removes the unit."""
    return systemd.uninstall_plan(folder, (UNIT,))
