"""Contract case 24: a rewritten model comes back under the client's name."""

from __future__ import annotations

import json
from itertools import product
from typing import Any

import pytest
from codex_gateway.dialect.convert import Dialect, Facts, PassThrough, convert_request

from tests.support.converting import read_events
from tests.support.dialect_streams import (
    chat_stream,
    completion,
    message,
    messages_stream,
    output_message,
    response,
    responses_stream,
)

TEXT = 'The "model": "gpt-upstream", or "model":"claude-upstream".'
WHOLE: dict[Dialect, dict[str, Any]] = {
    Dialect.MESSAGES: message({"type": "text", "text": TEXT}),
    Dialect.CHAT: completion(TEXT),
    Dialect.RESPONSES: response(output_message(TEXT), metadata={"model": "gpt-upstream"}),
}
STREAMS = {
    Dialect.MESSAGES: messages_stream(WHOLE[Dialect.MESSAGES], 100),
    Dialect.CHAT: chat_stream(WHOLE[Dialect.CHAT], 100),
    Dialect.RESPONSES: responses_stream(WHOLE[Dialect.RESPONSES], 100),
}
REQUESTS: dict[Dialect, dict[str, Any]] = {
    Dialect.MESSAGES: {"model": "mine", "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    Dialect.CHAT: {
        "model": "mine",
        "messages": [{"role": "user", "content": "hi"}],
        "stream": True,
        "stream_options": {"include_usage": True},
    },
    Dialect.RESPONSES: {"model": "mine", "input": "hi"},
}


def models(raw: bytes) -> set[str]:
    found = set()
    for event in read_events(raw):
        holder = event.get("message") or event.get("response") or event
        if "model" in holder:
            found.add(holder["model"])
    return found


@pytest.mark.parametrize(("upstream", "client"), list(product(Dialect, Dialect)))
def test_streams_and_whole_answers_bear_the_clients_name(upstream: Dialect, client: Dialect) -> None:
    made = convert_request(REQUESTS[client], client, Facts(dialect=upstream, model="theirs"))
    assert made.body["model"] == "theirs"
    stream = made.stream()
    raw = b"".join(stream.feed(STREAMS[upstream]) + stream.end())
    assert models(raw) == {"mine"}
    assert json.dumps(TEXT, ensure_ascii=False).encode()[1:-1] in raw
    answer = made.answer(WHOLE[upstream])
    assert answer["model"] == "mine"
    assert WHOLE[upstream]["model"] != "mine"


@pytest.mark.parametrize("dialect", list(Dialect))
def test_an_equal_name_leaves_every_byte(dialect: Dialect) -> None:
    made = convert_request(REQUESTS[dialect], dialect, Facts(dialect=dialect, model="mine", native=True))
    stream = made.stream()
    assert isinstance(stream, PassThrough)
    assert b"".join(stream.feed(STREAMS[dialect]) + stream.end()) == STREAMS[dialect]
    assert made.answer(WHOLE[dialect]) is WHOLE[dialect]


def test_only_the_name_changes() -> None:
    passed = PassThrough(Dialect.RESPONSES, "mine")
    raw = b"".join(passed.feed(STREAMS[Dialect.RESPONSES]) + passed.end())
    last = read_events(raw)[-1]["response"]
    assert last == {**WHOLE[Dialect.RESPONSES], "model": "mine"}
