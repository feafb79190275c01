"""The events of one turn, over lost connections and restarts of the service: nothing missed, nothing twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from codex_control.errors import ServiceUnavailable
from codex_control.paths import Paths
from codex_control.v1.turns_pb2 import (
    AskRequest,
    AskResponse,
    AttachRequest,
    AttachResponse,
    ReviewRequest,
    ReviewResponse,
    TurnEvent,
)

from codexctl.client import Client
from codexctl.failures import decode, is_lost_connection, lost_text
from codexctl.last_failure import was_told_to_end
from codexctl.light_grpc import grpc

# How long a lost service is tried again before the user gets the prompt back.
RECONNECT_LIMIT_S = 60.0
# A service manager has the service back within half a second; after this we start it ourselves.
START_AFTER_S = 3.0
# One that was told to end is not ours to start. Its manager may: a restart takes as long as its children take to end.
ENDED_AFTER_S = 10.0
_FIRST_WAIT_S = 0.05
_LONGEST_WAIT_S = 1.0


@dataclass(frozen=True)
class LinkLost:
    """The connection broke; it is tried again."""

    why: str


@dataclass(frozen=True)
class LinkBack:
    """The connection is there again, and the stream goes on where it was."""


FeedItem = TurnEvent | LinkLost | LinkBack
Responses = Iterator[AskResponse] | Iterator[ReviewResponse] | Iterator[AttachResponse]


class Reconnecting:
    """Makes a new connection in place of one that was lost.

    `connect` takes whether the service may be started and returns a client, or raises `ServiceUnavailable`.
    """

    def __init__(self, connect: Callable[[bool], Client], limit_s: float = RECONNECT_LIMIT_S) -> None:
        self._connect = connect
        self._limit_s = limit_s
        self._started_service = False

    def again(self, lost_at: float, why: str, next_step: str) -> Client:
        """Return a client, at the latest `limit_s` after `lost_at` (monotonic); else raise `ServiceUnavailable`.

        A service that somebody ended is waited for, and not started.
        """
        wait_s = _FIRST_WAIT_S
        while time.monotonic() - lost_at < self._limit_s:
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, _LONGEST_WAIT_S)
            may_start = time.monotonic() - lost_at > START_AFTER_S and not self._started_service
            if may_start and was_told_to_end(Paths.from_environment()):
                may_start = False
                if time.monotonic() - lost_at > ENDED_AFTER_S:
                    why = "somebody ended it; what it was asked stays recorded, and is carried on by the next one"
                    raise ServiceUnavailable(
                        "the service was ended", why=why, next_step=f"`codexctl start` starts it; {next_step}"
                    )
            self._started_service |= may_start
            try:
                return self._connect(may_start)
            except ServiceUnavailable as error:
                why = error.why or error.what
        raise ServiceUnavailable("the connection to the service was lost", why=why, next_step=next_step)


class TurnFeed:
    """Iterate to get a turn's events; a broken connection is renewed and the stream carried on.

    `connect` takes whether the service may be started and returns a client, or raises `ServiceUnavailable`. With
    `ask`, the turn or the review is asked for; its `request_id` makes a repeat attach to the same turn. Without,
    `turn_id` is attached to. The iteration ends after the turn's last event, or after the receipt where `ask.detach`.
    """

    def __init__(
        self,
        connect: Callable[[bool], Client],
        *,
        ask: AskRequest | ReviewRequest | None = None,
        turn_id: str = "",
        after_seq: int = 0,
        interactive: bool = False,
        limit_s: float = RECONNECT_LIMIT_S,
    ) -> None:
        self._connect = connect
        self._ask = ask
        self._interactive = interactive
        self._reconnecting = Reconnecting(connect, limit_s)
        self._client: Client | None = None
        self._responses: Responses = iter(())
        self.turn_id = turn_id
        self.last_seq = after_seq

    @property
    def attach_id(self) -> str:
        """What `codexctl attach` finds the turn by: the turn's id, before the receipt the request's."""
        return self.turn_id or (self._ask.request_id if self._ask else "")

    def begin(self, client: Client) -> None:
        """Send the request; what is imported after this costs no time, for Codex works meanwhile."""
        self._client = client
        self._responses = self._open(client)

    def __iter__(self) -> Iterator[FeedItem]:
        if self._client is None:
            self.begin(self._connect(True))
        lost_at: float | None = None
        while True:
            try:
                for event in self._events():
                    if lost_at is not None:
                        lost_at = None
                        yield LinkBack()
                    yield event
                    if event.WhichOneof("event") == "ended" or (self._ask is not None and self._ask.detach):
                        return
                why = "the service closed the stream"
            except grpc.RpcError as error:
                if not is_lost_connection(error):
                    raise decode(error) from error
                why = lost_text(error)
            if lost_at is None:
                lost_at = time.monotonic()
                yield LinkLost(why)
            if self._client is not None:
                self._client.close()
            hint = f"`codexctl attach {self.attach_id}` shows the turn when the service runs again"
            self._client = self._reconnecting.again(lost_at, why, hint)
            self._responses = self._open(self._client)

    def _events(self) -> Iterator[TurnEvent]:
        for response in self._responses:
            event = response.event
            if event.seq > self.last_seq:
                self.last_seq = event.seq
                self.turn_id = event.turn_id
                yield event

    def _open(self, client: Client) -> Responses:
        if not self.last_seq:
            match self._ask:
                case AskRequest():
                    return iter(client.stream("Turns.Ask", self._ask, AskResponse))
                case ReviewRequest():
                    return iter(client.stream("Turns.Review", self._ask, ReviewResponse))
                case None:
                    pass
        request = AttachRequest(turn_id=self.turn_id, after_seq=self.last_seq, interactive=self._interactive)
        return iter(client.stream("Turns.Attach", request, AttachResponse))
