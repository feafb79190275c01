"""Begins a review; what follows it is the same as for an ask."""

from __future__ import annotations

from codex_control.errors import CodexError
from codex_control.v1.turns_pb2 import ReviewRequest, ReviewResponse

from codexctl.client import Client
from codexctl.feed import TurnFeed
from codexctl.session import Session


def begin_review(session: Session, client: Client, request: ReviewRequest) -> TurnFeed:
    """Have the review accepted and return the feed of its turn. The request's id makes a repeat harmless."""
    request.detach = True
    for answer in client.messages("Turns.Review", request, ReviewResponse):
        return TurnFeed(lambda start: session.client(start=start), turn_id=answer.event.turn_id)
    raise CodexError("the service gave no receipt for the review", next_step="`codexctl turns` shows whether it runs")
