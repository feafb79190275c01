"""Runs `codex-supervisor` and ends the process with the exit code of `codex_control.errors.Exit`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import NoReturn

from codex_control.service.console_script import end_with, exit_code, run_command

_PROGRAM = "codex-supervisor"


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; never raises for an error that is expected."""
    return exit_code(_PROGRAM, lambda: _run(arguments), arguments)


def _run(arguments: Sequence[str]) -> object:
    # What a service manager starts needs no command line, which would stay in memory for ever: 1 MB.
    if list(arguments) == ["serve"] and not _may_be_demo():
        return _serve()
    from codex_supervisor.root import cli

    return run_command(_PROGRAM, cli, arguments)


def _may_be_demo() -> bool:
    """Whether the demo model was asked for, now or earlier. The command then looks for a login and decides."""
    from codex_control.paths import Paths

    from codex_supervisor.demo_mode import is_remembered

    return bool(os.environ.get("CODEX_SUPERVISOR_DEMO")) or is_remembered(Paths.from_environment())


def _serve() -> int:
    from codex_control.paths import Paths

    from codex_supervisor.daemon import serve

    return serve(Paths.from_environment())


def main() -> NoReturn:
    """The console script."""
    end_with(run)


if __name__ == "__main__":
    main()
