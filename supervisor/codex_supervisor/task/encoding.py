"""Records to what both engines keep in their rows, and back.

Long texts have columns of their own, so that what is read and written often stays small: the prompt and the schema of
the request, which never change, and the answer of the result.
"""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from codex_supervisor.task.records import NewEvent, TaskEvent, TaskRequest, TaskStatus

_request = msgspec.json.Decoder(TaskRequest)
_status = msgspec.json.Decoder(TaskStatus)


class _Stored(msgspec.Struct, frozen=True, array_like=True):
    at_ns: int
    attempt: int
    event: NewEvent


_event = msgspec.msgpack.Decoder(_Stored)


def request_to_json(request: TaskRequest) -> str:
    """Encode all but the prompt and the schema."""
    return msgspec.json.encode(replace(request, prompt="", output_schema="")).decode()


def request_from_json(encoded: str | bytes, prompt: str = "", output_schema: str = "") -> TaskRequest:
    """Decode, and put the long texts back as far as they were read."""
    request = _request.decode(encoded)
    return replace(request, prompt=prompt, output_schema=output_schema)


def status_to_json(status: TaskStatus) -> str:
    """Encode all but the answer."""
    return msgspec.json.encode(replace(status, result=replace(status.result, answer=""))).decode()


def status_from_json(encoded: str | bytes, answer: str = "") -> TaskStatus:
    """Decode, and put the answer back where it was read."""
    status = _status.decode(encoded)
    return replace(status, result=replace(status.result, answer=answer)) if answer else status


def event_to_bytes(event: NewEvent, at_ns: int, attempt: int) -> bytes:
    """Encode an event."""
    return msgspec.msgpack.encode(_Stored(at_ns, attempt, event))


def event_from_bytes(seq: int, payload: bytes) -> TaskEvent:
    """Decode an event."""
    stored = _event.decode(payload)
    return TaskEvent(seq, stored.at_ns, stored.attempt, stored.event)
