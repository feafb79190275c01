"""Runs `codex-gateway` and ends the process with the exit code of `codex_control.errors.Exit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from codex_control.service.console_script import end_with, exit_code, run_command

_PROGRAM = "codex-gateway"


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; never raises for an error that is expected."""
    return exit_code(_PROGRAM, lambda: _run(arguments), arguments)


def _run(arguments: Sequence[str]) -> object:
    from codex_gateway.root import cli

    try:
        return run_command(_PROGRAM, cli, arguments)
    except ModuleNotFoundError as error:
        from codex_gateway.extra import PACKAGES, missing_extra

        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        raise missing_extra(package) from error


def main() -> NoReturn:
    """The console script."""
    end_with(run)


if __name__ == "__main__":
    main()
