"""Sends the decision of `approve` and `deny`."""

from __future__ import annotations

from collections.abc import Mapping

from codex_control.v1.turns_pb2 import Decision, RespondRequest, RespondResponse

from codexctl.instance_ref import resolve_instance
from codexctl.output import put, put_message
from codexctl.session import Session


def send_decision(
    session: Session, approval: str | None, instance: str | None, decision: Decision, answers: Mapping[str, str]
) -> None:
    """Answer `approval`, or the only open one of the instance, and print which one it was."""
    request = RespondRequest(decision=decision, answers=answers)
    if approval:
        request.approval_id = approval
    else:
        request.instance.CopyFrom(resolve_instance(instance, session.environ).ref())
    answer = session.client(start=False).call("Turns.Respond", request, RespondResponse)
    if session.json:
        put_message(answer)
    else:
        put(f"{answer.approval_id} is answered")
