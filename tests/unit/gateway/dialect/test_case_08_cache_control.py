"""Case 8: Anthropic's cache marks, and what stands for them at OpenAI."""

from __future__ import annotations

from typing import Any

from codex_gateway.dialect.convert import Dialect, Facts, convert_request

from tests.support.sdk_params import chat_body, messages_body, sent, to_chat, to_responses

MARK = {"type": "ephemeral"}
BILLING = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.197; cch=1f2e;"}
SYSTEM = {"type": "text", "text": "Be good.", "cache_control": MARK}


def body(*messages: str, mark: dict[str, str] | None = MARK, billing: str = "1f2e") -> dict[str, Any]:
    turns = [
        {"role": "user" if n % 2 == 0 else "assistant", "content": [{"type": "text", "text": text}]}
        for n, text in enumerate(messages)
    ]
    system = {**SYSTEM, "cache_control": mark} if mark else {"type": "text", "text": "Be good."}
    return messages_body(*turns, system=[{**BILLING, "text": BILLING["text"] + billing}, system])


def test_marks_pass_within_messages() -> None:
    given = body("hi")
    made = convert_request(given, Dialect.MESSAGES, Facts(dialect=Dialect.MESSAGES, model="claude-x", native=True))
    assert made.body is given


def test_marks_go_and_a_stable_key_comes() -> None:
    for write in (to_chat, to_responses):
        first = write(body("hi", billing="1"), native=True)
        later = write(body("hi", "yes", "more", billing="2"), native=True)
        other = write(body("ho"), native=True)
        assert "cache_control" not in str(first)
        assert first["prompt_cache_key"] == later["prompt_cache_key"]
        assert first["prompt_cache_key"] != other["prompt_cache_key"]
        assert "prompt_cache_key" not in write(body("hi", mark=None), native=True)
        assert "prompt_cache_key" not in write(body("hi"))


def test_the_clients_own_key_is_kept() -> None:
    chat = chat_body({"role": "user", "content": "hi"}, prompt_cache_key="mine")
    assert to_responses(chat, native=True)["prompt_cache_key"] == "mine"


def test_the_billing_header_goes_to_anthropic_alone() -> None:
    assert to_chat(body("hi"))["messages"][0] == {"role": "system", "content": "Be good."}
    assert to_responses(body("hi"))["instructions"] == "Be good."
    assert sent(body("hi"), Dialect.MESSAGES, Dialect.MESSAGES)["system"] == [SYSTEM]
    assert len(sent(body("hi"), Dialect.MESSAGES, Dialect.MESSAGES, native=True)["system"]) == 2
