"""codexctl deny: refuse what Codex asks for."""

from __future__ import annotations

import click

from codexctl.session import Session, instance_option, verb


@click.command("deny")
@click.argument("approval", required=False)
@instance_option
@click.option("--cancel", is_flag=True, help="Interrupt the turn as well.")
@verb
def command(session: Session, approval: str | None, instance: str | None, cancel: bool) -> None:
    """Refuse APPROVAL, or the only one that is open on the instance; the turn goes on without it."""
    from codex_control.v1.turns_pb2 import DECISION_CANCEL, DECISION_DECLINE

    from codexctl.responding import send_decision

    send_decision(session, approval, instance, DECISION_CANCEL if cancel else DECISION_DECLINE, {})
