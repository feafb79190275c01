"""codexctl task retry: try a task again."""

from __future__ import annotations

import click

from codexctl.completing import task_argument
from codexctl.session import Session, starting_verb


@click.command("retry")
@task_argument("error", "timeout")
@starting_verb
def command(session: Session, task: str) -> None:
    """Try TASK again, which ended without success.

    It goes on with its own thread; it does not start over.
    """
    from codex_control.v1.tasks_pb2 import RetryTaskRequest, RetryTaskResponse

    from codexctl.output import put, put_message
    from codexctl.task_table import standing

    answer = session.client(start=True).call("Tasks.Retry", RetryTaskRequest(id=task), RetryTaskResponse).task
    if session.json:
        put_message(answer)
    else:
        put(f"{answer.id} {standing(answer)}")
