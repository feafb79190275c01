"""Contract case 2: a tool call's id, name or index comes late, twice, or never."""

from __future__ import annotations

from typing import Any

import pytest
from codex_gateway.dialect.convert import Dialect
from codex_gateway.dialect.neutral import ErrorKind

from tests.support.converting import DONE, chunk, convert, message_of, tool_chunk

RUN = ("c1", "run", {"a": 1})


def calls(*fragments: dict[str, Any]) -> list[tuple[str, str, Any]]:
    stream = b"".join([*map(tool_chunk, fragments), chunk({}, "tool_calls"), DONE])
    content = message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["content"]
    return [(block["id"], block["name"], block["input"]) for block in content]


@pytest.mark.parametrize(
    "fragments",
    [
        [{"index": 0, "id": "c1"}, {"index": 0, "name": "run"}, {"index": 0, "arguments": '{"a":1}'}],
        [{"index": 0, "arguments": '{"a"'}, {"index": 0, "name": "run", "arguments": ":1}"}, {"index": 0, "id": "c1"}],
        [{"index": 0, "id": "c1", "name": "run"}, {"index": 0, "id": "", "name": "", "arguments": '{"a":1}'}],
        [{"index": 0, "id": "c1", "name": "run"}, {"index": 0, "id": "c1", "name": "run", "arguments": '{"a":1}'}],
        [{"index": 0, "id": "c1", "name": "run"}, {"index": 0, "id": None, "name": None, "arguments": '{"a":1}'}],
        [{"id": "c1", "name": "run"}, {"arguments": '{"a":'}, {"arguments": "1}"}],
        [{"id": "c1", "name": "run"}, {"id": "c1", "arguments": '{"a":'}, {"id": "c1", "arguments": "1}"}],
        [{"id": "c1", "name": "run", "arguments": '{"a":1}'}, {"index": 0, "arguments": ""}],
        [
            {"index": 0, "id": "c1", "name": "run"},
            {"index": 0, "id": "r1", "arguments": '{"a"'},
            {"index": 0, "id": "r2", "arguments": ":1}"},
        ],
        [{"index": 0, "id": "c1", "name": "run", "arguments": {"a": 1}}],
    ],
    ids=[
        "in order",
        "name and id late",
        "empty strings",
        "repeated",
        "nulls",
        "no index",
        "id each time",
        "index late",
        "new id in each fragment",
        "arguments as an object",
    ],
)
def test_one_call_comes_out_whole(fragments: list[dict[str, Any]]) -> None:
    assert calls(*fragments) == [RUN]


def test_distinct_ids_without_index_are_separate_calls() -> None:
    assert calls(
        {"id": "c1", "name": "run", "arguments": '{"a":1}'}, {"id": "c2", "name": "run", "arguments": '{"a":2}'}
    ) == [RUN, ("c2", "run", {"a": 2})]


def test_distinct_calls_under_one_index_are_separate_calls() -> None:
    assert calls(
        {"index": 0, "id": "c1", "name": "run", "arguments": '{"a":1}'},
        {"index": 0, "id": "c2", "name": "run", "arguments": '{"a":2}'},
        {"index": 0, "id": "c3", "name": "stop", "arguments": "{}"},
    ) == [RUN, ("c2", "run", {"a": 2}), ("c3", "stop", {})]


def test_calls_without_ids_get_ids_of_their_own() -> None:
    made = calls({"index": 0, "name": "run", "arguments": "{}"}, {"index": 1, "name": "run", "arguments": "{}"})
    assert [name for _, name, _ in made] == ["run", "run"]
    assert len({call_id for call_id, _, _ in made}) == 2
    assert all("chatcmpl-1" in call_id for call_id, _, _ in made)


def test_calls_without_id_and_index_are_told_apart_by_their_whole_arguments() -> None:
    assert [(name, given) for _, name, given in calls({"name": "a", "arguments": "{}"}, {"name": "b"})] == [
        ("a", {}),
        ("b", {}),
    ]


@pytest.mark.parametrize("client", [Dialect.MESSAGES, Dialect.RESPONSES, Dialect.CHAT])
def test_a_call_that_never_gets_a_name_is_a_failure(client: Dialect) -> None:
    stream = b"".join(
        (
            chunk({"content": "hm"}),
            tool_chunk({"index": 0, "id": "c1", "arguments": '{"a":1}'}),
            chunk({}, "tool_calls"),
            DONE,
        )
    )
    error = convert(stream, Dialect.CHAT, client).outcome.error
    assert error is not None
    assert error.kind is ErrorKind.UNAVAILABLE
    assert "name" in error.message


def test_whole_calls_without_ids_under_one_index_are_separate_calls() -> None:
    # As Gemini's layer sends them.
    whole = [
        {"index": 0, "id": "", "name": "look", "arguments": '{"at":"a"}'},
        {"index": 0, "id": "", "name": "look", "arguments": '{"at":"b"}'},
        {"index": 0, "id": "", "name": "read", "arguments": "{}"},
    ]
    seen = convert(b"".join(map(tool_chunk, whole)) + chunk({}, "stop"), Dialect.CHAT, Dialect.MESSAGES)
    blocks = message_of(seen)["content"]
    assert [(block["name"], block["input"]) for block in blocks] == [
        ("look", {"at": "a"}),
        ("look", {"at": "b"}),
        ("read", {}),
    ]
    assert len({block["id"] for block in blocks}) == 3


def test_a_name_in_every_fragment_makes_one_call() -> None:
    fragments = [
        {"index": 0, "id": "a", "name": "look", "arguments": '{"at":'},
        {"index": 0, "name": "look", "arguments": '{"x":1}'},
        {"index": 0, "name": "look", "arguments": "}"},
        {"index": 0, "name": "look", "arguments": ""},
    ]
    seen = convert(b"".join(map(tool_chunk, fragments)) + chunk({}, "stop"), Dialect.CHAT, Dialect.MESSAGES)
    assert [block["input"] for block in message_of(seen)["content"]] == [{"at": {"x": 1}}]
