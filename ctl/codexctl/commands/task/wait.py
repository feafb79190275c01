"""codexctl task wait: wait for the ends of tasks."""

from __future__ import annotations

import click

from codexctl.completing import tasks_argument
from codexctl.session import DURATION, Session, starting_verb


@click.command("wait")
@tasks_argument
@click.option("--timeout", type=DURATION, metavar="TIME", help="Longest wait: 90, 90s, 5m, 2h. The tasks go on.")
@click.option(
    "--any/--all", "any_of_them", default=False, help="Until the first of them ends. Default: until all have."
)
@starting_verb
def command(session: Session, tasks: tuple[str, ...], timeout: float | None, any_of_them: bool) -> int:
    """Wait until all TASKS have ended, or with --any the first of them.

    Returns at the moment of the end. On a terminal it shows what they do; in a pipe stdout gets a line for each end and
    stderr what happens until then. A lost connection is renewed. Ctrl-C leaves; the tasks go on.

    Exit codes: 0 DONE, 1 ERROR, 6 cancelled, 8 TIMEOUT (of the task), 11 --timeout passed, 130 left with Ctrl-C.
    """
    from codexctl.task_follow import standing_now, wait_for_tasks

    standing = standing_now(session, tasks)
    return wait_for_tasks(session, standing, any_of_them=any_of_them, timeout_s=timeout)
