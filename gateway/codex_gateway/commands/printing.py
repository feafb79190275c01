"""What commands print: tables for people, one JSON object a line for programs."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from shutil import get_terminal_size

import click
import msgspec
from codex_control.errors import BadInput
from codex_control.safe_text import one_line
from codex_control.service.clock import SystemClock

_AGO = re.compile(r"(\d{1,9}(?:\.\d{1,9})?)(s|m|h|d|w)")
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
NS = 1_000_000_000


def put_json(value: object) -> None:
    """One value as one line of JSON."""
    click.echo(msgspec.json.encode(value).decode())


def put_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns divided by two spaces; empty cells are `-`. On a terminal, lines are cut to its width."""
    cells = [[one_line(cell) or "-" for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(headings, *cells, strict=True)]
    columns = get_terminal_size().columns if sys.stdout.isatty() else 0
    for row in [list(headings), *cells]:
        line = "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip()
        click.echo(line[: columns - 1] + "…" if 0 < columns < len(line) else line)


def nothing_recorded(database: Path) -> bool:
    """Whether no gateway has ever run, and so nothing is recorded; it then says so."""
    if database.exists():
        return False
    click.echo("no requests yet: no gateway has run. Start it with `codex-gateway serve`", err=True)
    return True


def local_time(at_ns: int) -> str:
    """A time in the user's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_ns / NS))


def duration(seconds: float | None) -> str:
    """`83 ms`, `1.2 s`, `3 min`; empty for None."""
    if seconds is None:
        return ""
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{seconds / 60:.0f} min"


def dollars(cost_usd: float | None) -> str:
    """`$0.0123`; empty where the price is not known."""
    return "" if cost_usd is None else f"${cost_usd:,.4f}" if cost_usd < 1 else f"${cost_usd:,.2f}"


def since_ns(text: str | None) -> int:
    """What `--since` means: `90s`, `2h`, `3d` ago, or a date and time. Nanoseconds since the epoch; 0 for None."""
    if text is None:
        return 0
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return max(0, SystemClock().wall_ns() - int(float(ago[1]) * _UNITS_S[ago[2]] * NS))
    from datetime import datetime

    try:
        # Years that a record can have: from 1970 on, and what fits into 64 bits of nanoseconds.
        return min(max(0, int(datetime.fromisoformat(text.strip()).timestamp() * NS)), 2**63 - 1)
    except (ValueError, OverflowError) as error:
        raise BadInput(
            f"{text[:80]!r} is no time",
            next_step="give `2h`, `3d`, or a date such as `2026-11-21` or `2026-11-21 14:00`",
        ) from error
