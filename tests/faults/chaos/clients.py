"""Clients that behave as codexctl does: a lost connection is renewed with the same request id, after the last event."""

from __future__ import annotations

import asyncio
import enum
import random
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import grpc.aio
from codex_control.v1 import instances_pb2, turns_pb2, turns_pb2_grpc

from tests.faults.chaos.questions import Question

# As codexctl: see codexctl/feed.py and codexctl/failures.py.
LOST = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
RESET_MARKS = ("RST_STREAM", "Stream removed")
FIRST_WAIT_S = 0.05
LONGEST_WAIT_S = 1.0
# An answer takes seconds. A client that gets none for so long has found a turn that hangs.
PATIENCE_S = 120.0


class Manner(enum.Enum):
    """How a client asks."""

    STAYS = "stays"
    """Follows the turn to its end."""
    DETACHES = "detaches"
    """Leaves after the receipt, and attaches later."""
    LEAVES = "leaves"
    """Goes away in the middle without a word, and attaches later."""
    TWICE = "twice"
    """Sends the same request over two connections at the same time."""
    INTERRUPTS = "interrupts"
    """Changes its mind."""


MANNERS = tuple(Manner)
WEIGHTS = (12, 2, 2, 2, 1)


@dataclass
class Followed:
    """The events that came over one client's connections, as they came."""

    events: list[turns_pb2.TurnEvent] = field(default_factory=list)

    @property
    def last_seq(self) -> int:
        """Where to go on."""
        return self.events[-1].seq if self.events else 0

    @property
    def ended(self) -> bool:
        """Whether the outcome came."""
        return bool(self.events) and self.events[-1].HasField("ended")


@dataclass
class Asked:
    """One ask: what was wanted and what came of it."""

    question: Question
    instance: str
    manner: Manner
    request_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    feeds: list[Followed] = field(default_factory=list)
    refused: str = ""
    """What the service said, where it did not take the ask."""
    failure: str = ""
    """Why the client has no outcome, where it has none."""
    lost_connections: int = 0

    @property
    def turn_id(self) -> str:
        """The turn's id; empty where no receipt came."""
        return next((feed.events[0].turn_id for feed in self.feeds if feed.events), "")


class Client:
    """One client: asks one question after the other until `until` (monotonic)."""

    def __init__(self, socket: Path, cwd: str, chance: random.Random) -> None:
        self._socket = socket
        self._cwd = cwd
        self._chance = chance

    async def ask(self, asked: Asked) -> None:
        """Ask, in its manner, and come back until the outcome is there."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                await self._ask(asked)
        except TimeoutError:
            kinds = [[event.WhichOneof("event") for event in feed.events[-3:]] for feed in asked.feeds]
            asked.failure = f"no outcome after {PATIENCE_S:g} s; the last events were {kinds}"
        except grpc.aio.AioRpcError as error:
            sentence = f"{error.code().name}: {error.details()}"
            if asked.turn_id or error.code() not in (
                grpc.StatusCode.RESOURCE_EXHAUSTED,
                grpc.StatusCode.FAILED_PRECONDITION,
            ):
                asked.failure = sentence
            else:
                asked.refused = sentence

    async def _ask(self, asked: Asked) -> None:
        match asked.manner:
            case Manner.STAYS:
                await self._follow(asked, self._feed(asked))
            case Manner.DETACHES:
                await self._follow(asked, self._feed(asked), detach=True)
                await asyncio.sleep(self._chance.uniform(0, 2))
                await self._follow(asked, self._feed(asked), attach=True)
            case Manner.LEAVES:
                leaving = self._follow(asked, self._feed(asked), leave_after=self._chance.randint(1, 8))
                await leaving
                await asyncio.sleep(self._chance.uniform(0, 2))
                await self._follow(asked, asked.feeds[0])
            case Manner.TWICE:
                await asyncio.gather(
                    self._follow(asked, self._feed(asked)),
                    self._follow(asked, self._feed(asked)),
                )
            case Manner.INTERRUPTS:
                feed = self._feed(asked)
                await self._follow(asked, feed, leave_after=self._chance.randint(1, 6))
                if not feed.ended:
                    await self._interrupt(asked)
                await self._follow(asked, feed)

    def _feed(self, asked: Asked) -> Followed:
        asked.feeds.append(Followed())
        return asked.feeds[-1]

    async def _follow(
        self, asked: Asked, feed: Followed, *, detach: bool = False, attach: bool = False, leave_after: int = 0
    ) -> None:
        """Collect events into `feed` to the end, the receipt (`detach`) or a number of them (`leave_after`)."""
        wait_s = FIRST_WAIT_S
        came = 0
        while not feed.ended:
            try:
                async with aclosing(self._events(asked, feed, attach=attach, detach=detach)) as events:
                    async for event in events:
                        feed.events.append(event)
                        came += 1
                        wait_s = FIRST_WAIT_S
                        if detach or came == leave_after or event.HasField("ended"):
                            return
            except grpc.aio.AioRpcError as error:
                if not is_lost(error):
                    raise
            asked.lost_connections += 1
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    async def _events(
        self, asked: Asked, feed: Followed, *, attach: bool, detach: bool
    ) -> AsyncGenerator[turns_pb2.TurnEvent, None]:
        async with self._channel() as channel:
            turns = turns_pb2_grpc.TurnsStub(channel)
            if feed.last_seq or attach:
                wanted = turns_pb2.AttachRequest(turn_id=asked.turn_id or asked.request_id, after_seq=feed.last_seq)
                call = turns.Attach(wanted)
            else:
                call = turns.Ask(
                    turns_pb2.AskRequest(
                        instance=instances_pb2.InstanceRef(id=asked.instance),
                        request_id=asked.request_id,
                        prompt=asked.question.prompt,
                        cwd=self._cwd,
                        detach=detach,
                    )
                )
            try:
                async for answer in call:
                    yield answer.event
            finally:
                call.cancel()

    async def _interrupt(self, asked: Asked) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            async with self._channel() as channel:
                try:
                    await turns_pb2_grpc.TurnsStub(channel).Interrupt(
                        turns_pb2.InterruptRequest(turn_id=asked.turn_id), timeout=30
                    )
                except grpc.aio.AioRpcError as error:
                    if error.code() == grpc.StatusCode.FAILED_PRECONDITION:
                        return  # it had ended
                    if not is_lost(error):
                        raise
                else:
                    return
            await asyncio.sleep(FIRST_WAIT_S)

    def _channel(self) -> grpc.aio.Channel:
        options = [
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
            ("grpc.max_receive_message_length", -1),
        ]
        return grpc.aio.insecure_channel(f"unix:{self._socket}", options=options)


def is_lost(error: grpc.aio.AioRpcError) -> bool:
    """Whether the connection broke, as opposed to the service having answered with an error."""
    trailing = error.trailing_metadata() or ()
    if any(key == "grpc-status-details-bin" for key, _ in trailing):
        return False
    return error.code() in LOST or any(mark in (error.details() or "") for mark in RESET_MARKS)
