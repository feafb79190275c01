"""The supervisor's systemd user units: their text, and the plans that install and remove them."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from codex_control.service import systemd
from codex_control.service.own_file import blank_seal, sealed
from codex_control.service.plan import Plan
from codex_control.service.program import Program

from codex_supervisor.child.cgroups import LEAF
from codex_supervisor.osservice.program import codex_note

UNIT = "codex-supervisor.service"
SWEEP_UNIT = "codex-supervisor-sweep.service"

# The first systemd that knows DelegateSubgroup= (systemd.resource-control(5)).
_SUBGROUP_VERSION = 254


def unit_texts(program: Program, systemd_version: int) -> dict[str, str]:
    """Return the sealed text of each unit by its name."""
    values = {
        "SEAL": blank_seal("codex-supervisor"),
        "SUPERVISOR": systemd.command_line(program.commands["codex-supervisor"]),
        "CTL": systemd.command_line(program.commands["codexctl"]),
        "ENVIRONMENT": systemd.environment_lines(program.environment),
        "SUBGROUP": f"DelegateSubgroup={LEAF}" if systemd_version >= _SUBGROUP_VERSION else "",
    }
    folder = files("codex_supervisor.osservice")
    return {
        name: sealed(systemd.filled(folder.joinpath(name + ".in").read_text("utf-8"), values, systemd_version))
        for name in (UNIT, SWEEP_UNIT)
    }


def install_plan(program: Program, folder: Path, systemd_version: int, *, start: bool) -> Plan:
    """Return what installs the units into `folder`, enables them and, if asked, starts the service or its new text."""
    texts = unit_texts(program, systemd_version)
    return systemd.install_plan(texts, folder, UNIT, (codex_note(program),), start=start)


def uninstall_plan(folder: Path) -> Plan:
    """Return what stops the service, with its children, and removes the units."""
    return systemd.uninstall_plan(folder, (UNIT, SWEEP_UNIT))
