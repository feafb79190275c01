"""codexctl interrupt: stop a turn."""

from __future__ import annotations

import click

from codexctl.completing import complete_turn
from codexctl.session import DURATION, Session, instance_option, verb


@click.command("interrupt")
@click.argument("turn", required=False, shell_complete=complete_turn)
@instance_option
@click.option("--timeout", type=DURATION, default="60s", show_default=True, help="Longest wait for the record.")
@verb
def command(session: Session, turn: str | None, instance: str | None, timeout: float) -> None:
    """Stop TURN, or the running turn of the instance, and wait until its outcome is recorded."""
    from codex_control.v1.turns_pb2 import InterruptRequest, InterruptResponse

    from codexctl.instance_ref import resolve_instance
    from codexctl.output import put, put_message

    request = (
        InterruptRequest(turn_id=turn)
        if turn
        else InterruptRequest(instance=resolve_instance(instance, session.environ).ref())
    )
    answer = session.client(start=False).call("Turns.Interrupt", request, InterruptResponse, timeout_s=timeout)
    if session.json:
        put_message(answer.turn)
        return
    from codexctl.view.lines import ended_line

    put(f"{answer.turn.id}: {ended_line(answer.turn)}")
