"""Contract case 12 in answers: Responses knows no stop sequences, so the gateway cuts."""

from __future__ import annotations

import pytest
from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import Dialect
from codex_gateway.dialect.stop_sequences import Cutter
from hypothesis import given
from hypothesis import strategies as st

from tests.support.converting import convert, message_of, way_back
from tests.support.dialect_streams import function_call, output_message, response, responses_stream


@given(st.text("abX", max_size=30), st.lists(st.text("abX", min_size=1, max_size=4), min_size=1, max_size=3), st.data())
def test_text_ends_before_the_first_stop_sequence(text: str, stops: list[str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    pieces = [text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    cutter = Cutter(tuple(stops))
    said = "".join([*(cutter.feed(piece) for piece in pieces), cutter.end()])
    first = min((text.find(stop) for stop in stops if stop in text), default=len(text))
    assert said == text[:first]
    assert (cutter.found is not None) == (first < len(text))


def test_text_is_not_held_longer_than_needed() -> None:
    cutter = Cutter(("STOP",))
    assert cutter.feed("go on S") == "go on "
    assert cutter.feed("o") == "So"


@pytest.mark.parametrize("size", [1, 4, 100])
@pytest.mark.parametrize("client", [Dialect.MESSAGES, Dialect.CHAT])
def test_a_stream_is_cut_and_its_tokens_still_count(client: Dialect, size: int) -> None:
    body = response(
        output_message("one two\n\nHuman: three"), output_message("four", "msg_2"), function_call("run", "{}")
    )
    seen = convert(responses_stream(body, size), Dialect.RESPONSES, client, cut_at=("\n\nHuman:", "###"))
    if client is Dialect.MESSAGES:
        message = message_of(seen)
        assert message["content"] == [{"type": "text", "text": "one two"}]
        assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "\n\nHuman:")
    else:
        assert "".join(delta.get("content") or "" for delta in seen.deltas()) == "one two"
        assert seen.finish_reason() == "stop"
    assert seen.usage.output == 42


def test_a_whole_answer_is_cut_alike() -> None:
    body = response(output_message("one###two"), function_call("run", "{}"))
    whole = convert_answer(body, way_back(Dialect.RESPONSES, Dialect.MESSAGES, cut_at=("###",)))
    assert whole["content"] == [{"type": "text", "text": "one"}]
    assert whole["stop_sequence"] == "###"


def test_without_the_sequence_nothing_is_lost() -> None:
    seen = convert(
        responses_stream(response(output_message("one ##"))), Dialect.RESPONSES, Dialect.MESSAGES, cut_at=("###",)
    )
    assert message_of(seen)["content"] == [{"type": "text", "text": "one ##"}]
    assert message_of(seen)["stop_reason"] == "end_turn"
