"""What is wrong in a request is named with its path."""

from __future__ import annotations

from typing import Any

import pytest
from codex_control.errors import BadInput
from codex_gateway.dialect.convert import Dialect, Facts, convert_request

M, C, R = Dialect.MESSAGES, Dialect.CHAT, Dialect.RESPONSES
USER = {"role": "user", "content": "hi"}


def m(**more: Any) -> dict[str, Any]:
    return {"model": "m", "max_tokens": 10, "messages": [USER], **more}


def c(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [USER], **more}


def r(**more: Any) -> dict[str, Any]:
    return {"model": "m", "input": [USER], **more}


@pytest.mark.parametrize(
    ("client", "body", "path", "why"),
    [
        (M, {"messages": [USER], "max_tokens": 1}, "model", "missing"),
        (M, {"model": "m", "max_tokens": 1}, "messages", "missing"),
        (M, {"model": "m", "messages": [USER]}, "max_tokens", "missing"),
        (M, m(max_tokens="10"), "max_tokens", "whole number, and is a string"),
        (M, m(max_tokens=True), "max_tokens", "and is a boolean"),
        (M, m(messages={}), "messages", "an array, and is an object"),
        (M, m(messages=[USER, "x"]), "messages[1]", "an object, and is a string"),
        (M, m(messages=[{"role": "bot", "content": "x"}]), "messages[0].role", "user, assistant or system"),
        (M, m(messages=[{"role": "user"}]), "messages[0].content", "missing"),
        (M, m(messages=[USER, {"role": "user", "content": [{}]}]), "messages[1].content[0].type", "missing"),
        (
            M,
            m(messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "ftp"}}]}]),
            "messages[0].content[0].source.type",
            "base64, url or file",
        ),
        (
            M,
            m(messages=[{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": [7]}]}]),
            "messages[0].content[0].content[0]",
            "an object, and is a number",
        ),
        (M, m(system=[{"type": "image"}]), "system[0].type", "text"),
        (M, m(tools=[{"input_schema": {}}]), "tools[0].name", "missing"),
        (M, m(tool_choice={"type": "maybe"}), "tool_choice.type", "auto, any, none or tool"),
        (M, m(output_config={"format": {"type": "xml"}}), "output_config.format.type", "json_schema"),
        (M, m(stop_sequences=["a", 1]), "stop_sequences[1]", "a string, and is a number"),
        (
            C,
            c(messages=[{"role": "user", "content": [{"type": "video"}]}]),
            "messages[0].content[0].type",
            "text, image_url",
        ),
        (
            C,
            c(
                messages=[
                    {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png,x"}}]}
                ]
            ),
            "messages[0].content[0].image_url.url",
            "base64",
        ),
        (C, c(messages=[{"role": "tool", "content": "x"}]), "messages[0].tool_call_id", "missing"),
        (
            C,
            c(messages=[{"role": "assistant", "tool_calls": [{"id": "a", "function": {}}]}]),
            "messages[0].tool_calls[0].function.name",
            "missing",
        ),
        (C, c(tool_choice="any"), "tool_choice", 'auto, required, none, and is "any"'),
        (C, c(n=3), "n", "one choice"),
        (C, c(temperature="hot"), "temperature", "a number, and is a string"),
        (C, c(response_format={"type": "json_schema", "json_schema": 1}), "response_format.json_schema", "an object"),
        (R, r(input=7), "input", "an array, and is a number"),
        (R, r(input=[{"id": "x"}]), "input[0].type", "missing"),
        (R, r(input=[USER, {"type": "function_call", "name": "f"}]), "input[1].call_id", "missing"),
        (R, r(input=[{"role": "user", "content": [{"type": "text"}]}]), "input[0].content[0].text", "missing"),
        (
            R,
            r(tools=[{"type": "namespace", "name": "n", "tools": [{"type": "mcp"}]}]),
            "tools[0].tools[0].type",
            "function",
        ),
        (R, r(text={"format": {"type": "json_schema"}}), "text.format.schema", "missing"),
        (R, r(reasoning="high"), "reasoning", "an object, and is a string"),
    ],
)
def test_the_path_and_the_reason(client: Dialect, body: dict[str, Any], path: str, why: str) -> None:
    upstream = C if client is not C else M
    with pytest.raises(BadInput) as caught:
        convert_request(body, client, Facts(dialect=upstream, model="x"))
    assert caught.value.what == path
    assert why in caught.value.why


@pytest.mark.parametrize("client", list(Dialect))
def test_within_a_dialect_only_the_bones_are_looked_at(client: Dialect) -> None:
    facts = Facts(dialect=client, model="m")
    with pytest.raises(BadInput, match="model: it is missing"):
        convert_request({}, client, facts)
    key = "input" if client is R else "messages"
    with pytest.raises(BadInput, match=key):
        convert_request({"model": "m", key: 7}, client, facts)
    new = {"model": "m", key: [{"role": "user", "content": [{"type": "hologram"}]}]}
    assert convert_request(new, client, facts).body is new


def test_null_counts_as_absent() -> None:
    nulls = dict.fromkeys(
        ("temperature", "top_p", "stop", "tools", "tool_choice", "max_tokens", "response_format", "stream", "user", "n")
    )
    made = convert_request(c(**nulls), C, Facts(dialect=R, model="x"))
    assert set(made.body) == {"model", "input", "store"}
