"""codexctl task watch: everything that happens to tasks, from the beginning."""

from __future__ import annotations

import click

from codexctl.completing import tasks_argument
from codexctl.session import Session, starting_verb


@click.command("watch")
@tasks_argument
@click.option(
    "--after-seq", metavar="N", type=click.IntRange(min=0), default=0, help="Only events after this sequence number."
)
@starting_verb
def command(session: Session, tasks: tuple[str, ...], after_seq: int) -> int:
    """Show the events of TASKS, recorded and live, until all have ended: commands, files, progress, ends.

    A lost connection is renewed; nothing is missed or shown twice. Ctrl-C leaves; the tasks go on. The exit code is
    that of codexctl task wait.
    """
    from codexctl.task_follow import standing_now, watch_tasks

    return watch_tasks(session, standing_now(session, tasks), after_seq)
