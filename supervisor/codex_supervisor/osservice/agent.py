"""The supervisor's launchd agent: its property list, and the plans that load and remove it."""

from __future__ import annotations

from pathlib import Path

from codex_control.paths import Paths
from codex_control.service import launchd
from codex_control.service.plan import Plan
from codex_control.service.program import Program

from codex_supervisor.osservice.program import codex_note

LABEL = "codex-supervisor"


def agent_text(program: Program, paths: Paths) -> str:
    """Return the sealed property list."""
    return launchd.agent_text(LABEL, program.commands["codex-supervisor"], program.environment, paths.log_dir)


def install_plan(program: Program, paths: Paths, file: Path, uid: int) -> Plan:
    """Return what writes the agent and loads it; launchd starts what it loads, and again at each login."""
    return launchd.install_plan(LABEL, agent_text(program, paths), paths.log_dir, file, uid, (codex_note(program),))


def uninstall_plan(file: Path, uid: int) -> Plan:
    """Return what stops the service, with its children, and removes the agent."""
    return launchd.uninstall_plan(LABEL, file, uid)
