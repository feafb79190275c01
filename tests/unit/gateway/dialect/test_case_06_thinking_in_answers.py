"""Contract case 6 in answers: reasoning keeps its secret, goes where the client looks for it, and never leaks."""

from __future__ import annotations

import pytest
from codex_gateway.config.endpoint import Endpoint
from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import Dialect, convert_request
from codex_gateway.dialect.inline_thinking import InlineThinking
from codex_gateway.dialect.neutral import RedactedThinking, Thinking
from codex_gateway.dialect.seal import unseal
from codex_gateway.route.choose import Candidate
from codex_gateway.route.endpoint_facts import facts_for
from hypothesis import given
from hypothesis import strategies as st

from tests.support.converting import DONE, chunk, convert, items_of, message_of, way_back
from tests.support.dialect_streams import (
    completion,
    message,
    messages_stream,
    output_message,
    response,
    responses_stream,
)

SIGNED = messages_stream(
    message(
        {"type": "thinking", "thinking": "Let me see.", "signature": "c2ln+/=="},
        {"type": "redacted_thinking", "data": "cmVk"},
        {"type": "text", "text": "Yes."},
    )
)


def reasoning(*texts: str, **more: str) -> bytes:
    summary = [{"type": "summary_text", "text": text} for text in texts]
    return responses_stream(
        response({"id": "rs_9", "type": "reasoning", "summary": summary, **more}, output_message("Yes."))
    )


def test_signed_thinking_is_a_sealed_reasoning_item_for_responses() -> None:
    items = items_of(convert(SIGNED, Dialect.MESSAGES, Dialect.RESPONSES, endpoint="there"))
    assert [item["type"] for item in items] == ["reasoning", "reasoning", "message"]
    assert items[0]["summary"] == [{"type": "summary_text", "text": "Let me see."}]
    assert unseal(items[0]["encrypted_content"], "Let me see.") == Thinking(
        "Let me see.", Dialect.MESSAGES, signature="c2ln+/==", endpoint="there"
    )
    assert unseal(items[1]["encrypted_content"]) == RedactedThinking("cmVk")


def test_signed_thinking_is_reasoning_content_for_chat_without_the_signature() -> None:
    seen = convert(SIGNED, Dialect.MESSAGES, Dialect.CHAT)
    assert "".join(delta.get("reasoning_content", "") for delta in seen.deltas()) == "Let me see."
    assert b"c2ln" not in seen.raw
    assert b"cmVk" not in seen.raw


def test_encrypted_reasoning_is_thinking_with_a_sealed_signature() -> None:
    block = message_of(
        convert(reasoning("**One**", "Two", encrypted_content="gAAA"), Dialect.RESPONSES, Dialect.MESSAGES)
    )["content"][0]
    assert block["thinking"] == "**One**\n\nTwo"
    sealed = unseal(block["signature"], block["thinking"])
    assert isinstance(sealed, Thinking)
    assert (sealed.encrypted_content, sealed.item_id) == ("gAAA", "rs_9")


def test_encrypted_reasoning_without_text_is_redacted_thinking() -> None:
    content = message_of(convert(reasoning(encrypted_content="gAAA"), Dialect.RESPONSES, Dialect.MESSAGES))["content"]
    assert [block["type"] for block in content] == ["redacted_thinking", "text"]
    assert unseal(content[0]["data"]) is not None


def test_reasoning_without_text_and_secret_is_nothing_for_messages() -> None:
    content = message_of(convert(reasoning(), Dialect.RESPONSES, Dialect.MESSAGES))["content"]
    assert [block["type"] for block in content] == ["text"]


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_chats_reasoning_has_no_forged_signature(field: str) -> None:
    stream = chunk({field: "Hm"}) + chunk({field: "…", "content": None}) + chunk({"content": "Yes."}, "stop") + DONE
    assert message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["content"] == [
        {"type": "thinking", "thinking": "Hm…", "signature": ""},
        {"type": "text", "text": "Yes."},
    ]
    item = items_of(convert(stream, Dialect.CHAT, Dialect.RESPONSES))[0]
    assert item["summary"] == [{"type": "summary_text", "text": "Hm…"}]
    assert "encrypted_content" not in item


def test_responses_to_responses_keeps_its_own_item() -> None:
    item = items_of(convert(reasoning("One", "Two", encrypted_content="gAAA"), Dialect.RESPONSES, Dialect.RESPONSES))[0]
    assert (item["id"], item["encrypted_content"]) == ("rs_9", "gAAA")
    assert [part["text"] for part in item["summary"]] == ["One", "Two"]


def test_reasoning_that_was_not_asked_for_is_left_out() -> None:
    seen = convert(SIGNED, Dialect.MESSAGES, Dialect.RESPONSES, keep_thinking=False)
    assert [item["type"] for item in items_of(seen)] == ["message"]


def split(pieces: list[str]) -> tuple[str, str]:
    splitter = InlineThinking()
    said = [splitter.feed(piece) for piece in pieces] + [splitter.end()]
    return "".join(thinking for thinking, _ in said), "".join(answer for _, answer in said)


@given(st.data())
@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<think>Let me\nsee</think>\n\nYes <b> no", ("Let me\nsee", "Yes <b> no")),
        ("\n <think>\nA </thin B\n</think>Yes", ("A </thin B", "Yes")),
        ("<think></think>Yes", ("", "Yes")),
        ("<think>never closed", ("never closed", "")),
        ("<think>never closed </thi", ("never closed </thi", "")),
        ("<thin air", ("", "<thin air")),
        ("<thi", ("", "<thi")),
        ("Yes <think>no</think>", ("", "Yes <think>no</think>")),
        ("", ("", "")),
    ],
)
def test_inline_thinking_is_split_at_any_cuts(text: str, expected: tuple[str, str], data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)))))
    assert split([text[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]) == expected


def test_inline_thinking_becomes_a_thinking_block() -> None:
    stream = b"".join([*(chunk({"content": text}) for text in "<think>Hm</think>Yes."), chunk({}, "stop"), DONE])
    assert message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["content"] == [
        {"type": "thinking", "thinking": "Hm", "signature": ""},
        {"type": "text", "text": "Yes."},
    ]


def test_an_endpoint_that_tells_reasoning_apart_may_write_tags_into_its_text() -> None:
    stream = chunk({"reasoning_content": "Hm"}) + chunk({"content": "<think>is a tag"}, "stop") + DONE
    content = message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["content"]
    assert content[1] == {"type": "text", "text": "<think>is a tag"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("hm\n</think>\n\nso", ("hm", "so")),
        ("<think>hm</think>so", ("hm", "so")),
        ("\n<think>\nhm</think>so", ("hm", "so")),
        ("</think>so", ("", "so")),
        ("a < b </thin </think> so </think>", ("a < b </thin ", "so </think>")),
        # Never closed: it was the answer after all, and is told as such.
        ("so it is", ("so it is", "so it is")),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_thinking_that_the_template_opened(text: str, expected: tuple[str, str], size: int) -> None:
    stream = b"".join(chunk({"content": text[at : at + size]}) for at in range(0, len(text), size)) + chunk({}, "stop")
    seen = convert(stream, Dialect.CHAT, Dialect.MESSAGES, thinking_opened=True)
    blocks = message_of(seen)["content"]
    said = ["".join(block.get(kind, "") for block in blocks) for kind in ("thinking", "text")]
    assert (said[0], said[1]) == expected
    whole = convert_answer(completion(text), way_back(Dialect.CHAT, Dialect.MESSAGES, thinking_opened=True))
    assert ["".join(block.get(kind, "") for block in whole["content"]) for kind in ("thinking", "text")] == said


def test_a_closing_tag_alone_is_text_where_nothing_is_known() -> None:
    seen = convert(chunk({"content": "a</think>b"}) + chunk({}, "stop"), Dialect.CHAT, Dialect.MESSAGES)
    assert [block.get("text") for block in message_of(seen)["content"]] == ["a</think>b"]


@pytest.mark.parametrize("before", ["\n\n", "<think>\n\n</think>\n\n", " "])
def test_white_space_before_a_call_is_no_text(before: str) -> None:
    call = {"index": 0, "id": "a", "function": {"name": "run", "arguments": "{}"}}
    stream = chunk({"content": before}) + chunk({"tool_calls": [call]}) + chunk({}, "tool_calls")
    seen = convert(stream, Dialect.CHAT, Dialect.MESSAGES)
    assert [block["type"] for block in message_of(seen)["content"]] == ["tool_use"]


def test_what_might_have_been_a_tag_is_said_before_a_call() -> None:
    call = {"index": 0, "id": "a", "function": {"name": "run", "arguments": "{}"}}
    stream = chunk({"content": "<th"}) + chunk({"tool_calls": [call]}) + chunk({}, "tool_calls")
    blocks = message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["content"]
    assert [block.get("text") or block["type"] for block in blocks] == ["<th", "tool_use"]
    stream = (
        chunk({"content": "<th"}) + chunk({"reasoning_content": "hm"}) + chunk({"content": "so"}) + chunk({}, "stop")
    )
    blocks = message_of(convert(stream, Dialect.CHAT, Dialect.MESSAGES))["content"]
    assert [block["type"] for block in blocks] == ["text", "thinking", "text"]


def test_who_opens_thinking_is_configured() -> None:
    endpoint = Endpoint(
        name="one", url="http://127.0.0.1:1", dialects=(Dialect.CHAT,), thinking_opened=("deepseek-r1*", "qwq")
    )
    for model, expected in (("deepseek-r1:8b", True), ("qwq", True), ("qwen3", False)):
        facts = facts_for(Candidate(endpoint=endpoint, dialect=Dialect.CHAT, model=model))
        assert facts.thinking_opened is expected
        body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]}
        assert convert_request(body, Dialect.MESSAGES, facts).way_back.thinking_opened is expected
