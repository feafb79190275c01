"""codexctl steer: add text to the running turn."""

from __future__ import annotations

import click

from codexctl.completing import complete_turn
from codexctl.session import Session, instance_option, verb


@click.command("steer")
@click.argument("text", required=False)
@instance_option
@click.option(
    "--turn",
    metavar="TURN",
    shell_complete=complete_turn,
    help="The turn; the instance's running turn where not given.",
)
@verb
def command(session: Session, text: str | None, instance: str | None, turn: str | None) -> None:
    """Add TEXT (- or nothing: standard input) to the turn that runs."""
    from codexctl.instance_ref import resolve_instance
    from codexctl.prompt_input import read_text

    words = read_text(text, what="text")

    from codex_control.v1.turns_pb2 import SteerRequest, SteerResponse

    from codexctl.output import put, put_message

    request = (
        SteerRequest(turn_id=turn, text=words)
        if turn
        else SteerRequest(instance=resolve_instance(instance, session.environ).ref(), text=words)
    )
    answer = session.client(start=False).call("Turns.Steer", request, SteerResponse)
    if session.json:
        put_message(answer)
    else:
        put(f"turn {answer.turn_id} has the text")
