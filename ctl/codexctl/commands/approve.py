"""codexctl approve: allow what Codex asks for, or answer its questions."""

from __future__ import annotations

from collections.abc import Iterable

import click

from codexctl.session import Session, instance_option, verb


@click.command("approve")
@click.argument("approval", required=False)
@instance_option
@click.option("--session", "for_session", is_flag=True, help="Allow the same until the child ends.")
@click.option("--answer", "answers", multiple=True, metavar="ID=TEXT", help="Answer to a question; may be repeated.")
@verb
def command(
    session: Session, approval: str | None, instance: str | None, for_session: bool, answers: tuple[str, ...]
) -> None:
    """Allow APPROVAL, or the only one that is open on the instance."""
    given = _pairs(answers)

    from codex_control.v1.turns_pb2 import DECISION_ACCEPT, DECISION_ACCEPT_FOR_SESSION

    from codexctl.responding import send_decision

    decision = DECISION_ACCEPT_FOR_SESSION if for_session else DECISION_ACCEPT
    send_decision(session, approval, instance, decision, given)


def _pairs(answers: Iterable[str]) -> dict[str, str]:
    from codex_control.errors import BadInput

    pairs = {}
    for answer in answers:
        question, equals, text = answer.partition("=")
        if not equals or not question:
            raise BadInput(f"'{answer}' is no answer", next_step="write --answer ID=TEXT with the question's id")
        pairs[question] = text
    return pairs
