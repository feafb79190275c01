"""Asks before something is deleted."""

from __future__ import annotations

import sys

import click
from codex_control.errors import BadInput


def confirm(question: str, *, yes: bool, what: str = "history") -> None:
    """Return where the user agrees; raises `click.Abort` where not, `BadInput` where nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise BadInput(f"this deletes {what} and nobody can be asked", next_step="add --yes")
    click.confirm(question, abort=True, err=True)
