"""Runs `codexctl` and ends the process with the exit code of `codex_control.errors.Exit`."""

from __future__ import annotations

import contextlib
import gc
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

# Half of the time of a short command goes into imports, and a third of that into collections that find nothing.
gc.disable()

from codex_control.errors import CodexError, Exit  # noqa: E402
from codex_control.service.console_script import CLOSED_PIPE, STOPPED_BY_USER  # noqa: E402
from codex_control.telling import tell_usage  # noqa: E402

from codexctl.output import put, say_error  # noqa: E402


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; never raises for an error that is expected."""
    import click

    from codexctl.root import cli

    try:
        # What click's own main adds: it would turn a closed pipe into an exit code of 1.
        with cli.make_context("codexctl", list(arguments)) as context:
            result = cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as leaving:
        return leaving.exit_code
    except CodexError as error:
        say_error(error)
        return int(error.exit_code)
    except click.ClickException as error:
        return tell_usage("codexctl", error, as_json="--json" in arguments)
    except (click.Abort, KeyboardInterrupt):
        return STOPPED_BY_USER
    except BrokenPipeError:
        _forget_stdout()
        return CLOSED_PIPE
    return int(result) if isinstance(result, int) else int(Exit.OK)


def _print_segment() -> int:
    """`codexctl statusline` without click, which would take half of its time: it runs after every message."""
    from codex_control.paths import Paths

    from codexctl.claude.status_line import segment

    try:
        if text := segment(Paths.from_environment(), sys.stdin.buffer):
            put(text)
    except CodexError as error:
        say_error(error)
        return int(error.exit_code)
    return int(Exit.OK)


def _forget_stdout() -> None:
    # The reader is gone; without this Python complains when it flushes at the end.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def main() -> NoReturn:
    """The console script."""
    # A locale that cannot write a character must not end an answer in the middle.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # it is a TextIOWrapper here
    if "_CODEXCTL_COMPLETE" in os.environ:
        from codexctl.root import cli

        cli.main(prog_name="codexctl")
    code = _print_segment() if sys.argv[1:] == ["statusline"] else run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        code = CLOSED_PIPE
    with contextlib.suppress(BrokenPipeError):
        sys.stderr.flush()
    # Taking the interpreter and gRPC's threads down in good order costs 15 ms and gains nothing: all is written.
    os._exit(code)


if __name__ == "__main__":
    main()
