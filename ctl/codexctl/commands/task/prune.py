"""codexctl task prune: forget tasks that have ended."""

from __future__ import annotations

import click

from codexctl.completing import complete_task
from codexctl.session import DURATION, Session, starting_verb


@click.command("prune")
@click.argument("tasks", nargs=-1, shell_complete=complete_task)
@click.option("--older-than", type=DURATION, metavar="TIME", help="Only those that ended so long ago: 12h, 7d.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(("done", "error", "timeout"), case_sensitive=False),
    help="Only these; repeatable.",
)
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@starting_verb
def command(
    session: Session, tasks: tuple[str, ...], older_than: float | None, states: tuple[str, ...], yes: bool
) -> None:
    """Forget TASKS, or all that have ended, with their answers and events.

    State files stay, and so does a worktree that holds anything new; one that holds nothing of its own is removed soon
    after.
    """
    from codexctl.confirming import confirm

    which = f"{len(tasks)} tasks" if tasks else "all tasks that have ended"
    confirm(f"Forget {which}{' and fit the options' if older_than or states else ''}?", yes=yes, what="tasks")
    client = session.client(start=True)

    from codex_control.v1.tasks_pb2 import PruneTasksRequest, PruneTasksResponse

    from codexctl.output import put, put_message, say

    request = PruneTasksRequest(ids=tasks, states=[f"TASK_STATE_{state.upper()}" for state in states])
    if older_than is not None:
        request.older_than.FromNanoseconds(int(older_than * 1e9))
    # A hundred thousand tasks take their time.
    answer = client.call("Tasks.Prune", request, PruneTasksResponse, timeout_s=600)
    if session.json:
        put_message(answer)
    else:
        put(f"{answer.pruned} {'task is' if answer.pruned == 1 else 'tasks are'} forgotten")
        if answer.pruned:
            say("their worktrees that hold nothing of their own are removed soon")
