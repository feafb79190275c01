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


# Characters of a last column, mostly a prompt, without which it tells nothing.
_READABLE = 24


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


def table_lines(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int = 0, expendable: Sequence[str] = ()
) -> list[str]:
    """The heading and the rows as lines; columns are divided by two spaces, empty cells are `-`.

    Where `width` is given and too small, the columns named in `expendable` are left out, the first one first, until a
    readable part of the last column fits. It alone is cut: what stands before it is to be typed again.
    """
    columns = [
        [heading, *(one_line(cell) or "-" for cell in column)] for heading, *column in zip(headings, *rows, strict=True)
    ]
    sizes = {column[0]: max(map(len, column)) for column in columns}
    for name in expendable:
        *others, last = sizes
        if not width or sum(sizes[other] + 2 for other in others) + min(sizes[last], _READABLE) <= width:
            break
        del sizes[name]
    *others, last = sizes
    room = width - sum(sizes[other] + 2 for other in others)
    shown = [column for column in columns if column[0] in sizes]
    return [
        "  ".join(
            [
                *(cell.ljust(sizes[other]) for cell, other in zip(cells, others, strict=True)),
                one_line(end, max(room, 1)) if width else end,
            ]
        ).rstrip()
        for *cells, end in zip(*shown, strict=True)
    ]


def put_table(
    headings: Sequence[str], rows: Sequence[Sequence[str]], *, width: int = 0, expendable: Sequence[str] = ()
) -> None:
    """Print `table_lines`."""
    for line in table_lines(headings, rows, width=width, expendable=expendable):
        put(line)


def table_width() -> int:
    """Columns of the terminal that stdout is; 0 (no limit) where it is none."""
    if not sys.stdout.isatty():
        return 0
    from shutil import get_terminal_size

    return get_terminal_size().columns
