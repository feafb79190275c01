"""What is written where: answers and tables to stdout, everything about them to stderr."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from codex_control.errors import CodexError
from codex_control.safe_text import one_line, strip_controls
from codex_control.telling import error_text

if TYPE_CHECKING:
    from google.protobuf.message import Message


def say(text: str) -> None:
    """One notice on stderr. A stderr that nobody reads any more is no reason to lose an answer."""
    try:
        sys.stderr.write(strip_controls(text) + "\n")
        sys.stderr.flush()
    except BrokenPipeError:
        pass


def say_error(error: CodexError) -> None:
    """An error, and what to do about it."""
    say(error_text("codexctl", error))


def end_with_reader() -> None:
    """From now on, end this process when nobody reads stdout any more.

    For a verb that goes on without end: `| head -1` would wait until the next thing is told, which may be never.
    """
    if sys.stdout is not sys.__stdout__:
        return  # it is not what descriptor 1 is

    import os
    import select
    import threading

    from codex_control.service.console_script import CLOSED_PIPE

    poll = select.poll()
    # No event but those that are always reported: the other end is closed. A plain file has none.
    poll.register(1, 0)

    def wait() -> None:
        poll.poll()
        os._exit(CLOSED_PIPE)

    threading.Thread(target=wait, daemon=True).start()


def put(text: str) -> None:
    """One line of a result on stdout."""
    sys.stdout.write(text + "\n")


def put_json(value: object) -> None:
    """One JSON value as one line on stdout, at once. ASCII only: it is JSON in every locale and safe on a terminal."""
    import json

    sys.stdout.write(json.dumps(value, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def put_message(message: Message) -> None:
    """One message as one line of JSON on stdout."""
    from codexctl.json_form import to_json

    put_json(to_json(message))


def put_table(headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int = 0) -> None:
    """Columns divided by two spaces; empty cells are `-`. Lines are cut to `width` where it is given."""
    cells = [[one_line(cell) or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    for row in [list(headings), *cells]:
        line = "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        put(line[: width - 1] + "…" if 0 < width < len(line) else line)


def table_width() -> int:
    """Columns of the terminal that stdout is; 0 (no limit) where it is none."""
    if not sys.stdout.isatty():
        return 0
    from shutil import get_terminal_size

    return get_terminal_size().columns
