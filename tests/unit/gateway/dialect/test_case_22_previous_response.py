"""Case 22: `previous_response_id` is served from the gateway's own store, or a clear mistake."""

from __future__ import annotations

from typing import Any

import pytest
from codex_control.errors import BadInput
from codex_gateway.dialect.convert import Dialect, Facts, convert_request

from tests.support.sdk_params import responses_body

ITEMS: list[dict[str, Any]] = [
    {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "one"}]},
    {"type": "function_call", "call_id": "c1", "name": "f", "arguments": "{}"},
]
BODY = responses_body(
    {"type": "function_call_output", "call_id": "c1", "output": "ok"},
    previous_response_id="resp_1",
    instructions="Be good.",
)


class Kept:
    def conversation(self, response_id: str) -> list[dict[str, Any]] | None:
        return ITEMS if response_id == "resp_1" else None


def test_the_whole_conversation_is_sent() -> None:
    for upstream in Dialect:
        facts = Facts(dialect=upstream, model="m")
        made = convert_request(BODY, Dialect.RESPONSES, facts, responses=Kept())
        turns = made.body.get("messages") or made.body["input"]
        assert "one" in str(turns[0]) or "one" in str(turns[1])
        assert "ok" in str(turns[-1])
        assert "previous_response_id" not in made.body
        assert made.way_back.echo["previous_response_id"] == "resp_1"
    assert len(ITEMS) == 2


def test_a_plain_text_as_input_is_added_as_a_message() -> None:
    facts = Facts(dialect=Dialect.RESPONSES, model="m")
    made = convert_request({**BODY, "input": "go on"}, Dialect.RESPONSES, facts, responses=Kept())
    assert [item["type"] for item in made.body["input"]] == ["message", "function_call", "message"]


@pytest.mark.parametrize("upstream", list(Dialect))
def test_what_is_not_kept_is_a_clear_mistake(upstream: Dialect) -> None:
    body = {**BODY, "previous_response_id": "resp_9"}
    for responses in (None, Kept()):
        with pytest.raises(BadInput, match="previous_response_id: the gateway keeps no response 'resp_9'"):
            convert_request(body, Dialect.RESPONSES, Facts(dialect=upstream, model="m"), responses=responses)


def test_openai_keeps_its_own() -> None:
    body = {**BODY, "previous_response_id": "resp_9"}
    facts = Facts(dialect=Dialect.RESPONSES, model="gpt-x", native=True)
    assert convert_request(body, Dialect.RESPONSES, facts, responses=Kept()).body is body


@pytest.mark.parametrize(
    ("more", "path"),
    [
        ({"conversation": "conv_1"}, "conversation"),
        ({"prompt": {"id": "p"}}, "prompt"),
        ({"background": True}, "background"),
    ],
)
def test_what_only_openai_keeps_is_a_clear_mistake_elsewhere(more: dict[str, Any], path: str) -> None:
    body = {**responses_body({"role": "user", "content": "hi"}), **more}
    with pytest.raises(BadInput, match=path):
        convert_request(body, Dialect.RESPONSES, Facts(dialect=Dialect.CHAT, model="m"))


def test_a_reference_to_an_item_is_a_clear_mistake() -> None:
    body = responses_body({"role": "user", "content": "hi"}, {"type": "item_reference", "id": "msg_1"})
    with pytest.raises(BadInput, match=r"input\[1\]"):
        convert_request(body, Dialect.RESPONSES, Facts(dialect=Dialect.CHAT, model="m"))
