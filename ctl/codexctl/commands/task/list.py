"""codexctl task list: the tasks that wait, run and ended."""

from __future__ import annotations

import click

from codexctl.session import Session, starting_verb

STATES = ("pending", "running", "done", "error", "timeout")


@click.command("list")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES, case_sensitive=False), help="Only these; repeatable."
)
@click.option("--queue", metavar="NAME", default="", help="Only those of this queue.")
@click.option(
    "-n", "--limit", metavar="N", type=click.IntRange(min=1), default=20, show_default=True, help="At most so many."
)
@starting_verb
def command(session: Session, states: tuple[str, ...], queue: str, limit: int) -> None:
    """List tasks, newest first."""
    from codexctl import task_table
    from codexctl.output import put, put_message, put_table, table_width
    from codexctl.task_listing import newest_tasks

    tasks = list(newest_tasks(session, limit, states=[f"TASK_STATE_{state.upper()}" for state in states], queue=queue))
    if session.json:
        for task in tasks:
            put_message(task)
    elif tasks:
        width = table_width()
        rows = [task_table.row(task, width) for task in tasks]
        put_table(task_table.HEADINGS, rows, width=width, expendable=task_table.EXPENDABLE)
        if len(tasks) == limit and width:
            put(f"perhaps more: -n {limit * 5} · one of them in full: codexctl task show TASK")
    else:
        put("no tasks" if states or queue else 'no tasks yet; codexctl task submit "..." makes one')
