"""Records that the service streams, printed as they come."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from typing import TypeVar

from codex_control.safe_text import one_line
from google.protobuf.message import Message

from codexctl.output import end_with_reader, put, put_message
from codexctl.session import Session

Record = TypeVar("Record", bound=Message)

_MAX_CHARACTERS = 4000


def print_records(session: Session, records: Iterable[Record], line: Callable[[Record], str], *, follow: bool) -> None:
    """Print each as a line, or with --json as an object. With `follow`, the end of whoever reads them is the end."""
    if follow:
        end_with_reader()
    for record in records:
        if session.json:
            put_message(record)
        else:
            put(one_line(line(record), _MAX_CHARACTERS))
            if follow:
                sys.stdout.flush()
