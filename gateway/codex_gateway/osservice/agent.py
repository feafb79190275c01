"""The gateway's launchd agent: its property list, and the plans that load and remove it."""

from __future__ import annotations

from pathlib import Path

from codex_control.gateway_paths import GatewayPaths
from codex_control.service import launchd
from codex_control.service.plan import Plan
from codex_control.service.program import Program

from codex_gateway.osservice.program import COMMAND

LABEL = COMMAND
KEYS_NOTE = (
    "the service sees no API keys of this shell: let endpoints take them from key files or commands (the keychain's "
    "`security find-generic-password -w -s NAME`)"
)
# As TimeoutStopSec of the systemd unit, which launchd cannot be asked to extend: `drain.timeout` counts up to here.
EXIT_TIMEOUT_S = 75


def agent_text(program: Program, paths: GatewayPaths) -> str:
    """Return the sealed property list."""
    command = program.commands[COMMAND]
    return launchd.agent_text(LABEL, command, program.environment, paths.log_dir, exit_timeout_s=EXIT_TIMEOUT_S)


def install_plan(program: Program, paths: GatewayPaths, file: Path, uid: int) -> Plan:
    """Return what writes the agent and loads it; launchd starts what it loads, and again at each login."""
    return launchd.install_plan(LABEL, agent_text(program, paths), paths.log_dir, file, uid, (KEYS_NOTE,))


def uninstall_plan(file: Path, uid: int) -> Plan:
    """Return what stops the service and removes the agent."""
    return launchd.uninstall_plan(LABEL, file, uid)
