"""What identifies a conversation, and where conversations went."""

from __future__ import annotations

import json
from typing import Any

import pytest
from codex_gateway.config.model import AffinityConfig
from codex_gateway.dialect.neutral import Dialect
from codex_gateway.route.affinity import Affinity, Place, conversation_id

SESSION = "0199a1b2-aaaa-7bbb-8ccc-ddddeeeeffff"
BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"x-claude-code-session-id": SESSION}, BODY),
        ({"session_id": SESSION}, BODY),
        ({"conversation_id": SESSION}, BODY),
        ({"session-id": SESSION}, BODY),
        ({}, BODY | {"metadata": {"user_id": json.dumps({"device_id": "d", "session_id": SESSION})}}),
        ({}, BODY | {"metadata": {"user_id": f"user_12ab_account__session_{SESSION}"}}),
        ({}, BODY | {"prompt_cache_key": SESSION}),
    ],
)
def test_a_session_that_the_client_names_is_the_conversation(headers: dict[str, str], body: dict[str, Any]) -> None:
    assert conversation_id(Dialect.MESSAGES, headers, body, "laptop") == f"laptop|id:{SESSION}"


@pytest.mark.parametrize("user_id", ["alice", "{broken", '{"session_id": 7}', "[]"])
def test_a_user_is_no_conversation(user_id: str) -> None:
    body = BODY | {"metadata": {"user_id": user_id}}
    assert conversation_id(Dialect.MESSAGES, {}, body).startswith("|hash:")


def _claude(turns: int, *, cached: int = 0, billing: str = "1") -> dict[str, Any]:
    messages: list[dict[str, Any]] = []
    for turn in range(turns):
        text: dict[str, Any] = {"type": "text", "text": f"question {turn}"}
        if turn == cached:
            text["cache_control"] = {"type": "ephemeral"}
        messages += [{"role": "user", "content": [text]}, {"role": "assistant", "content": f"answer {turn}"}]
    system = [{"type": "text", "text": f"x-anthropic-billing-header: {billing}"}, {"type": "text", "text": "be kind"}]
    return {"model": "m", "system": system, "messages": messages}


def test_a_conversation_without_a_name_is_known_by_its_beginning() -> None:
    def of(body: dict[str, Any]) -> str:
        return conversation_id(Dialect.MESSAGES, {}, body)

    assert of(_claude(1)) == of(_claude(3, cached=2, billing="7"))
    assert of(_claude(1)) != of(_claude(1) | {"system": "be rude"})
    assert of(_claude(1)) != of({"model": "m", "messages": [{"role": "user", "content": "other"}]})
    chat = {"model": "m", "messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]}
    more = chat | {"messages": [*chat["messages"], {"role": "assistant", "content": "a"}]}
    assert conversation_id(Dialect.CHAT, {}, chat) == conversation_id(Dialect.CHAT, {}, more)
    responses = {"model": "m", "instructions": "i", "input": "u"}
    listed = responses | {"input": [{"role": "user", "content": "u"}]}
    assert conversation_id(Dialect.RESPONSES, {}, responses) == conversation_id(Dialect.RESPONSES, {}, listed)


@pytest.mark.parametrize("body", [{}, {"messages": []}, {"messages": 7}, {"messages": None}])
def test_nothing_identifies_nothing(body: dict[str, Any]) -> None:
    assert conversation_id(Dialect.MESSAGES, {}, body) == ""


@pytest.mark.parametrize(
    "body", [{"messages": [7, None, {"role": 3}]}, {"messages": [{"content": [[[]]]}], "metadata": []}]
)
def test_odd_bodies_are_taken(body: dict[str, Any]) -> None:
    for dialect in Dialect:
        conversation_id(dialect, {}, body | {"input": body["messages"]})


def test_places_are_kept_for_a_time_and_a_number() -> None:
    affinity = Affinity(AffinityConfig(kept_for=10, conversations=2))
    for number, name in enumerate("abc"):
        affinity.went(name, Place(f"e{number}"), number, response_id=f"resp_{name}")
    assert affinity.place("a", 3) is None
    assert affinity.place("b", 3) == Place("e1")
    assert affinity.response("resp_c", 3) == Place("e2")
    affinity.went("b", Place("e9", "k"), 4)
    affinity.went("d", Place("e3"), 5)
    assert affinity.place("c", 5) is None  # the longest unused
    assert affinity.place("b", 14) == Place("e9", "k")
    assert affinity.place("b", 14.1) is None
    assert len(affinity) == 1


def test_an_endpoint_that_is_gone_is_forgotten_and_affinity_can_be_off() -> None:
    affinity = Affinity(AffinityConfig())
    affinity.went("a", Place("x"), 0, "r")
    affinity.went("b", Place("y"), 0)
    affinity.forget_endpoint("x")
    assert affinity.place("a", 0) is None
    assert affinity.response("r", 0) is None
    assert affinity.place("b", 0) == Place("y")
    affinity.configure(AffinityConfig(enabled=False))
    assert affinity.place("b", 0) is None
    affinity.went("", Place("x"), 0)
    assert affinity.place("", 0) is None
