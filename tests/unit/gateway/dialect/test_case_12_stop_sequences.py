"""Case 12, requests: stop sequences, and those that the gateway must cut itself."""

from __future__ import annotations

import pytest
from codex_gateway.dialect.convert import Dialect, Facts, convert_request

from tests.support.sdk_params import chat_body, conversion, messages_body, to_messages

USER = {"role": "user", "content": "hi"}
FIVE = ["a", "b", "c", "d", "e"]


def test_messages_and_chat() -> None:
    assert to_messages(chat_body(USER, stop="END"))["stop_sequences"] == ["END"]
    assert to_messages(chat_body(USER, stop=["A", "B"]))["stop_sequences"] == ["A", "B"]
    made = conversion(messages_body(USER, stop_sequences=["A"]), Dialect.MESSAGES, Dialect.CHAT)
    assert made.body["stop"] == ["A"]
    assert made.way_back.cut_at == ()


def test_chat_takes_four_and_the_gateway_cuts_at_the_rest() -> None:
    made = conversion(messages_body(USER, stop_sequences=FIVE), Dialect.MESSAGES, Dialect.CHAT)
    assert made.body["stop"] == FIVE[:4]
    assert made.way_back.cut_at == ("e",)
    assert made.way_back.stop == tuple(FIVE)


def test_responses_takes_none_and_the_gateway_cuts_at_all() -> None:
    for body, client in (
        (messages_body(USER, stop_sequences=["A", "B"]), Dialect.MESSAGES),
        (chat_body(USER, stop=["A", "B"]), Dialect.CHAT),
    ):
        made = conversion(body, client, Dialect.RESPONSES)
        assert "stop" not in made.body
        assert made.way_back.cut_at == ("A", "B")


def test_messages_refuses_white_space_so_the_gateway_cuts_there() -> None:
    made = conversion(chat_body(USER, stop=["\n\n", "END"]), Dialect.CHAT, Dialect.MESSAGES)
    assert made.body["stop_sequences"] == ["END"]
    assert made.way_back.cut_at == ("\n\n",)


@pytest.mark.parametrize(("client", "key"), [(Dialect.CHAT, "stop"), (Dialect.MESSAGES, "stop_sequences")])
@pytest.mark.parametrize("upstream", [Dialect.CHAT, Dialect.MESSAGES])
def test_where_an_endpoint_refuses_them_the_gateway_cuts(client: Dialect, key: str, upstream: Dialect) -> None:
    body = {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}], key: ["END"]}
    made = convert_request(body, client, Facts(dialect=upstream, model="m", no_stop=True))
    assert not {"stop", "stop_sequences"} & set(made.body)
    assert made.way_back.cut_at == ("END",)
    without = {name: body[name] for name in body if name != key}
    assert convert_request(without, client, Facts(dialect=client, model="m", no_stop=True)).untouched
