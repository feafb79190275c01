"""codexctl task cancel: end a task."""

from __future__ import annotations

import click

from codexctl.completing import task_argument
from codexctl.session import Session, starting_verb


@click.command("cancel")
@task_argument("pending", "running")
@click.option("--reason", metavar="TEXT", default="", help="Why, for whoever reads its record.")
@starting_verb
def command(session: Session, task: str, reason: str) -> None:
    """End TASK: a pending one at once, a running one as soon as Codex has stopped.

    What it changed stays changed, and a worktree stays for a look. Tasks after it end too. One that has ended stays as
    it is.
    """
    from codex_control.v1.tasks_pb2 import CancelTaskRequest, CancelTaskResponse

    from codexctl.output import put, put_message
    from codexctl.task_calls import call_safely
    from codexctl.task_listing import get_task
    from codexctl.task_table import ended_text, has_ended, standing

    had_ended = not session.json and has_ended(get_task(session, task))
    request = CancelTaskRequest(id=task, reason=reason)
    answer = call_safely(session, "Tasks.Cancel", request, CancelTaskResponse).task
    if session.json:
        put_message(answer)
    elif had_ended:
        put(f"{answer.id} had ended already: {ended_text(answer)}")
    elif has_ended(answer):
        put(f"{answer.id} {ended_text(answer)}")
    else:
        put(f"{answer.id} {standing(answer)} · wait for its end with: codexctl task wait {answer.id}")
