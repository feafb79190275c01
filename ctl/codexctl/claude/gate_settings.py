"""Whether the review gate is on, and its limits: one small file beside the configuration, absent where it is off."""

from __future__ import annotations

from pathlib import Path

import msgspec
from codex_control.errors import BadConfig
from codex_control.paths import Paths


class GateSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The limits hold for one Claude Code session."""

    rounds: int = 3
    """Reviews at most."""
    tokens: int = 500_000
    """No further review once the earlier ones have used so many tokens, in and out."""


def gate_file(paths: Paths) -> Path:
    """Where the settings are."""
    return paths.config_file.with_name("review-gate.json")


def load_gate(paths: Paths) -> GateSettings | None:
    """The settings; None where the gate is off. Raises `BadConfig` for a file that is none."""
    try:
        data = gate_file(paths).read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadConfig(f"{gate_file(paths)} cannot be read", why=error.strerror or "") from error
    try:
        return msgspec.json.decode(data, type=GateSettings)
    except msgspec.MsgspecError as error:
        raise BadConfig(
            f"{gate_file(paths)} is wrong", why=str(error), next_step="`codexctl claude gate on` writes it anew"
        ) from error
