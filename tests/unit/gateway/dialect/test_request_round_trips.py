"""What is read from a dialect and written in it again means the same; and every request fits every dialect."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from codex_gateway.dialect.convert import Dialect, Facts, convert_request
from codex_gateway.dialect.neutral import (
    ChoiceMode,
    FormatKind,
    HostedTool,
    Image,
    Message,
    Part,
    Request,
    ResponseFormat,
    Role,
    Text,
    Tool,
    ToolCall,
    ToolChoice,
    ToolKind,
    ToolResult,
)
from codex_gateway.dialect.prepare import prepare
from codex_gateway.dialect.request import read, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.sdk_params import assert_valid

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
NAMES = st.from_regex(r"[a-zA-Z_][a-zA-Z0-9_]{0,10}", fullmatch=True)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-1000, 1000) | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
ARGUMENTS = st.dictionaries(NAMES, VALUES, max_size=3).map(lambda value: msgspec.json.encode(value).decode())
TEXTS = st.builds(Text, WORDS)
IMAGES = st.sampled_from([Image(data="iVBORw0KGgo=", media_type="image/png"), Image(url="https://example.org/a.png")])
SCHEMAS = st.dictionaries(NAMES, st.just({"type": "string"}), max_size=2).map(
    lambda properties: {"type": "object", "properties": properties}
)


@st.composite
def tools(draw: st.DrawFn) -> tuple[Tool, ...]:
    names = draw(st.lists(NAMES, unique=True, max_size=3))
    return tuple(
        Tool(name, draw(st.none() | WORDS), draw(SCHEMAS), draw(st.sampled_from([None, True]))) for name in names
    )


@st.composite
def conversations(draw: st.DrawFn) -> tuple[Message, ...]:
    """Turns as a well-behaved client sends them: the user's, the model's, the results of its calls."""
    out: list[Message] = [Message(Role.USER, tuple(draw(st.lists(TEXTS | IMAGES, min_size=1, max_size=2))))]
    number = 0
    for _ in range(draw(st.integers(0, 3))):
        parts: list[Part] = [draw(TEXTS)]
        results: list[Part] = []
        for _ in range(draw(st.integers(0, 2))):
            number += 1
            parts.append(ToolCall(f"call_{number}", draw(NAMES), draw(ARGUMENTS)))
            results.append(ToolResult(f"call_{number}", (draw(TEXTS),)))
        out.append(Message(Role.ASSISTANT, tuple(parts)))
        if results:
            out.append(Message(Role.USER, tuple(results)))
        else:
            out.append(Message(Role.USER, (draw(TEXTS),)))
    return tuple(out)


@st.composite
def requests(draw: st.DrawFn) -> Request:
    given_tools = draw(tools())
    choice = st.sampled_from([ToolChoice(mode) for mode in (ChoiceMode.AUTO, ChoiceMode.REQUIRED, ChoiceMode.NONE)])
    if given_tools:
        choice |= st.just(ToolChoice(ChoiceMode.NAMED, given_tools[0].name))
    form = ResponseFormat(FormatKind.JSON_SCHEMA, schema={"type": "object", "properties": {}})
    return Request(
        model="m",
        origin=Dialect.CHAT,
        messages=draw(conversations()),
        system=tuple(draw(st.lists(TEXTS, max_size=1))),
        tools=given_tools,
        tool_choice=draw(st.none() | choice) if given_tools else None,
        max_tokens=draw(st.integers(16, 9000)),
        temperature=draw(st.none() | st.floats(0, 1)),
        top_p=draw(st.none() | st.floats(0, 1)),
        response_format=draw(st.none() | st.just(form)),
        stream=draw(st.booleans()),
    )


def meaning(request: Request) -> Any:
    """What must stay the same: who said what in which order, and what was asked for."""
    turns: list[tuple[Role, list[Any]]] = []
    for message in request.messages:
        said = [_said(part) for part in message.parts]
        if turns and turns[-1][0] is message.role:
            turns[-1][1].extend(said)
        else:
            turns.append((message.role, said))
    return {
        "system": "\n\n".join(text.text for text in request.system),
        "turns": [(role, _joined(said)) for role, said in turns],
        "tools": [
            tool if isinstance(tool, HostedTool) else (tool.name, tool.description, tool.parameters, bool(tool.strict))
            for tool in request.tools
        ],
        "choice": request.tool_choice and (request.tool_choice.mode, request.tool_choice.name),
        "sampling": (request.max_tokens, request.temperature, request.top_p),
        "format": request.response_format and request.response_format.schema,
        "stream": request.stream,
    }


def _said(part: Part) -> Any:
    match part:
        case Text(text=text):
            return text
        case Image():
            return ("image", part.url or part.data)
        case ToolCall():
            return ("call", part.id, part.name, json.loads(part.arguments))
        case ToolResult():
            return ("result", part.id, [_said(inner) for inner in part.parts])
        case _:
            return part


def _joined(said: list[Any]) -> list[Any]:
    """Whether neighbouring texts are one or two carries no meaning."""
    out: list[Any] = []
    for one in said:
        if isinstance(one, str) and out and isinstance(out[-1], str):
            out[-1] += one
        else:
            out.append(one)
    return out


def written(request: Request, dialect: Dialect) -> dict[str, Any]:
    facts = Facts(dialect=dialect, model="m", native=True)
    made: dict[str, Any] = json.loads(json.dumps(write(prepare(request, facts), facts)))
    return made


@pytest.mark.parametrize("dialect", list(Dialect))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(request_=requests())
def test_written_and_read_again_it_means_the_same(dialect: Dialect, request_: Request) -> None:
    body = written(request_, dialect)
    assert_valid(body, dialect)
    assert meaning(read(body, dialect)) == meaning(request_)


@pytest.mark.parametrize("dialect", list(Dialect))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(request_=requests())
def test_a_second_trip_changes_nothing(dialect: Dialect, request_: Request) -> None:
    """What was written once is what is written again: histories and prompt caches stay whole."""
    once = written(msgspec.structs.replace(request_, origin=dialect), dialect)
    assert written(read(once, dialect), dialect) == once


@pytest.mark.parametrize("client", list(Dialect))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(request_=requests())
def test_the_way_through_any_other_dialect_keeps_the_meaning(client: Dialect, request_: Request) -> None:
    body = written(request_, client)
    for upstream in Dialect:
        made = convert_request(body, client, Facts(dialect=upstream, model="m", native=True))
        assert_valid(made.body, upstream)
        assert meaning(read(made.body, upstream)) == meaning(request_)


# Histories that no well-behaved client sends.

IDS = st.sampled_from(["a", "b", "a:b", "c" * 70])
WILD = st.one_of(
    TEXTS,
    IMAGES,
    st.builds(ToolCall, IDS, NAMES | st.sampled_from(["x.y", "n" * 90]), st.sampled_from(["{}", '{"a":1}', "no json"])),
    st.builds(ToolCall, IDS, NAMES, WORDS, st.just(ToolKind.CUSTOM)),
    st.builds(ToolResult, IDS, st.lists(TEXTS | IMAGES, max_size=2).map(tuple), st.booleans()),
)
WILD_MESSAGES = st.lists(
    st.builds(Message, st.sampled_from(list(Role)), st.lists(WILD, max_size=4).map(tuple)), max_size=6
).map(tuple)


@pytest.mark.parametrize("native", [True, False])
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(messages=WILD_MESSAGES)
def test_any_history_is_repaired(native: bool, messages: tuple[Message, ...]) -> None:
    request = Request(model="m", origin=Dialect.CHAT, messages=messages, max_tokens=100)
    for dialect in Dialect:
        facts = Facts(dialect=dialect, model="m", native=native)
        body = write(prepare(request, facts), facts)
        assert_valid(body, dialect)
        assert_in_order(body, dialect)


def assert_in_order(body: dict[str, Any], dialect: Dialect) -> None:
    """Each call is answered at once, once, and by its own id; no result stands alone."""
    waiting: list[str] = []
    called: set[str] = set()
    steps: list[tuple[str, str]] = []
    match dialect:
        case Dialect.MESSAGES:
            roles = [message["role"] for message in body["messages"]]
            assert roles[0] == "user"
            assert all(one != other for one, other in pairwise(roles))
            blocks = [block for message in body["messages"] for block in message["content"]]
            assert all(block.get("text", "x").strip() for block in blocks)
            steps = [(block["type"], block.get("id") or block.get("tool_use_id") or "") for block in blocks]
        case Dialect.CHAT:
            for message in body["messages"]:
                calls = message.get("tool_calls") or []
                steps += [("tool_use", call["id"]) for call in calls]
                if not calls:
                    kind = "tool_result" if message["role"] == "tool" else "text"
                    steps.append((kind, message.get("tool_call_id", "")))
        case Dialect.RESPONSES:
            for item in body["input"]:
                kind = item["type"]
                if item.get("role") == "assistant":
                    # Words of the same turn may stand between a call and its output.
                    continue
                step = "tool_result" if kind.endswith("_output") else "tool_use" if kind.endswith("_call") else "text"
                steps.append((step, item.get("call_id", "")))
    for kind, call_id in steps:
        if kind == "tool_use":
            assert call_id not in called
            called.add(call_id)
            waiting.append(call_id)
        elif kind == "tool_result":
            assert call_id == waiting.pop(0)
        else:
            assert not waiting
    assert not waiting
