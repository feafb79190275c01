"""codexctl turns: the turns that wait, run and ended."""

from __future__ import annotations

import click

from codexctl.session import Session, instance_option, starting_verb


@click.command("turns")
@instance_option
@click.option("--all", "all_instances", is_flag=True, help="Of all instances.")
@click.option("--state", "states", multiple=True, type=click.Choice(["queued", "running", "ended"]), help="Only these.")
@click.option("-n", "--limit", type=click.IntRange(1, 500), default=20, show_default=True, help="At most so many.")
@starting_verb
def command(session: Session, instance: str | None, all_instances: bool, states: tuple[str, ...], limit: int) -> None:
    """List turns, newest first.

    The service alone reads them, so it is started where it does not run.
    """
    from codexctl.instance_ref import resolve_instance

    ref = None if all_instances else resolve_instance(instance, session.environ)
    client = session.client(start=True)

    from codex_control.v1.turns_pb2 import ListTurnsRequest, ListTurnsResponse

    from codexctl import turn_table
    from codexctl.output import put, put_message

    request = ListTurnsRequest(
        instance=ref.ref() if ref else None,
        states=[f"TURN_STATE_{state.upper()}" for state in states],
        page_size=limit,
    )
    turns = client.call("Turns.List", request, ListTurnsResponse).turns
    if session.json:
        for turn in turns:
            put_message(turn)
    elif turns:
        turn_table.put_turns(turns, all_instances=all_instances)
    else:
        put("no turns")
