"""Case 6, requests: reasoning goes back only to the family that made it, byte for byte."""

from __future__ import annotations

from typing import Any

import pytest
from codex_gateway.dialect.convert import Dialect, Facts, convert_request, strip_signatures
from codex_gateway.dialect.neutral import RedactedThinking, Thinking
from codex_gateway.dialect.seal import MARK, seal, unseal

from tests.support.sdk_params import chat_body, messages_body, responses_body, sent, to_chat, to_messages, to_responses

USER = {"role": "user", "content": "go"}
SIGNATURE = "EqQBCkYIBxgCKkA+/=="
CALL = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
RESULT = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "ok"}]}


def thinking(text: str, signature: str) -> dict[str, Any]:
    return {"type": "thinking", "thinking": text, "signature": signature}


def thought(block: dict[str, Any]) -> dict[str, Any]:
    return messages_body(USER, {"role": "assistant", "content": [block, CALL]}, RESULT)


def test_a_signature_passes_within_its_family() -> None:
    body = thought(thinking("hm", SIGNATURE))
    conversion = convert_request(body, Dialect.MESSAGES, Facts(dialect=Dialect.MESSAGES, model="claude-x", native=True))
    assert conversion.body is body
    assert conversion.pass_through
    assert conversion.untouched


def test_chat_gets_the_reasoning_but_openai_does_not() -> None:
    body = thought(thinking("hm", SIGNATURE))
    assert to_chat(body)["messages"][1]["reasoning_content"] == "hm"
    assert "reasoning_content" not in to_chat(body, native=True)["messages"][1]
    assert SIGNATURE not in str(to_chat(body))


def test_responses_gets_no_reasoning_that_it_did_not_make() -> None:
    items = to_responses(thought(thinking("hm", SIGNATURE)), native=True)["input"]
    assert [item["type"] for item in items] == ["message", "function_call", "function_call_output"]


def test_messages_gets_no_reasoning_that_it_did_not_make() -> None:
    chat = chat_body(USER, {"role": "assistant", "reasoning_content": "hm", "content": "so"}, USER)
    assert to_messages(chat)["messages"][1]["content"] == [{"type": "text", "text": "so"}]
    reasoning = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
    responses = responses_body(USER, reasoning, {"role": "assistant", "content": "so"}, USER)
    assert to_messages(responses)["messages"][1]["content"] == [{"type": "text", "text": "so"}]


def test_a_signature_survives_a_responses_client() -> None:
    """As Codex replays it: the text as the summary, the sealed signature as encrypted content."""
    sealed = seal(Thinking("hm", Dialect.MESSAGES, signature=SIGNATURE))
    item = {"type": "reasoning", "summary": [{"type": "summary_text", "text": "hm"}], "encrypted_content": sealed}
    call = {"type": "function_call", "call_id": "t1", "name": "f", "arguments": "{}"}
    body = responses_body(USER, item, call, {"type": "function_call_output", "call_id": "t1", "output": "ok"})
    assert to_messages(body, native=True)["messages"][1]["content"][0] == thinking("hm", SIGNATURE)
    stays = sent(body, Dialect.RESPONSES, Dialect.RESPONSES, native=True)["input"]
    assert [i.get("type") for i in stays] == [None, "function_call", "function_call_output"]


def test_encrypted_reasoning_survives_a_messages_client() -> None:
    made = Thinking("hm", Dialect.RESPONSES, encrypted_content="gAAAA", item_id="rs_1")
    body = thought(thinking("hm", seal(made, "one")))
    item = to_responses(body, endpoint="one")["input"][1]
    assert item == {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": "hm"}],
        "encrypted_content": "gAAAA",
    }
    stays = sent(body, Dialect.MESSAGES, Dialect.MESSAGES, native=True)
    assert [block["type"] for block in stays["messages"][1]["content"]] == ["tool_use"]


def test_redacted_thinking() -> None:
    body = thought({"type": "redacted_thinking", "data": "AAA="})
    assert "AAA=" not in str(to_chat(body))
    assert "AAA=" not in str(to_responses(body))
    item = {"type": "reasoning", "summary": [], "encrypted_content": seal(RedactedThinking("AAA="))}
    back = responses_body(USER, item, {"role": "assistant", "content": "so"}, USER)
    assert to_messages(back)["messages"][1]["content"][0] == {"type": "redacted_thinking", "data": "AAA="}


def test_empty_signatures_are_dropped_where_they_are_checked() -> None:
    body = thought(thinking("hm", ""))
    native = sent(body, Dialect.MESSAGES, Dialect.MESSAGES, native=True)
    assert [block["type"] for block in native["messages"][1]["content"]] == ["tool_use"]
    assert sent(body, Dialect.MESSAGES, Dialect.MESSAGES)["messages"] is body["messages"]


def test_a_turn_of_thinking_alone_is_left_out() -> None:
    body = messages_body(USER, {"role": "assistant", "content": [thinking("hm", "")]}, USER)
    native = sent(body, Dialect.MESSAGES, Dialect.MESSAGES, native=True)
    assert [message["role"] for message in native["messages"]] == ["user", "user"]


def test_the_retry_after_a_refused_signature_has_no_thinking() -> None:
    body = {**thought(thinking("hm", SIGNATURE)), "thinking": {"type": "enabled", "budget_tokens": 2000}}
    body["context_management"] = {"edits": [{"type": "clear_thinking_20251015"}, {"type": "clear_tool_uses_20250919"}]}
    stripped = strip_signatures(body, Dialect.MESSAGES)
    assert [block["type"] for block in stripped["messages"][1]["content"]] == ["tool_use"]
    # A call without thinking before it may not stand where a budget is set.
    assert "thinking" not in stripped
    assert stripped["context_management"] == {"edits": [{"type": "clear_tool_uses_20250919"}]}
    assert body["messages"][1]["content"][0] == thinking("hm", SIGNATURE)
    plain = messages_body(USER)
    assert strip_signatures(plain, Dialect.MESSAGES) is plain


@pytest.mark.parametrize("broken", ["", "EqQB", MARK, MARK + "!!!", MARK + "e30=", MARK + "ZZ"])
def test_what_is_no_seal_is_no_reasoning_of_anybody_else(broken: str) -> None:
    assert unseal(broken, "hm") is None


def test_efforts_and_budgets() -> None:
    body = messages_body(USER, thinking={"type": "enabled", "budget_tokens": 2000})
    assert to_chat(body)["reasoning_effort"] == "low"
    assert to_responses(body)["reasoning"] == {"effort": "low", "summary": "auto"}
    adaptive = messages_body(USER, thinking={"type": "adaptive"}, output_config={"effort": "max"})
    assert to_chat(adaptive)["reasoning_effort"] == "high"
    assert to_chat(adaptive, native=True)["reasoning_effort"] == "max"
    assert "reasoning_effort" not in to_chat(messages_body(USER, thinking={"type": "disabled"}))
    chat = chat_body(USER, reasoning_effort="high", temperature=0.3)
    assert to_messages(chat)["thinking"] == {"type": "enabled", "budget_tokens": 16384}
    assert "temperature" not in to_messages(chat)
    new = to_messages(chat, native=True, model="claude-opus-4-8")
    assert new["thinking"]["type"] == "adaptive"
    assert new["output_config"] == {"effort": "high"}
    old = to_messages(chat, native=True, model="claude-sonnet-4-5-20250929")
    assert old["thinking"] == {"type": "enabled", "budget_tokens": 16384}


def test_a_budget_stays_below_max_tokens_and_away_from_calls_without_thinking() -> None:
    small = responses_body(USER, reasoning={"effort": "high"}, max_output_tokens=3000)
    assert to_messages(small)["thinking"]["budget_tokens"] == 2999
    tiny = responses_body(USER, reasoning={"effort": "high"}, max_output_tokens=900)
    assert "thinking" not in to_messages(tiny)
    call = {"type": "function_call", "call_id": "t1", "name": "f", "arguments": "{}"}
    called = responses_body(
        USER, call, {"type": "function_call_output", "call_id": "t1", "output": "ok"}, reasoning={"effort": "high"}
    )
    assert "thinking" not in to_messages(called)
