"""Contract case 15: refusals in all three forms."""

from __future__ import annotations

from codex_gateway.dialect.conversion import convert_answer
from codex_gateway.dialect.convert import Dialect

from tests.support.converting import convert, items_of, message_of, way_back
from tests.support.dialect_streams import (
    chat_stream,
    completion,
    message,
    messages_stream,
    response,
    responses_stream,
)

NO = "I can't help with that."
DETAILS = {"type": "refusal", "category": "cyber", "explanation": NO}
PARTLY = {"type": "text", "text": "Well,"}
MESSAGES = messages_stream(message(PARTLY, stop_reason="refusal", stop_details=DETAILS))
WORDLESS = messages_stream(message(PARTLY, stop_reason="refusal"))
CHAT = chat_stream(completion(None, "stop", refusal=NO))
REFUSED_ITEM = {
    "id": "msg_1",
    "type": "message",
    "status": "completed",
    "role": "assistant",
    "content": [{"type": "refusal", "refusal": NO}],
}
RESPONSES = responses_stream(response(REFUSED_ITEM))


def test_chat_to_messages() -> None:
    told = message_of(convert(CHAT, Dialect.CHAT, Dialect.MESSAGES))
    assert told["stop_reason"] == "refusal"
    assert told["stop_details"] == {"type": "refusal", "category": None, "explanation": NO}
    assert told["content"] == [{"type": "text", "text": NO}]


def test_chat_to_responses() -> None:
    seen = convert(CHAT, Dialect.CHAT, Dialect.RESPONSES)
    assert items_of(seen)[0]["content"] == [{"type": "refusal", "refusal": NO}]
    assert seen.events[-1]["type"] == "response.completed"
    assert "".join(event["delta"] for event in seen.of("response.refusal.delta")) == NO
    assert seen.of("response.refusal.done")[0]["refusal"] == NO


def test_responses_to_messages() -> None:
    told = message_of(convert(RESPONSES, Dialect.RESPONSES, Dialect.MESSAGES))
    assert (told["stop_reason"], told["stop_details"]["explanation"]) == ("refusal", NO)


def test_responses_to_chat() -> None:
    seen = convert(RESPONSES, Dialect.RESPONSES, Dialect.CHAT)
    assert "".join(delta.get("refusal") or "" for delta in seen.deltas()) == NO
    assert seen.finish_reason() == "stop"


def test_messages_to_chat() -> None:
    seen = convert(MESSAGES, Dialect.MESSAGES, Dialect.CHAT)
    assert "".join(delta.get("refusal") or "" for delta in seen.deltas()) == NO
    assert seen.finish_reason() == "content_filter"
    assert convert(WORDLESS, Dialect.MESSAGES, Dialect.CHAT).finish_reason() == "content_filter"


def test_messages_to_responses_always_says_that_it_refused() -> None:
    content = items_of(convert(MESSAGES, Dialect.MESSAGES, Dialect.RESPONSES))[0]["content"]
    assert [part["type"] for part in content] == ["output_text", "refusal"]
    assert content[1]["refusal"] == NO
    wordless = items_of(convert(WORDLESS, Dialect.MESSAGES, Dialect.RESPONSES))[0]["content"]
    assert wordless[1]["refusal"] == "The model refused to answer."


def test_what_a_filter_stopped_is_incomplete() -> None:
    seen = convert(chat_stream(completion("Well,", "content_filter")), Dialect.CHAT, Dialect.RESPONSES)
    assert seen.events[-1]["response"]["incomplete_details"] == {"reason": "content_filter"}


def test_whole_answers() -> None:
    chat = convert_answer(response(REFUSED_ITEM), way_back(Dialect.RESPONSES, Dialect.CHAT))["choices"][0]
    assert (chat["message"]["refusal"], chat["message"]["content"], chat["finish_reason"]) == (NO, None, "stop")
    body = message(stop_reason="refusal", stop_details=DETAILS)
    told = convert_answer(body, way_back(Dialect.MESSAGES, Dialect.RESPONSES))
    assert told["output"][0]["content"] == [{"type": "refusal", "refusal": NO}]
