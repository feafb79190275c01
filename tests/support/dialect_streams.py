"""Whole answers of each dialect as the streams in which its maker would send them, written after the SDKs' types."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

Json = dict[str, Any]


def sse(payload: Json, name: str = "") -> bytes:
    """One event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(payload, ensure_ascii=False)}\n\n".encode()


def pieces(text: str, size: int) -> Iterator[str]:
    """`text` in fragments of `size` characters."""
    return (text[at : at + size] for at in range(0, len(text), size))


def messages_stream(message: Json, size: int = 5) -> bytes:
    """Anthropic's stream of a whole message."""
    usage = message["usage"]
    start = {
        **message,
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {**usage, "output_tokens": 1},
    }
    start.pop("stop_details", None)
    out = [sse({"type": "message_start", "message": start}, "message_start"), sse({"type": "ping"}, "ping")]
    for index, block in enumerate(message["content"]):
        begin, deltas = _messages_block(block, size)
        out.append(sse({"type": "content_block_start", "index": index, "content_block": begin}, "content_block_start"))
        out += [
            sse({"type": "content_block_delta", "index": index, "delta": delta}, "content_block_delta")
            for delta in deltas
        ]
        out.append(sse({"type": "content_block_stop", "index": index}, "content_block_stop"))
    delta = {key: message.get(key) for key in ("stop_reason", "stop_sequence", "stop_details") if key in message}
    out.append(sse({"type": "message_delta", "delta": delta, "usage": usage}, "message_delta"))
    out.append(sse({"type": "message_stop"}, "message_stop"))
    return b"".join(out)


def _messages_block(block: Json, size: int) -> tuple[Json, list[Json]]:
    match block["type"]:
        case "text":
            citations = [{"type": "citations_delta", "citation": one} for one in block.get("citations") or ()]
            texts = [{"type": "text_delta", "text": text} for text in pieces(block["text"], size)]
            return {"type": "text", "text": ""}, citations + texts
        case "thinking":
            thoughts = [{"type": "thinking_delta", "thinking": text} for text in pieces(block["thinking"], size)]
            signed = {"type": "signature_delta", "signature": block["signature"]}
            return {"type": "thinking", "thinking": "", "signature": ""}, [*thoughts, signed]
        case "tool_use" | "server_tool_use":
            fragments = (
                ["", *pieces(json.dumps(block["input"], ensure_ascii=False, separators=(",", ":")), size)]
                if block["input"]
                else [""]
            )
            deltas = [{"type": "input_json_delta", "partial_json": fragment} for fragment in fragments]
            return {**block, "input": {}}, deltas
        case _:
            pass
    return block, []


def chat_stream(completion: Json, size: int = 5, *, include_usage: bool = True) -> bytes:
    """OpenAI's chunks of a whole completion."""
    head = {key: completion[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    choice = completion["choices"][0]
    message = choice["message"]

    def chunk(delta: Json, finish: str | None = None, **more: Any) -> bytes:
        return sse(
            {**head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, **more}]}
        )

    out = [chunk({"role": "assistant", "content": None if message.get("content") is None else "", "refusal": None})]
    for field in ("reasoning_content", "content", "refusal"):
        out += [chunk({field: text}) for text in pieces(message.get(field) or "", size)]
    for index, call in enumerate(message.get("tool_calls") or ()):
        function = call["function"]
        begin = {"index": index, **call, "function": {"name": function["name"], "arguments": ""}}
        out.append(chunk({"tool_calls": [begin]}))
        out += [
            chunk({"tool_calls": [{"index": index, "function": {"arguments": fragment}}]})
            for fragment in pieces(function["arguments"], size)
        ]
    if message.get("annotations"):
        out.append(chunk({"annotations": message["annotations"]}))
    more = {"stop_reason": choice["stop_reason"]} if "stop_reason" in choice else {}
    out.append(chunk({}, choice["finish_reason"], **more))
    if include_usage:
        out.append(sse({**head, "choices": [], "usage": completion["usage"]}))
    out.append(b"data: [DONE]\n\n")
    return b"".join(out)


def responses_stream(response: Json, size: int = 5) -> bytes:
    """OpenAI's stream of a whole response."""
    out: list[bytes] = []

    def send(kind: str, **fields: Any) -> None:
        out.append(sse({"type": kind, "sequence_number": len(out), **fields}, kind))

    begun = {**response, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    send("response.created", response=begun)
    send("response.in_progress", response=begun)
    for index, item in enumerate(response["output"]):
        place = {"output_index": index, "item_id": item.get("id")}
        send("response.output_item.added", output_index=index, item=_begun_item(item))
        match item["type"]:
            case "message":
                for number, part in enumerate(item["content"]):
                    _content_part(send, {**place, "content_index": number}, part, size)
            case "reasoning":
                for number, part in enumerate(item["summary"]):
                    at = {**place, "summary_index": number}
                    send("response.reasoning_summary_part.added", **at, part={"type": "summary_text", "text": ""})
                    for text in pieces(part["text"], size):
                        send("response.reasoning_summary_text.delta", **at, delta=text)
                    send("response.reasoning_summary_text.done", **at, text=part["text"])
                    send("response.reasoning_summary_part.done", **at, part=part)
            case "function_call":
                for text in pieces(item["arguments"], size):
                    send("response.function_call_arguments.delta", **place, delta=text)
                send("response.function_call_arguments.done", **place, arguments=item["arguments"])
            case "custom_tool_call":
                for text in pieces(item["input"], size):
                    send("response.custom_tool_call_input.delta", **place, delta=text)
                send("response.custom_tool_call_input.done", **place, input=item["input"])
            case "web_search_call":
                for word in ("in_progress", "searching", "completed"):
                    send(f"response.web_search_call.{word}", **place)
            case _:
                pass
        send("response.output_item.done", output_index=index, item=item)
    send(f"response.{response['status']}", response=response)
    return b"".join(out)


def _begun_item(item: Json) -> Json:
    match item["type"]:
        case "message":
            return {**item, "content": [], "status": "in_progress"}
        case "reasoning":
            return {**item, "summary": [], "encrypted_content": None}
        case "function_call":
            return {**item, "arguments": "", "status": "in_progress"}
        case "custom_tool_call":
            return {**item, "input": ""}
        case _:
            pass
    return {**item, "status": "in_progress"}


def _content_part(send: Any, place: Json, part: Json, size: int) -> None:
    if part["type"] == "refusal":
        send("response.content_part.added", **place, part={"type": "refusal", "refusal": ""})
        for text in pieces(part["refusal"], size):
            send("response.refusal.delta", **place, delta=text)
        send("response.refusal.done", **place, refusal=part["refusal"])
    else:
        send("response.content_part.added", **place, part={**part, "text": "", "annotations": []})
        for text in pieces(part["text"], size):
            send("response.output_text.delta", **place, delta=text, logprobs=[])
        for number, annotation in enumerate(part["annotations"]):
            send("response.output_text.annotation.added", **place, annotation=annotation, annotation_index=number)
        send("response.output_text.done", **place, text=part["text"], logprobs=[])
    send("response.content_part.done", **place, part=part)


# Whole answers.


def message(*content: Json, **more: Any) -> Json:
    """A Messages answer."""
    usage = {
        "input_tokens": 20,
        "cache_creation_input_tokens": 5,
        "cache_read_input_tokens": 100,
        "output_tokens": 42,
        "service_tier": "standard",
    }
    return {
        "id": "msg_01AbC",
        "type": "message",
        "role": "assistant",
        "model": "claude-upstream",
        "content": list(content),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": usage,
        **more,
    }


def completion(content: str | None = None, finish_reason: str = "stop", **fields: Any) -> Json:
    """A Chat answer; `fields` go into the message."""
    return {
        "id": "chatcmpl-9xyz",
        "object": "chat.completion",
        "created": 1_790_000_000,
        "model": "gpt-upstream",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, **fields},
                "logprobs": None,
                "finish_reason": finish_reason,
            }
        ],
        "usage": {
            "prompt_tokens": 120,
            "completion_tokens": 42,
            "total_tokens": 162,
            "prompt_tokens_details": {"cached_tokens": 100},
            "completion_tokens_details": {"reasoning_tokens": 7},
        },
    }


def call(name: str, arguments: str, call_id: str) -> Json:
    """A Chat tool call."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def response(*output: Json, status: str = "completed", **more: Any) -> Json:
    """A Responses answer."""
    return {
        "id": "resp_77",
        "object": "response",
        "created_at": 1_790_000_001,
        "status": status,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "model": "gpt-upstream",
        "output": list(output),
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": {
            "input_tokens": 120,
            "input_tokens_details": {"cached_tokens": 100, "cache_write_tokens": 0},
            "output_tokens": 42,
            "output_tokens_details": {"reasoning_tokens": 7},
            "total_tokens": 162,
        },
        **more,
    }


def output_message(text: str, item_id: str = "msg_1", **more: Any) -> Json:
    """A Responses message with one text."""
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **more}
    return {"id": item_id, "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def function_call(name: str, arguments: str, number: int = 1, **more: Any) -> Json:
    """A Responses function call."""
    return {
        "id": f"fc_{number}",
        "type": "function_call",
        "status": "completed",
        "call_id": f"call_{number}",
        "name": name,
        "arguments": arguments,
        **more,
    }
