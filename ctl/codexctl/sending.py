"""Sends what becomes a turn, an ask or a review, and follows it or leaves it running."""

from __future__ import annotations

from codex_control.v1.turns_pb2 import AskRequest, ReviewRequest

from codexctl.client import Client
from codexctl.feed import TurnFeed
from codexctl.session import Session
from codexctl.showing import Showing


def send(
    session: Session,
    client: Client,
    request: AskRequest | ReviewRequest,
    showing: Showing,
    *,
    reasoning: bool | None,
    timeout: float | None,
) -> int:
    """Send `request`, with what was said of reasoning and the time limit in seconds; return the exit code."""
    if reasoning is not None:
        request.show_reasoning = reasoning
    if timeout is not None:
        request.timeout.FromNanoseconds(int(timeout * 1e9))
    feed = TurnFeed(lambda start: session.client(start=start), ask=request, interactive=request.interactive)
    feed.begin(client)

    # Only now: while the service is at work, what shows the answer is loaded.
    from codexctl.follow import detach, follow

    return detach(feed, as_json=session.json) if request.detach else follow(session, feed, showing)
