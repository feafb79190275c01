"""Runs `codex-gateway` and ends the process with the exit code of `codex_control.errors.Exit`."""

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
    import click

    from codex_gateway.root import cli

    try:
        result = cli.main(args=list(arguments), prog_name="codex-gateway", standalone_mode=False)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except CodexError as error:
        print(f"codex-gateway: {error}", file=sys.stderr)  # noqa: T201
        return int(error.exit_code)
    except ModuleNotFoundError as error:
        from codex_gateway.extra import PACKAGES, missing_extra

        package = (error.name or "").partition(".")[0]
        if package not in PACKAGES:
            raise
        print(f"codex-gateway: {missing_extra(package)}", file=sys.stderr)  # noqa: T201
        return int(Exit.CONFIG)
    except (KeyboardInterrupt, click.Abort):
        return STOPPED_BY_USER
    except BrokenPipeError:
        # The reader is gone; without this Python complains when it flushes at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE
    return int(result) if isinstance(result, int) else int(Exit.OK)


def main() -> NoReturn:
    """The console script."""
    # A locale that cannot write a character must not end the program.
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr] # it is a TextIOWrapper here
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
