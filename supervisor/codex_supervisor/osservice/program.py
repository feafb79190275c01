"""What the supervisor's service is to run, and with what environment."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping

from codex_control.service import program
from codex_control.service.program import Program

_MODULES = {"codex-supervisor": "codex_supervisor", "codexctl": "codexctl"}
_KEPT = (
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "CODEX_HOME",
    "CODEX_SUPERVISOR_CONFIG",
    "CODEX_SUPERVISOR_STATE_DIR",
    "CODEX_SUPERVISOR_RUNTIME_DIR",
    # Where children's gateway is (`codex.provider: gateway`).
    "CODEX_GATEWAY_STATE_DIR",
    "CODEX_GATEWAY_RUNTIME_DIR",
)
_KEPT_SWITCHES = ("CODEX_SUPERVISOR_DEMO",)


def find_program(
    argv0: str = sys.argv[0], python: str = sys.executable, environ: Mapping[str, str] = os.environ
) -> Program:
    """Find ourselves and our environment; see `codex_control.service.program.find_program`."""
    return program.find_program(_MODULES, _KEPT, switches=_KEPT_SWITCHES, argv0=argv0, python=python, environ=environ)


def codex_note(found: Program) -> str:
    """Say where Codex is, as the service will find it."""
    codex = shutil.which("codex", path=found.environment["PATH"])
    if codex:
        return f"Codex is {codex}; after a change of your PATH, install again"
    return "no codex is on your PATH: the Python package openai-codex-cli-bin is used where it is installed"
