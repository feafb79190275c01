"""Contract case 19 in answers: a function with one string `input` comes back as a custom tool call with raw input."""

from __future__ import annotations

import json

import pytest
from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import Dialect, ToolName
from codex_gateway.dialect.custom_input import CustomInput
from codex_gateway.dialect.neutral import ToolKind
from hypothesis import given
from hypothesis import strategies as st

from tests.support.converting import convert, items_of, message_of, way_back
from tests.support.dialect_streams import (
    call,
    chat_stream,
    completion,
    function_call,
    message,
    messages_stream,
    response,
    responses_stream,
)

PATCH = '*** Begin Patch\n*** Update File: ä.py\n@@\n-a = "1"\n+a = "\\n😀"\n*** End Patch\n'
TOOLS = {"apply_patch": ToolName("apply_patch", kind=ToolKind.CUSTOM)}


def unwrapped(pieces: list[str]) -> str:
    custom = CustomInput()
    return "".join([*(custom.feed(piece) for piece in pieces), custom.end()])


@given(st.text(), st.booleans(), st.data())
def test_input_comes_out_of_its_wrapping_at_any_cuts(text: str, ascii_only: bool, data: st.DataObject) -> None:
    wrapped = json.dumps({"input": text}, ensure_ascii=ascii_only)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(wrapped)))))
    assert unwrapped([wrapped[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(wrapped)], strict=True)]) == text


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", ""),
        ("{}", ""),
        ('{"patch": "x"}', "x"),
        ('{"input": "a\nb"}', "a\nb"),
        ('{"input": ["x"]}', '{"input": ["x"]}'),
        ('{"note": "n", "input": "x"}', "x"),
        ('{"input": "x", "note": "n"}', "x"),
        ('"x"', "x"),
        ("*** Begin Patch", "*** Begin Patch"),
        ('{"input": "cut o', "cut o"),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_what_models_make_of_it_still_comes_out(arguments: str, expected: str, size: int) -> None:
    pieces = [arguments[at : at + size] for at in range(0, len(arguments), size)]
    assert unwrapped(pieces) == expected


STREAMS = {
    Dialect.CHAT: chat_stream(
        completion(None, "tool_calls", tool_calls=[call("apply_patch", json.dumps({"input": PATCH}), "c1")])
    ),
    Dialect.MESSAGES: messages_stream(
        message(
            {"type": "tool_use", "id": "c1", "name": "apply_patch", "input": {"input": PATCH}}, stop_reason="tool_use"
        )
    ),
    Dialect.RESPONSES: responses_stream(
        response(function_call("apply_patch", json.dumps({"input": PATCH}), 1, call_id="c1"))
    ),
}


@pytest.mark.parametrize("upstream", list(Dialect))
def test_a_responses_client_gets_a_custom_tool_call(upstream: Dialect) -> None:
    seen = convert(STREAMS[upstream], upstream, Dialect.RESPONSES, tools=TOOLS)
    [item] = items_of(seen)
    assert (item["type"], item["call_id"], item["name"], item["input"]) == (
        "custom_tool_call",
        "c1",
        "apply_patch",
        PATCH,
    )
    assert item["id"].startswith("ctc_")
    assert "".join(event["delta"] for event in seen.of("response.custom_tool_call_input.delta")) == PATCH
    assert len(seen.of("response.custom_tool_call_input.delta")) > 5
    assert [event["input"] for event in seen.of("response.custom_tool_call_input.done")] == [PATCH]
    assert seen.of("response.function_call_arguments.delta") == []


def test_a_whole_answer_holds_the_same_item() -> None:
    body = completion(None, "tool_calls", tool_calls=[call("apply_patch", json.dumps({"input": PATCH}), "c1")])
    whole = convert_answer(body, way_back(Dialect.CHAT, Dialect.RESPONSES, tools=TOOLS))
    assert whole["output"] == items_of(convert(STREAMS[Dialect.CHAT], Dialect.CHAT, Dialect.RESPONSES, tools=TOOLS))


def custom_call() -> dict[str, object]:
    return {"id": "ctc_1", "type": "custom_tool_call", "call_id": "c1", "name": "apply_patch", "input": PATCH}


def test_a_custom_call_of_the_endpoint_is_a_custom_call_for_chat() -> None:
    stream = responses_stream(response(custom_call()))
    calls = [
        one
        for delta in convert(stream, Dialect.RESPONSES, Dialect.CHAT).deltas()
        for one in delta.get("tool_calls", ())
    ]
    assert calls[0]["type"] == "custom"
    assert "".join(one["custom"]["input"] for one in calls) == PATCH


def test_a_custom_call_of_the_endpoint_is_wrapped_for_messages() -> None:
    stream = responses_stream(response(custom_call()))
    assert message_of(convert(stream, Dialect.RESPONSES, Dialect.MESSAGES))["content"][0]["input"] == {"input": PATCH}


def test_local_shell_and_tool_search_come_back_as_their_own_items() -> None:
    tools = {
        "local_shell": ToolName("local_shell", kind=ToolKind.LOCAL_SHELL),
        "tool_search": ToolName("tool_search", kind=ToolKind.TOOL_SEARCH),
    }
    stream = chat_stream(
        completion(
            None,
            "tool_calls",
            tool_calls=[
                call("local_shell", '{"command":["ls","-l"],"timeout_ms":5}', "c1"),
                call("tool_search", '{"query":"git"}', "c2"),
            ],
        )
    )
    shell, search = items_of(convert(stream, Dialect.CHAT, Dialect.RESPONSES, tools=tools))
    assert (shell["type"], shell["call_id"], shell["action"]["command"]) == ("local_shell_call", "c1", ["ls", "-l"])
    assert shell["action"] == {
        "type": "exec",
        "command": ["ls", "-l"],
        "timeout_ms": 5,
        "env": {},
        "user": None,
        "working_directory": None,
    }
    assert (search["type"], search["execution"], search["arguments"]) == (
        "tool_search_call",
        "client",
        {"query": "git"},
    )
