"""Contract case 3: a call without arguments is `{}` in answers too; cumulative snapshots are diffed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import Dialect, WayBack
from codex_gateway.dialect.fragments import Fragments
from hypothesis import given
from hypothesis import strategies as st

from tests.support.converting import DONE, chunk, convert, items_of, message_of, tool_chunk
from tests.support.dialect_streams import call, completion

OBJECTS = st.dictionaries(
    st.text(max_size=3) | st.sampled_from(["a", "{", '{"a":']),
    st.recursive(
        st.integers() | st.text(max_size=4) | st.sampled_from(['{"a":', "{"]),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    ),
    max_size=3,
)


def said(fragments: list[str]) -> str:
    made = Fragments()
    return "".join([*(made.add(fragment) for fragment in fragments), made.end()])


@given(OBJECTS, st.data())
def test_snapshots_say_what_they_hold(value: dict[str, Any], data: st.DataObject) -> None:
    text = json.dumps(value)
    sizes = sorted(data.draw(st.sets(st.integers(1, len(text)))) | {len(text)})
    assert said([text[:size] for size in sizes]) == text


def test_fragments_are_not_taken_for_snapshots() -> None:
    nested = '{"a":{"a":{"a":1}}}'
    assert said(["{", '"a":', '{"a"', ':{"a":1}}}']) == nested
    assert said(['{"a":', '{"a":1}}']) == '{"a":{"a":1}}'
    assert said(['{"a":', '{"a":1}']) == '{"a":1}'


@given(st.lists(st.sampled_from(['"x"', '"', ":", "1", ",", " ", "abc", "\\n"]), max_size=12))
def test_fragments_that_begin_with_other_characters_are_kept(fragments: list[str]) -> None:
    begun = ['{"begin', *fragments]
    assert said(begun) == "".join(begun)


def test_a_repeat_of_the_whole_says_nothing_new() -> None:
    assert said(['{"a"', ":1}", '{"a":1}']) == '{"a":1}'
    assert said(['{"a"', '{"a":1}', '{"a":', '{"a":1}']) == '{"a":1}'


@pytest.mark.parametrize("arguments", [[""], [], ["null"], ["{}"], ["{}", "{}"], [" ", "{}"]])
def test_no_arguments_are_an_empty_object(arguments: list[str]) -> None:
    stream = b"".join(
        (
            tool_chunk({"index": 0, "id": "c1", "name": "now"}),
            *(tool_chunk({"index": 0, "arguments": fragment}) for fragment in arguments),
            chunk({}, "tool_calls"),
            DONE,
        )
    )
    assert message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["content"][0]["input"] == {}
    assert items_of(convert(stream, Dialect.CHAT, Dialect.RESPONSES))[0]["arguments"] == "{}"


def test_whole_answers_have_an_empty_object_too() -> None:
    body = completion(None, "tool_calls", tool_calls=[call("now", "", "c1")])

    def convert_to(client: Dialect) -> Any:
        return convert_answer(body, WayBack(client=client, upstream=Dialect.CHAT, model="m"))

    assert convert_to(Dialect.MESSAGES)["content"][0]["input"] == {}
    assert convert_to(Dialect.RESPONSES)["output"][0]["arguments"] == "{}"
    assert convert_to(Dialect.CHAT)["choices"][0]["message"]["tool_calls"][0]["function"]["arguments"] == "{}"


def test_chunks_that_hold_the_message_so_far_are_diffed() -> None:
    def snapshot(text: str) -> bytes:
        return chunk(None, choices=[{"index": 0, "message": {"role": "assistant", "content": text}}])

    stream = snapshot("ha") + snapshot("haha") + snapshot("haha!") + snapshot("haha!") + chunk({}, "stop") + DONE
    assert message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["content"] == [{"type": "text", "text": "haha!"}]
