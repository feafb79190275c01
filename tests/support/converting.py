"""Streams through a conversion, as events that tests can read."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from codex_gateway.dialect.conversion import ConvertedStream, UpstreamEnd
from codex_gateway.dialect.convert import Dialect, Error, Outcome, Usage, WayBack
from codex_gateway.dialect.sse import SseReader

Json = dict[str, Any]


class Seen(NamedTuple):
    """What the client saw."""

    raw: bytes
    events: list[Json]
    """The data of the events, but `[DONE]`."""
    outcome: Outcome
    usage: Usage
    first_event_error: Error | None

    def kinds(self) -> list[str]:
        """The types of the events."""
        return [event["type"] for event in self.events]

    def of(self, kind: str) -> list[Json]:
        """The events of one type."""
        return [event for event in self.events if event["type"] == kind]

    def deltas(self) -> list[Json]:
        """Chat: the deltas of the chunks."""
        return [event["choices"][0]["delta"] for event in self.events if event.get("choices")]

    def finish_reason(self) -> str | None:
        """Chat: the one finish reason."""
        reasons = [choice["finish_reason"] for event in self.events for choice in event.get("choices") or ()]
        found = [reason for reason in reasons if reason]
        assert len(found) <= 1
        return found[0] if found else None


def read_events(raw: bytes) -> list[Json]:
    """The data of the events in `raw`; each named event is named like its type."""
    reader = SseReader()
    found = []
    for event in [*reader.feed(raw), *reader.finish()]:
        if event.data == b"[DONE]":
            continue
        value = json.loads(event.data)
        if event.name:
            assert value["type"] == event.name
        found.append(value)
    return found


def way_back(upstream: Dialect, client: Dialect, **more: Any) -> WayBack:
    """What the answer's writer knows of the request."""
    return WayBack(client=client, upstream=upstream, model="client-model", **{"include_usage": True, **more})


def convert(stream: bytes, upstream: Dialect, client: Dialect, *, end: UpstreamEnd | None = None, **more: Any) -> Seen:
    """`stream` through the conversion, event by event, and its end."""
    converted = ConvertedStream(way_back(upstream, client, **more))
    out: list[bytes] = []
    for event in stream.split(b"\n\n"):
        out += converted.feed(event + b"\n\n" if event else b"")
    out += converted.end(end)
    assert converted.outcome is not None
    assert converted.feed(b"data: {}\n\n") == []
    assert converted.end() == []
    raw = b"".join(out)
    return Seen(raw, read_events(raw), converted.outcome, converted.usage, converted.first_event_error)


def chunk(delta: Json | None = None, finish: str | None = None, **more: Any) -> bytes:
    """One Chat chunk."""
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    value = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 7, "model": "up", "choices": choices}
    return b"data: " + json.dumps({**value, **more}).encode() + b"\n\n"


def tool_chunk(fragment: Json) -> bytes:
    """One Chat chunk with a fragment of a tool call; `name` and `arguments` go into its function."""
    function = {key: fragment[key] for key in ("name", "arguments") if key in fragment}
    rest = {key: fragment[key] for key in fragment if key not in function}
    return chunk({"tool_calls": [{**rest, "function": function}]})


DONE = b"data: [DONE]\n\n"


def message_of(seen: Seen) -> Json:
    """The message that a Messages stream adds up to, while its rules are held: contiguous blocks, one open at a time,
    one message_delta, one message_stop."""
    blocks: list[Json] = []
    open_block: int | None = None
    arguments: dict[int, str] = {}
    kinds = seen.kinds()
    assert kinds[0] == "message_start"
    assert kinds.count("message_start") == 1
    for event in seen.events:
        match event["type"]:
            case "content_block_start":
                assert open_block is None, "two blocks are open"
                assert event["index"] == len(blocks), "indices are not contiguous"
                open_block = event["index"]
                blocks.append(dict(event["content_block"]))
            case "content_block_delta":
                assert event["index"] == open_block
                block, delta = blocks[-1], event["delta"]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "signature_delta":
                        block["signature"] = delta["signature"]
                    case "input_json_delta":
                        arguments[len(blocks) - 1] = arguments.get(len(blocks) - 1, "") + delta["partial_json"]
                    case other:
                        raise AssertionError(other)
            case "content_block_stop":
                assert event["index"] == open_block
                open_block = None
            case "message_start" | "message_delta" | "message_stop" | "ping" | "error":
                pass
            case other:
                raise AssertionError(other)
    for index, text in arguments.items():
        blocks[index]["input"] = json.loads(text)
    assert open_block is None, "a block stayed open"
    if seen.outcome.error is None:
        assert kinds[-2:] == ["message_delta", "message_stop"]
        assert kinds.count("message_delta") == kinds.count("message_stop") == 1
        return {
            "content": blocks,
            **seen.of("message_delta")[0]["delta"],
            "usage": seen.of("message_delta")[0]["usage"],
        }
    assert kinds[-1] == "error"
    return {"content": blocks}


def items_of(seen: Seen) -> list[Json]:
    """The whole items of a Responses stream, while its rules are held: sequence numbers count, `created` comes first,
    what is done was added under the same id and index, and the last event repeats the items."""
    assert [event["sequence_number"] for event in seen.events] == list(range(len(seen.events)))
    assert seen.kinds()[:2] == ["response.created", "response.in_progress"]
    added: dict[int, str] = {}
    done: dict[int, Json] = {}
    for event in seen.events[2:-1]:
        if event["type"] == "response.output_item.added":
            assert event["output_index"] == len(added)
            added[event["output_index"]] = event["item"]["id"]
        elif event["type"] == "response.output_item.done":
            assert added[event["output_index"]] == event["item"]["id"]
            done[event["output_index"]] = event["item"]
        else:
            assert added[event["output_index"]] == event["item_id"]
            assert event["output_index"] not in done
    last = seen.events[-1]
    assert last["type"].removeprefix("response.") in ("completed", "incomplete", "failed")
    assert last["response"]["id"] == seen.events[0]["response"]["id"]
    items = [done[index] for index in sorted(done)]
    if last["type"] == "response.completed":
        assert last["response"]["output"] == items
        assert set(done) == set(added)
    return items
