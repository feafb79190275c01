"""How a doctor tells what it found: one layout, one JSON form and one exit code for all doctors of ours."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import click

from codex_control.errors import Exit
from codex_control.safe_text import one_line

_COLOURS = {"ok": "green", "warning": "yellow", "error": "red"}
_WIDTH = 500


class Finding(NamedTuple):
    """What one check found. `status` is ok, warning or error; `found` may have several lines; `fix` may be empty."""

    name: str
    status: str
    found: str
    fix: str


def tell(findings: Sequence[Finding], *, not_looked_at: str, as_json: bool) -> Exit:
    """Print the findings, and what nobody should take for healthy because it is not among them; return the exit code.

    It is `CONFIG` where one of them is an error, else `OK`. The JSON is an array of the findings.
    """
    if as_json:
        click.echo(json.dumps([finding._asdict() for finding in findings], separators=(",", ":")))
    else:
        width = max((len(finding.name) for finding in findings), default=0)
        for finding in findings:
            # click leaves the colour out where stdout is no terminal.
            status = click.style(f"{finding.status:<7}", fg=_COLOURS.get(finding.status))
            first, *more = finding.found.splitlines() or [""]
            click.echo(f"{status}  {finding.name:<{width}}  {one_line(first, _WIDTH)}")
            for line in (*more, *([f"fix: {finding.fix}"] if finding.fix else [])):
                click.echo(f"{'':9}{'':<{width}}  {one_line(line, _WIDTH)}")
        click.echo(f"not looked at: {not_looked_at}")
    return Exit.CONFIG if any(finding.status == "error" for finding in findings) else Exit.OK
