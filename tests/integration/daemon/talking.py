"""What tests say about calls of the API: their errors, and the order of their events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc
import grpc.aio
from codex_control.errors import ERROR_DOMAIN, all_errors
from codex_control.v1 import turns_pb2
from google.rpc import error_details_pb2
from grpc_status import rpc_status

Events = list[turns_pb2.TurnEvent]


@dataclass
class Refusal:
    """An error as a program sees it."""

    status: str = ""
    message: str = ""
    reason: str = ""
    what: str = ""
    why: str = ""
    next_step: str = ""


def refusal_of(error: grpc.aio.AioRpcError) -> Refusal:
    """Read the details of an error; every error of ours has them."""
    status = rpc_status.from_call(error)  # type: ignore[arg-type]
    assert status is not None, f"an error without details: {error.code()} {error.details()}"
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.domain == ERROR_DOMAIN
    known = all_errors().get(info.reason)
    assert known is None or known.status == error.code().name
    assert set(info.metadata) == {"what", "why", "next"}
    assert info.metadata["what"]
    return Refusal(
        error.code().name,
        error.details() or "",
        info.reason,
        info.metadata["what"],
        info.metadata["why"],
        info.metadata["next"],
    )


@asynccontextmanager
async def is_error(status: str, *, optional: bool = False) -> AsyncIterator[Refusal]:
    """Expect the block to end in an error with this gRPC status; what it says is there afterwards."""
    refusal = Refusal()
    try:
        yield refusal
    except grpc.aio.AioRpcError as error:
        found = refusal_of(error)
        refusal.__dict__.update(found.__dict__)
    if not (optional and not refusal.status):
        assert refusal.status == status, f"{status} was expected, it is {refusal}"


def kinds(events: Iterable[turns_pb2.TurnEvent]) -> list[str]:
    """The kinds of events, in order."""
    return [event.WhichOneof("event") or "" for event in events]


def text_of(events: Iterable[turns_pb2.TurnEvent]) -> str:
    """The streamed text."""
    return "".join(event.text.text for event in events)


def assert_well_formed(events: Events) -> None:
    """Raise unless the events are a whole turn: a receipt first, one end last, numbers that grow."""
    assert kinds(events)[0] == "accepted"
    assert kinds(events).count("ended") == 1
    assert kinds(events)[-1] == "ended"
    numbers = [event.seq for event in events]
    assert numbers[0] == 1
    assert numbers == sorted(set(numbers))
    assert {event.turn_id for event in events} == {events[-1].ended.turn.id}
