"""Answers as the vendors' own clients see them: put together from a stream, or whole."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import anthropic
import httpx2
import openai
from codex_gateway.dialect.convert import Dialect

Json = dict[str, Any]


class Sdk:
    """The vendors' clients over a transport in this process; no network."""

    def __init__(self) -> None:
        self._answer = httpx2.Response(500)
        transport = httpx2.MockTransport(lambda _: self._answer)
        self._openai = openai.OpenAI(
            api_key="x", base_url="http://gateway/v1", max_retries=0, http_client=httpx2.Client(transport=transport)
        )
        self._anthropic = anthropic.Anthropic(
            api_key="x", base_url="http://gateway", max_retries=0, http_client=httpx2.Client(transport=transport)
        )

    def close(self) -> None:
        """Close both clients."""
        self._openai.close()
        self._anthropic.close()

    def of_stream(self, dialect: Dialect, stream: Iterable[bytes]) -> Json:
        """What the client of `dialect` puts together from `stream`."""
        self._answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=b"".join(stream))
        match dialect:
            case Dialect.MESSAGES:
                with self._anthropic.messages.stream(model="m", max_tokens=1, messages=[]) as messages:
                    return _plain(messages.get_final_message())
            case Dialect.CHAT:
                with self._openai.chat.completions.stream(model="m", messages=[]) as chat:
                    # get_final_completion refuses what was cut off.
                    return _plain(chat.until_done().current_completion_snapshot)
            case Dialect.RESPONSES:
                with self._openai.responses.stream(model="m", input="") as responses:
                    last: Any = None
                    for event in responses:
                        if event.type in ("response.completed", "response.incomplete", "response.failed"):
                            last = event.response
                    assert last is not None
                    return _plain(last)

    def of_whole(self, dialect: Dialect, body: Json) -> Json:
        """What the client of `dialect` makes of a whole answer."""
        self._answer = httpx2.Response(200, json=body)
        match dialect:
            case Dialect.MESSAGES:
                return _plain(self._anthropic.messages.create(model="m", max_tokens=1, messages=[]))
            case Dialect.CHAT:
                return _plain(self._openai.chat.completions.create(model="m", messages=[]))
            case Dialect.RESPONSES:
                return _plain(self._openai.responses.create(model="m", input=""))


def _plain(answer: Any) -> Json:
    value: Json = json.loads(answer.to_json())
    _tidy(value)
    return value


def _tidy(value: Any) -> None:
    """Take out what the clients add themselves, and what only a stream or only a whole answer has by its form."""
    if isinstance(value, list):
        for one in value:
            _tidy(one)
    elif isinstance(value, dict):
        for key in [key for key, one in value.items() if one is None or key in _OWN]:
            del value[key]
        if "function" in value:
            value.pop("index", None)
        for one in value.values():
            _tidy(one)


_OWN = ("parsed", "parsed_arguments", "parsed_output", "logprobs")
