"""codexctl task result: what came of a task."""

from __future__ import annotations

import sys

import click

from codexctl.completing import task_argument
from codexctl.session import Session, starting_verb


@click.command("result")
@task_argument()
@starting_verb
def command(session: Session, task: str) -> int:
    """Print the answer of TASK; how it ended goes to stderr. With --json all of it goes to stdout.

    Exit codes: 0 DONE, 1 ERROR, 6 cancelled, 8 TIMEOUT, 11 it has not ended. Stdout holds the answer only where the
    task is DONE; an incomplete one goes to stderr.
    """
    from codex_control.errors import Exit, NotEnded
    from codex_control.safe_text import strip_controls

    from codexctl.output import put_message, say
    from codexctl.task_listing import get_task
    from codexctl.task_table import ended_text, exit_code, has_ended, standing

    found = get_task(session, task)
    if not has_ended(found):
        raise NotEnded(
            f"task {found.id} has not ended",
            why=f"it is {standing(found)}",
            next_step=f"wait for it with `codexctl task wait {found.id}`",
        )
    code = exit_code(found)
    if session.json:
        put_message(found)
        return code
    answer = found.result.answer
    if code is Exit.OK:
        _put_answer(answer)
    elif answer:
        say("the answer so far, incomplete:")
        say("\n".join("    " + line for line in strip_controls(answer).splitlines()))
    say(f"{found.id} {ended_text(found)}")
    for path in found.result.files_changed:
        say(f"changed: {path}")
    return code


def _put_answer(answer: str) -> None:
    if not sys.stdout.isatty():
        sys.stdout.write(answer if answer.endswith("\n") else answer + "\n")
        sys.stdout.flush()
        return
    from codex_control.safe_text import strip_controls
    from rich.console import Console
    from rich.markdown import Markdown

    # No OSC 8 links: the address that a model wrote has to be seen before it is opened.
    Console(highlight=False, markup=False, emoji=False).print(Markdown(strip_controls(answer), hyperlinks=False))
