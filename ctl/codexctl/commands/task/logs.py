"""codexctl task logs: what a task did, line by line."""

from __future__ import annotations

import sys

import click

from codexctl.completing import task_argument
from codexctl.session import Session, starting_verb


@click.command("logs")
@task_argument()
@click.option("-f", "--follow", is_flag=True, help="Go on with new lines until the task has ended.")
@click.option(
    "--after-seq", metavar="N", type=click.IntRange(min=0), default=0, help="Only what came after this sequence number."
)
@starting_verb
def command(session: Session, task: str, follow: bool, after_seq: int) -> None:
    """Print what TASK did, line by line.

    Its attempts, and Codex's messages, plan, commands with the end of their output, files, warnings.
    """
    client = session.client(start=True)

    from codex_control.safe_text import one_line
    from codex_control.v1.tasks_pb2 import TaskLogsRequest, TaskLogsResponse

    from codexctl.output import put, put_message
    from codexctl.turn_table import local_time

    request = TaskLogsRequest(id=task, after_seq=after_seq, follow=follow)
    for line in client.messages("Tasks.Logs", request, TaskLogsResponse):
        if session.json:
            put_message(line)
            continue
        put(f"{local_time(line.at.seconds) or '-'} {line.attempt} {line.source:<8} {one_line(line.text, 4000)}")
        if follow:
            sys.stdout.flush()
