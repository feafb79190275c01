"""codexctl task show: all about one task."""

from __future__ import annotations

import click

from codexctl.completing import task_argument
from codexctl.session import Session, starting_verb


@click.command("show")
@task_argument()
@starting_verb
def command(session: Session, task: str) -> None:
    """Show everything about TASK: where it stands, its attempts, its heartbeat, what came of it."""
    from codex_control.safe_text import strip_controls

    from codexctl.output import put, put_message
    from codexctl.task_listing import get_task
    from codexctl.task_table import facts

    found = get_task(session, task)
    if session.json:
        put_message(found)
        return
    for label, value in facts(found):
        put(f"{label:<16} {value}")
    for label, text in (("prompt", found.spec.prompt), ("answer", found.result.answer)):
        if text:
            put(f"\n{label}:")
            for line in strip_controls(text).splitlines():
                put(f"  {line}")
