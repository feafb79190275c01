"""What the gateway's service is to run, and with what environment."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from codex_control.service import program
from codex_control.service.program import Program

COMMAND = "codex-gateway"
KEYS_NOTE = (
    "the service sees no API keys of this shell: keys that endpoints take from the environment belong into "
    "~/.config/codex-gateway/environment (systemd; lines NAME=value, mode 0600), or use key files or commands"
)

_MODULES = {COMMAND: "codex_gateway"}
_KEPT = (
    "XDG_CONFIG_HOME",
    "XDG_STATE_HOME",
    "CODEX_GATEWAY_CONFIG",
    "CODEX_GATEWAY_STATE_DIR",
    "CODEX_GATEWAY_RUNTIME_DIR",
)


def find_program(
    argv0: str = sys.argv[0], python: str = sys.executable, environ: Mapping[str, str] = os.environ
) -> Program:
    """Find ourselves and our environment; see `codex_control.service.program.find_program`."""
    return program.find_program(_MODULES, _KEPT, argv0=argv0, python=python, environ=environ)
