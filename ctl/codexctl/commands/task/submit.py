"""codexctl task submit: a turn that nobody has to wait for."""

from __future__ import annotations

import click

from codexctl.completing import complete_directory, complete_file, complete_profile, complete_task
from codexctl.session import DURATION, Session, starting_verb


@click.command("submit")
@click.argument("text", required=False)
@click.option("--id", "task_id", metavar="ID", help="The task's own id; submitting the same again finds the same task.")
@click.option(
    "--cwd",
    metavar="DIR",
    shell_complete=complete_directory,
    help="Working directory. Default: the git root of this one.",
)
@click.option(
    "--priority",
    metavar="N",
    type=click.IntRange(-1000, 1000),
    default=0,
    show_default=True,
    help="Higher runs first; equal ones run in the order of their submission.",
)
@click.option("--timeout", type=DURATION, metavar="TIME", help="Time limit from its first start, retries included.")
@click.option(
    "--retries", metavar="N", type=click.IntRange(0, 1000), help="How often it is tried again after a failure."
)
@click.option(
    "--after",
    multiple=True,
    metavar="ID",
    shell_complete=complete_task,
    help="Start when this task is DONE; end when it fails. May be repeated.",
)
@click.option(
    "--profile",
    metavar="NAME",
    shell_complete=complete_profile,
    help="Profile; the configured default where it is not given.",
)
@click.option("--worktree", is_flag=True, help="Run in a git worktree of its own, made from the last commit.")
@click.option("--schema", metavar="FILE", shell_complete=complete_file, help="JSON Schema that the answer has to fit.")
@click.option("--queue", metavar="NAME", default="", help="The queue. Default: default.")
@click.option("--label", "labels", multiple=True, metavar="LABEL", help="Only on a worker with this label; repeatable.")
@click.option(
    "--state-dir",
    metavar="DIR",
    shell_complete=complete_directory,
    help="Directory of the state file. Default: .codex/tasks in --cwd.",
)
@click.option("--wait", "wait", is_flag=True, help="Then wait as codexctl task wait does.")
@starting_verb
def command(
    session: Session,
    text: str | None,
    task_id: str | None,
    cwd: str | None,
    priority: int,
    timeout: float | None,
    retries: int | None,
    after: tuple[str, ...],
    profile: str | None,
    worktree: bool,
    schema: str | None,
    queue: str,
    labels: tuple[str, ...],
    state_dir: str | None,
    wait: bool,
) -> int:
    """Hand the work TEXT over (- or nothing: standard input) and print the task's id.

    Put -- before a TEXT that begins with a dash.

    The id is printed before anything of it starts; the task is on the disk then. Without --id it is made here, so that
    a lost answer of the service leads to the same task and not to a second one.

    \b
    codexctl task submit "port the tests to pytest"
    codexctl task submit --id T-002 --after T-001 --timeout 1h - < order.txt
    """
    from codexctl.prompt_input import absolute_directory, checked_schema, read_text

    if task_id == "":
        # Mostly an unset variable; a made-up id would lose what --id is for.
        from codex_control.errors import BadInput

        raise BadInput(what="the id is empty", next_step="give --id a name, or leave it out")
    prompt = read_text(text)
    schema_text = checked_schema(schema)
    directory = absolute_directory(cwd)
    states = absolute_directory(state_dir) if state_dir is not None else ""

    from codex_control.v1.tasks_pb2 import TaskSpec

    from codexctl.output import put, put_message, say
    from codexctl.task_submit import submit

    spec = TaskSpec(
        prompt=prompt,
        cwd=directory,
        priority=priority,
        retries=retries,
        after=after,
        profile=profile or "",
        worktree=worktree,
        output_schema=schema_text,
        queue=queue,
        labels=labels,
        state_dir=states,
    )
    if timeout is not None:
        spec.timeout.FromNanoseconds(int(timeout * 1e9))
    task, existed = submit(session, spec, task_id=task_id or "")
    if existed:
        say(f"task {task.id} was submitted before; nothing new is made")
    if session.json:
        put_message(task)
    else:
        put(task.id)
    if not wait:
        return 0
    import sys

    sys.stdout.flush()
    from codexctl.task_follow import wait_for_tasks

    return wait_for_tasks(session, [task])
