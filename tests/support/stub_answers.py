"""What the stub behind the gateway answers: whole and as a stream, in three dialects, with the faults of its knobs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import msgspec

Dies = Literal["", "before", "head", "first_byte", "middle"]


@dataclass(frozen=True)
class Knobs:
    """What is done with one request."""

    dies: Dies = ""
    """Cuts the connection: before anything, after the head, in the first event, in the middle of the stream."""
    status: int = 200
    body: bytes | None = None
    """The whole body in place of an answer."""
    headers: tuple[tuple[str, str], ...] = ()
    first_delay_s: float = 0.0
    """Before the head."""
    stalls: Literal["", "head", "middle", "end"] = ""
    """Says nothing any more: before the head, after the first half, or after the last event, before the body's end."""
    events: int = 4
    """Text events of a stream."""
    event_bytes: int = 5
    """Characters of text in each."""
    gap_s: float = 0.0
    """Between two events."""
    malformed: bool = False
    """An event in mid-stream that is no JSON."""
    overloaded: bool = False
    """200, and the first event of the stream is an overload error."""
    begins: bool = False
    """With `overloaded`: the events without content come before the error, as many endpoints send them."""
    bare: bool = False
    """The stream's last event lacks its blank line."""
    empty: bool = False
    """The stream has no event at all."""
    whole: bool = False
    """Gives a whole answer where a stream was asked for."""
    fails_midway: bool = False
    """The overload error comes in the middle of the stream, and the stream ends."""
    chunk_bytes: int = 0
    """Cuts what it sends into pieces of this size, each a write of its own."""
    garbage: bool = False
    """Answers with something that is no HTTP."""
    answer_id: str = "1"
    """The end of the answer's id."""
    no_end: bool = False
    """Leaves the stream's last events out, and closes cleanly."""


@dataclass
class Seen:
    """One request as it came."""

    method: str
    path: str
    headers: dict[str, str]
    """By name in lower case."""
    body: bytes
    cancelled: bool = False
    """The client closed the connection before the answer was whole."""
    connection: int = 0
    sent_bytes: int = 0

    @property
    def json(self) -> Any:
        """The body, decoded."""
        return msgspec.json.decode(self.body)


def _sse(value: Any, name: str = "") -> bytes:
    line = b"data: " + msgspec.json.encode(value) + b"\n\n"
    return b"event: " + name.encode() + b"\n" + line if name else line


class _Model(msgspec.Struct):
    model: str = "stub"


_read_model = msgspec.json.Decoder(_Model).decode


def model_of(seen: Seen) -> str:
    """The model that a request names."""
    try:
        return _read_model(seen.body).model
    except msgspec.MsgspecError:
        return "stub"


def whole_answer(seen: Seen, knobs: Knobs) -> bytes:
    """The answer of a request that does not stream."""
    text = "x" * (knobs.events * knobs.event_bytes)
    model, path = model_of(seen), seen.path.partition("?")[0]
    number = knobs.answer_id
    value: dict[str, Any]
    if path.endswith("/count_tokens"):
        value = {"input_tokens": 42}
    elif path.endswith("/messages"):
        value = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [{"type": "text", "text": text}],
            "stop_reason": "end_turn",
            "stop_sequence": None,
            "usage": {"input_tokens": 9, "output_tokens": 12},
        }
    elif path.endswith("/responses"):
        value = _response(model, text, "completed")
    else:
        value = {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1700000000,
            "model": model,
            "choices": [
                {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"},
            ],
            "usage": {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21},
        }
    return msgspec.json.encode(value)


def _response(model: str, text: str, status: str) -> dict[str, Any]:
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": text, "annotations": []}],
    }
    usage = {
        "input_tokens": 9,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 12,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": 21,
    }
    done = status == "completed"
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1700000000,
        "status": status,
        "model": model,
        "output": [item] if done else [],
        "usage": usage if done else None,
        "error": None,
        "incomplete_details": None,
    }


def stream_events(path: str, knobs: Knobs, model: str) -> list[bytes]:
    """The events of a stream, each as its bytes."""
    text = "x" * knobs.event_bytes
    path = path.partition("?")[0]
    if path.endswith("/messages"):
        begin, middle, end = _messages_stream(text, knobs.events, model)
    elif path.endswith("/responses"):
        begin, middle, end = _responses_stream(text, knobs.events, model)
    else:
        begin, middle, end = _chat_stream(text, knobs.events, model, knobs.answer_id)
    if knobs.empty:
        return [b": hello\n\n"]
    error = _OVERLOADED[path.rsplit("/", 1)[-1]]
    if knobs.overloaded:
        return [*(begin[:1] if knobs.begins else ()), error.removesuffix(b"\n\n") if knobs.bare else error]
    if knobs.fails_midway:
        return [*begin, *middle, error]
    if knobs.bare:
        end[-1] = end[-1].removesuffix(b"\n\n")
    if knobs.malformed:
        middle.insert(len(middle) // 2, b"data: {this is no JSON\n\n")
    return begin + middle + ([] if knobs.no_end else end)


_OVERLOADED = {
    "messages": _sse({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "error"),
    "completions": _sse({"error": {"message": "overloaded", "type": "server_error", "code": "overloaded"}}),
    "responses": _sse(
        {
            "type": "response.failed",
            "sequence_number": 0,
            "response": {
                "id": "resp_1",
                "object": "response",
                "status": "failed",
                "output": [],
                "error": {"code": "server_is_overloaded", "message": "overloaded"},
            },
        },
        "response.failed",
    ),
}

_Parts = tuple[list[bytes], list[bytes], list[bytes]]


def _chat_stream(text: str, count: int, model: str, number: str) -> _Parts:
    def piece(delta: dict[str, Any], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        head = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1700000000, "model": model}
        return _sse({**head, "choices": [choice]})

    usage = {"prompt_tokens": 9, "completion_tokens": 12, "total_tokens": 21}
    last = {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1700000000, "model": model}
    return (
        [piece({"role": "assistant", "content": ""})],
        [piece({"content": text}) for _ in range(count)],
        [piece({}, "stop"), _sse({**last, "choices": [], "usage": usage}), b"data: [DONE]\n\n"],
    )


def _messages_stream(text: str, count: int, model: str) -> _Parts:
    message: dict[str, Any] = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 9, "output_tokens": 1},
    }
    delta = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
    block = {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    stop = {
        "type": "message_delta",
        "delta": {"stop_reason": "end_turn", "stop_sequence": None},
        "usage": {"output_tokens": 12},
    }
    return (
        [_sse({"type": "message_start", "message": message}, "message_start"), _sse(block, "content_block_start")],
        [_sse(delta, "content_block_delta") for _ in range(count)],
        [
            _sse({"type": "content_block_stop", "index": 0}, "content_block_stop"),
            _sse(stop, "message_delta"),
            _sse({"type": "message_stop"}, "message_stop"),
        ],
    )


def _responses_stream(text: str, count: int, model: str) -> _Parts:
    number = 0

    def event(kind: str, **values: Any) -> bytes:
        nonlocal number
        number += 1
        return _sse({"type": kind, "sequence_number": number - 1, **values}, kind)

    whole = text * count
    part = {"type": "output_text", "text": "", "annotations": []}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    begin = [
        event("response.created", response=_response(model, "", "in_progress")),
        event("response.output_item.added", output_index=0, item=item),
        event("response.content_part.added", **place, part=part),
    ]
    middle = [event("response.output_text.delta", **place, delta=text, logprobs=[]) for _ in range(count)]
    done = _response(model, whole, "completed")
    end = [
        event("response.output_text.done", **place, text=whole, logprobs=[]),
        event("response.content_part.done", **place, part={**part, "text": whole}),
        event("response.output_item.done", output_index=0, item=done["output"][0]),
        event("response.completed", response=done),
    ]
    return begin, middle, end
