"""The vendors' own SDKs through the real gateway to a stub endpoint in each dialect: streaming helpers, tools, and
structured output.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel

from tests.support.codex_home import codex_home_below
from tests.support.gateway_program import GatewayProgram
from tests.support.scripted_upstream import ScriptedUpstream, Turn, Use

PARAMETERS: dict[str, object] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
CALL = Use("weather", {"city": "東京"})


# The stub's Responses are no more than Codex needs, and pass through byte for byte: too little for this SDK.
CONVERTED = pytest.mark.parametrize("gateway", ["chat", "messages"], indirect=True)


class City(BaseModel):
    """What a structured answer holds."""

    name: str
    people: int


@pytest.fixture
async def stub() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as made:
        yield made


@pytest.fixture(params=("chat", "messages", "responses"))
async def gateway(
    request: pytest.FixtureRequest, short_runtime_dir: Path, stub: ScriptedUpstream
) -> AsyncIterator[GatewayProgram]:
    """The gateway in front of an endpoint of one dialect."""
    with codex_home_below() as home:
        made = GatewayProgram(home.environment(short_runtime_dir))
        made.configure(endpoints=[{"name": "stub", "url": stub.base_url, "dialects": [request.param]}])
        await made.start()
        yield made
        await made.end()


@pytest.fixture
async def token(gateway: GatewayProgram) -> str:
    return (await gateway.done("tokens", "text", "other")).out.strip()


@pytest.fixture
async def openai(gateway: GatewayProgram, token: str) -> AsyncIterator[AsyncOpenAI]:
    async with AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=token, max_retries=0) as client:
        yield client


@pytest.fixture
async def anthropic(gateway: GatewayProgram, token: str) -> AsyncIterator[AsyncAnthropic]:
    async with AsyncAnthropic(base_url=gateway.url, api_key=token, max_retries=0) as client:
        yield client


async def test_chat_streams_text_and_a_tool_call(openai: AsyncOpenAI, stub: ScriptedUpstream) -> None:
    stub.script(Turn(text="Looking. ", calls=(CALL,)))
    async with openai.chat.completions.stream(
        model="m",
        messages=[{"role": "user", "content": "weather?"}],
        tools=[{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS}}],
    ) as stream:
        completion = await stream.get_final_completion()
    message = completion.choices[0].message
    assert message.content == "Looking. "
    assert message.tool_calls is not None
    (call,) = message.tool_calls
    assert (call.function.name, json.loads(call.function.arguments)) == ("weather", {"city": "東京"})
    assert completion.choices[0].finish_reason == "tool_calls"


async def test_chat_parses_a_structured_answer(openai: AsyncOpenAI, stub: ScriptedUpstream) -> None:
    stub.script(Turn(text='{"name": "Zürich", "people": 443000}'))
    async with openai.chat.completions.stream(
        model="m", messages=[{"role": "user", "content": "which?"}], response_format=City
    ) as stream:
        completion = await stream.get_final_completion()
    assert completion.choices[0].message.parsed == City(name="Zürich", people=443000)
    assert "people" in str(stub.requests[0].body), "the schema reached the endpoint"


@CONVERTED
async def test_responses_stream_text_and_a_tool_call(openai: AsyncOpenAI, stub: ScriptedUpstream) -> None:
    stub.script(Turn(text="Looking. ", calls=(CALL,)))
    async with openai.responses.stream(
        model="m",
        input="weather?",
        tools=[{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": False}],
    ) as stream:
        response = await stream.get_final_response()
    assert response.output_text == "Looking. "
    (call,) = [item for item in response.output if item.type == "function_call"]
    assert (call.name, json.loads(call.arguments)) == ("weather", {"city": "東京"})


@CONVERTED
async def test_responses_parse_a_structured_answer(openai: AsyncOpenAI, stub: ScriptedUpstream) -> None:
    stub.script(Turn(text='{"name": "Zürich", "people": 443000}'))
    async with openai.responses.stream(model="m", input="which?", text_format=City) as stream:
        response = await stream.get_final_response()
    assert response.output_parsed == City(name="Zürich", people=443000)


async def test_messages_stream_text_and_a_tool_call(anthropic: AsyncAnthropic, stub: ScriptedUpstream) -> None:
    stub.script(Turn(text="Looking. ", calls=(CALL,)))
    async with anthropic.messages.stream(
        model="m",
        max_tokens=100,
        messages=[{"role": "user", "content": "weather?"}],
        tools=[{"name": "weather", "input_schema": PARAMETERS}],
    ) as stream:
        message = await stream.get_final_message()
    said, call = message.content
    assert said.type == "text"
    assert call.type == "tool_use"
    assert said.text == "Looking. "
    assert (call.name, call.input) == ("weather", {"city": "東京"})
    assert message.stop_reason == "tool_use"
