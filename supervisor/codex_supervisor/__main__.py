"""Runs `codex-supervisor` and ends the process with the exit code of `codex_control.errors.Exit`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import NoReturn

from codex_control.errors import CodexError, Exit

STOPPED_BY_USER = 130
"""128 + SIGINT, as shells have it."""
CLOSED_PIPE = 141
"""128 + SIGPIPE, as shells have it."""


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; never raises for an error that is expected."""
    try:
        # What a service manager starts needs no command line, which would stay in memory for ever: 1 MB.
        result = _serve() if list(arguments) == ["serve"] and not _may_be_demo() else _run_command(arguments)
        sys.stdout.flush()
    except CodexError as error:
        print(f"codex-supervisor: {error}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    except KeyboardInterrupt:
        return STOPPED_BY_USER
    except BrokenPipeError:
        # The reader is gone; without this Python complains when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    return int(result) if isinstance(result, int) else int(Exit.OK)


def _may_be_demo() -> bool:
    """Whether the demo model was asked for, now or earlier. The command then looks for a login and decides."""
    from codex_control.paths import Paths

    from codex_supervisor.demo_mode import is_remembered

    return bool(os.environ.get("CODEX_SUPERVISOR_DEMO")) or is_remembered(Paths.from_environment())


def _serve() -> int:
    from codex_control.paths import Paths

    from codex_supervisor.daemon import serve

    return serve(Paths.from_environment())


def _run_command(arguments: Sequence[str]) -> object:
    import click

    from codex_supervisor.root import cli

    try:
        return cli.main(args=list(arguments), prog_name="codex-supervisor", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return STOPPED_BY_USER


def main() -> NoReturn:
    """The console script."""
    # A locale that cannot write a character must not end the service.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # it is a TextIOWrapper here
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
