"""codexctl ask: a turn that somebody waits for."""

from __future__ import annotations

import uuid

import click

from codexctl.completing import complete_profile
from codexctl.session import DURATION, Session, instance_option, starting_verb


@click.command("ask")
@click.argument("text", required=False)
@instance_option
@click.option("--profile", shell_complete=complete_profile, help="Profile for this turn only.")
@click.option("--image", "images", multiple=True, metavar="FILE", help="Send an image along; may be repeated.")
@click.option("--cwd", metavar="DIR", help="Working directory of the turn.")
@click.option("--schema", metavar="FILE", help="JSON Schema that the answer has to fit.")
@click.option(
    "--final-only/--details", default=None, help="Show the final answer alone, or commands, files and commentary too."
)
@click.option("--reasoning/--no-reasoning", default=None, help="Reasoning summaries for this turn.")
@click.option("--stream", is_flag=True, help="In a pipe, write the text as it comes, also what is void later.")
@click.option("--detach", is_flag=True, help="Print the turn's id and leave; the turn goes on.")
@click.option("--timeout", type=DURATION, metavar="TIME", help="Time limit of the turn: 90, 90s, 5m, 2h.")
@click.option("--interrupt-on-cancel", is_flag=True, help="Interrupt the turn when codexctl goes away.")
@click.option(
    "--interactive/--no-interactive",
    default=None,
    help="Whether a person answers what Codex asks, here or with codexctl approve. Default: on a terminal.",
)
@click.option("--request-id", metavar="ID", help="The request's own id: asking again with it attaches to its turn.")
@starting_verb
def command(
    session: Session,
    text: str | None,
    instance: str | None,
    profile: str | None,
    images: tuple[str, ...],
    cwd: str | None,
    schema: str | None,
    final_only: bool | None,
    reasoning: bool | None,
    stream: bool,
    detach: bool,
    timeout: float | None,
    interrupt_on_cancel: bool,
    interactive: bool | None,
    request_id: str | None,
) -> int:
    """Ask Codex TEXT (- or nothing: standard input) and show the answer.

    An instance that is new works in --cwd, else in the git root of the working directory, and keeps to that.

    In a pipe, stdout gets the final answer and nothing else, and only where the turn completed. Everything about it
    goes to stderr, the turn's id first. Ctrl-C interrupts the turn and waits for its record; a second one leaves.
    """
    from codexctl.instance_ref import resolve_instance
    from codexctl.prompt_input import (
        check_request_id,
        checked_directory,
        checked_images,
        checked_schema,
        read_text,
    )

    named = resolve_instance(instance, session.environ)
    prompt = read_text(text)
    image_paths, directory, schema_text = checked_images(images), checked_directory(cwd), checked_schema(schema)
    check_request_id(request_id)

    from codex_control.v1.turns_pb2 import AskRequest

    from codexctl.sending import send
    from codexctl.showing import Showing
    from codexctl.turn_directory import fallback_directory

    client = session.client(start=True)
    showing = Showing(final_only, stream, interactive if not session.json else bool(interactive))
    request = AskRequest(
        instance=named.ref(),
        request_id=request_id or str(uuid.uuid4()),
        prompt=prompt,
        images=image_paths,
        cwd=directory,
        fallback_cwd=fallback_directory(named),
        profile=profile or "",
        output_schema=schema_text,
        interactive=showing.says_interactive and not detach,
        interrupt_on_cancel=interrupt_on_cancel,
        detach=detach,
    )
    return send(session, client, request, showing, reasoning=reasoning, timeout=timeout)
