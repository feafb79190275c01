"""Case 7: encrypted reasoning belongs to one endpoint."""

from __future__ import annotations

from codex_gateway.dialect.convert import Dialect
from codex_gateway.dialect.neutral import Thinking
from codex_gateway.dialect.seal import seal

from tests.support.sdk_params import chat_body, conversion, messages_body, responses_body, sent, to_responses

USER = {"role": "user", "content": "go"}
REASONING = {"type": "reasoning", "id": "rs_1", "summary": [], "encrypted_content": "gAAAA"}
ANSWER = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "so", "annotations": []}]}
BODY = responses_body(USER, REASONING, {**ANSWER, "id": "msg_1", "status": "completed"}, USER)


def test_it_stays_on_the_same_endpoint() -> None:
    assert sent(BODY, Dialect.RESPONSES, Dialect.RESPONSES, model="gpt-x") is BODY


def test_it_is_left_out_on_failover() -> None:
    moved = sent(BODY, Dialect.RESPONSES, Dialect.RESPONSES, model="gpt-x", drop_encrypted=True)
    assert moved["input"] == [USER, BODY["input"][2], USER]
    assert BODY["input"][1] is REASONING


def test_what_a_messages_client_holds_goes_only_to_its_endpoint() -> None:
    block = {
        "type": "thinking",
        "thinking": "",
        "signature": seal(Thinking("", Dialect.RESPONSES, encrypted_content="gA"), "one"),
    }
    body = messages_body(USER, {"role": "assistant", "content": [block, {"type": "text", "text": "so"}]}, USER)
    kinds = [item["type"] for item in to_responses(body, endpoint="one")["input"]]
    assert kinds == ["message", "reasoning", "message", "message"]
    for facts in ({"endpoint": "two"}, {"endpoint": "one", "drop_encrypted": True}):
        assert [item["type"] for item in to_responses(body, **facts)["input"]] == ["message", "message", "message"]


def test_include_and_store_are_honoured() -> None:
    body = responses_body(USER, include=["reasoning.encrypted_content"], store=False)
    made = conversion(body, Dialect.RESPONSES, Dialect.CHAT)
    assert made.way_back.include == ("reasoning.encrypted_content",)
    assert made.way_back.store is False
    assert made.way_back.echo == {"store": False}


def test_a_history_that_comes_whole_is_not_kept_by_the_endpoint() -> None:
    native = to_responses(messages_body(USER), native=True)
    assert native["store"] is False
    assert native["include"] == ["reasoning.encrypted_content"]
    assert "include" not in to_responses(messages_body(USER))
    assert to_responses(chat_body(USER), native=True)["store"] is False
    kept = to_responses(chat_body(USER, store=True), native=True)
    assert kept["store"] is True
    assert "include" not in kept
