"""Contract case 1: parallel tool calls whose argument fragments interleave."""

from __future__ import annotations

import json

from codex_gateway.dialect.convert import Dialect

from tests.support.converting import DONE, chunk, convert, items_of, message_of, tool_chunk

INTERLEAVED = b"".join(
    (
        chunk({"role": "assistant", "content": "I look."}),
        tool_chunk({"index": 0, "id": "call_a", "type": "function", "name": "read", "arguments": ""}),
        tool_chunk({"index": 0, "arguments": '{"path":'}),
        tool_chunk({"index": 1, "id": "call_b", "type": "function", "name": "list", "arguments": '{"di'}),
        tool_chunk({"index": 2, "id": "call_c", "type": "function", "name": "now", "arguments": ""}),
        tool_chunk({"index": 0, "arguments": '"a.txt"'}),
        tool_chunk({"index": 1, "arguments": 'r":"b"}'}),
        tool_chunk({"index": 0, "arguments": "}"}),
        chunk({}, "tool_calls"),
        DONE,
    )
)
CALLS = [("call_a", "read", {"path": "a.txt"}), ("call_b", "list", {"dir": "b"}), ("call_c", "now", {})]


def test_messages_gets_one_block_at_a_time() -> None:
    message = message_of(convert(INTERLEAVED, Dialect.CHAT, Dialect.MESSAGES))
    assert message["content"][0] == {"type": "text", "text": "I look."}
    assert [(block["id"], block["name"], block["input"]) for block in message["content"][1:]] == CALLS
    assert message["stop_reason"] == "tool_use"


def test_responses_gets_each_call_under_its_own_index_and_whole_arguments() -> None:
    seen = convert(INTERLEAVED, Dialect.CHAT, Dialect.RESPONSES)
    items = items_of(seen)
    assert [item["type"] for item in items] == ["message", "function_call", "function_call", "function_call"]
    assert [(one["call_id"], one["name"], json.loads(one["arguments"])) for one in items[1:]] == CALLS
    assert len({item["id"] for item in items}) == 4
    done = {event["item_id"]: event["arguments"] for event in seen.of("response.function_call_arguments.done")}
    assert done == {item["id"]: item["arguments"] for item in items[1:]}
    said: dict[str, str] = {}
    for event in seen.of("response.function_call_arguments.delta"):
        said[event["item_id"]] = said.get(event["item_id"], "") + event["delta"]
    assert said == done


def test_the_first_call_streams_while_the_others_wait() -> None:
    kinds = [
        (event["type"], event.get("index"))
        for event in convert(INTERLEAVED, Dialect.CHAT, Dialect.MESSAGES).events
        if event["type"].startswith("content_block")
    ]
    begin = kinds.index(("content_block_start", 1))
    assert kinds[begin : begin + 5] == [
        ("content_block_start", 1),
        *[("content_block_delta", 1)] * 3,
        ("content_block_stop", 1),
    ]


def test_responses_upstream_may_interleave_too() -> None:
    def event(kind: str, **fields: object) -> bytes:
        return b"data: " + json.dumps({"type": f"response.{kind}", **fields}).encode() + b"\n\n"

    def item(number: int, arguments: str = "") -> dict[str, object]:
        return {
            "type": "function_call",
            "id": f"fc_{number}",
            "call_id": f"c{number}",
            "name": "run",
            "arguments": arguments,
        }

    stream = b"".join(
        (
            event("created", response={"id": "resp_1"}),
            event("output_item.added", output_index=0, item=item(0)),
            event("output_item.added", output_index=1, item=item(1)),
            event("function_call_arguments.delta", output_index=1, delta='{"n":'),
            event("function_call_arguments.delta", output_index=0, delta='{"n":0}'),
            event("function_call_arguments.delta", output_index=1, delta="1}"),
            event("output_item.done", output_index=1, item=item(1, '{"n":1}')),
            event("output_item.done", output_index=0, item=item(0, '{"n":0}')),
            event("completed", response={"id": "resp_1", "status": "completed", "output": []}),
        )
    )
    message = message_of(convert(stream, Dialect.RESPONSES, Dialect.MESSAGES))
    assert [(block["id"], block["input"]) for block in message["content"]] == [("c0", {"n": 0}), ("c1", {"n": 1})]
    arguments: dict[int, str] = {}
    for delta in convert(stream, Dialect.RESPONSES, Dialect.CHAT).deltas():
        for call in delta.get("tool_calls") or ():
            arguments[call["index"]] = arguments.get(call["index"], "") + call["function"]["arguments"]
    assert arguments == {0: '{"n":0}', 1: '{"n":1}'}
