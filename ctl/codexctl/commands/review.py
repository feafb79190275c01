"""codexctl review: a turn in which Codex reviews changes."""

from __future__ import annotations

import uuid

import click

from codexctl.completing import complete_profile
from codexctl.session import DURATION, Session, instance_option, starting_verb


@click.command("review")
@click.argument("focus", nargs=-1)
@instance_option
@click.option("--base", metavar="REF", help="Review what the working tree changes against this branch, tag or commit.")
@click.option("--commit", metavar="SHA", help="Review what this commit changes.")
@click.option("--profile", shell_complete=complete_profile, help="Profile for this review only.")
@click.option("--cwd", metavar="DIR", help="Working directory of the review.")
@click.option(
    "--final-only/--details", default=None, help="Show the review alone, or commands and what Codex says meanwhile too."
)
@click.option("--reasoning/--no-reasoning", default=None, help="Reasoning summaries for this review.")
@click.option("--detach", is_flag=True, help="Print the turn's id and leave; the review goes on.")
@click.option("--timeout", type=DURATION, metavar="TIME", help="Time limit of the review: 90, 90s, 5m, 2h.")
@click.option("--interrupt-on-cancel", is_flag=True, help="Interrupt the review when codexctl goes away.")
@click.option(
    "--interactive/--no-interactive",
    default=None,
    help="Whether a person answers what Codex asks, here or with codexctl approve. Default: on a terminal.",
)
@click.option("--request-id", metavar="ID", help="The request's own id: asking again with it attaches to its turn.")
@starting_verb
def command(
    session: Session,
    focus: tuple[str, ...],
    instance: str | None,
    base: str | None,
    commit: str | None,
    profile: str | None,
    cwd: str | None,
    final_only: bool | None,
    reasoning: bool | None,
    detach: bool,
    timeout: float | None,
    interrupt_on_cancel: bool,
    interactive: bool | None,
    request_id: str | None,
) -> int:
    """Have Codex review what is not committed, or what --base or --commit name, and show the review.

    FOCUS is free text (- for standard input): what to mind above all. The output is that of codexctl ask.
    """
    from codex_control.errors import BadInput

    from codexctl.instance_ref import resolve_instance
    from codexctl.prompt_input import check_request_id, checked_directory, read_text
    from codexctl.revision import check_revision

    if base is not None and commit is not None:
        raise BadInput("--base and --commit are given", next_step="give one of them")
    named = resolve_instance(instance, session.environ)
    text = read_text(" ".join(focus), what="focus") if focus else ""
    directory = checked_directory(cwd)
    check_request_id(request_id)
    # Where else the review runs, only the service knows.
    where = directory or (named.value if named.kind == "workspace" else "")
    for name in (base, commit):
        if name is not None:
            check_revision(name, where)

    from codex_control.v1.turns_pb2 import ReviewRequest, ReviewTarget

    from codexctl.sending import send
    from codexctl.showing import Showing
    from codexctl.turn_directory import fallback_directory

    client = session.client(start=True)
    showing = Showing(final_only, False, interactive if not session.json else bool(interactive))
    target = ReviewTarget(uncommitted=True)
    if base is not None:
        target = ReviewTarget(base=base)
    elif commit is not None:
        target = ReviewTarget(commit=commit)
    request = ReviewRequest(
        instance=named.ref(),
        request_id=request_id or str(uuid.uuid4()),
        target=target,
        focus=text,
        cwd=directory,
        fallback_cwd=fallback_directory(named),
        profile=profile or "",
        interactive=showing.says_interactive and not detach,
        interrupt_on_cancel=interrupt_on_cancel,
        detach=detach,
    )
    return send(session, client, request, showing, reasoning=reasoning, timeout=timeout)
