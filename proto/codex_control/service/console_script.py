"""How a service's own command runs and ends: an expected error is told, and its exit code is one of `Exit`."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from codex_control.errors import CodexError, Exit

if TYPE_CHECKING:
    import click

STOPPED_BY_USER = 130
"""128 + SIGINT, as shells have it."""
CLOSED_PIPE = 141
"""128 + SIGPIPE, as shells have it."""


def exit_code(program: str, run: Callable[[], object], arguments: Sequence[str]) -> int:
    """Run `run` and return the exit code: a number that it returns, or that of the `CodexError` that it raises.

    Where `arguments` ask for JSON, such an error is on stdout as that, too.
    """
    try:
        result = run()
        sys.stdout.flush()
    except CodexError as error:
        from codex_control.telling import error_json, error_text

        if "--json" in arguments:
            print(error_json(error))  # noqa: T201
        print(error_text(program, error), file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    except KeyboardInterrupt:
        return STOPPED_BY_USER
    except BrokenPipeError:
        # The reader is gone; without this Python complains when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    return int(result) if isinstance(result, int) else int(Exit.OK)


def run_command(program: str, commands: click.Command, arguments: Sequence[str]) -> object:
    """Run one command line; return what its command returns, or the exit code of a wrong use."""
    import click

    try:
        return commands.main(args=list(arguments), prog_name=program, standalone_mode=False)
    except click.ClickException as error:
        from codex_control.telling import tell_usage

        return tell_usage(program, error, as_json="--json" in arguments)
    except click.Abort:
        return STOPPED_BY_USER


def end_with(run: Callable[[Sequence[str]], int]) -> NoReturn:
    """Hand the words of the command line to `run`, and end the process with the exit code that it returns."""
    # A locale that cannot write a character must not end the program.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # it is a TextIOWrapper here
    sys.exit(run(sys.argv[1:]))
