"""What the real Codex asks for fits every other dialect."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from codex_gateway.dialect.convert import Dialect, Facts, convert_request
from codex_gateway.dialect.neutral import ToolKind
from codex_gateway.dialect.tokens import count_tokens

from tests.integration.gateway.conftest import codex_exec
from tests.support.codex_home import CodexHome
from tests.support.model_script import Command, Patch, Reasoning, Text
from tests.support.sdk_params import assert_valid
from tests.support.stub_model import StubModel

PATCH = "*** Begin Patch\n*** Add File: made.txt\n+made\n*** End Patch\n"


@pytest.fixture
async def request_of_codex(codex_home: CodexHome, stub_model: StubModel, real_codex: Path) -> dict[str, Any]:
    """The last request of a turn that ran two commands at once and a patch."""
    stub_model.script(Reasoning(("thinking",)), Command("echo one"), Command("echo two"))
    stub_model.script(Patch(PATCH))
    stub_model.script(Text("done"))
    await codex_exec(real_codex, codex_home, "make it")
    return stub_model.requests[-1].body


async def test_it_fits_chat_and_messages(request_of_codex: dict[str, Any]) -> None:
    sent_names = {item["name"] for item in request_of_codex["input"] if item["type"].endswith("_call")}
    for upstream in (Dialect.CHAT, Dialect.MESSAGES):
        for native in (True, False):
            facts = Facts(dialect=upstream, model="m", native=native)
            made = convert_request(request_of_codex, Dialect.RESPONSES, facts)
            assert_valid(made.body, upstream)
            calls = called_names(made.body, upstream)
            assert {made.way_back.client_tool(name).name for name in calls} == sent_names
            assert made.way_back.client_tool("apply_patch").kind is ToolKind.CUSTOM
            assert made.body["messages"][-1]["role"] == ("tool" if upstream is Dialect.CHAT else "user")
            assert len({tool.get("name") or tool["function"]["name"] for tool in made.body["tools"]}) == len(
                made.body["tools"]
            )


def called_names(body: dict[str, Any], upstream: Dialect) -> set[str]:
    if upstream is Dialect.CHAT:
        calls = [call for message in body["messages"] for call in message.get("tool_calls", [])]
        return {call["function"]["name"] for call in calls}
    blocks = [block for message in body["messages"] for block in message["content"]]
    return {block["name"] for block in blocks if block["type"] == "tool_use"}


async def test_its_history_stays_the_same_from_request_to_request(
    request_of_codex: dict[str, Any], stub_model: StubModel
) -> None:
    """So that an endpoint's prompt cache serves: each request begins with all of the one before."""
    assert len(stub_model.requests) == 3
    for upstream in (Dialect.CHAT, Dialect.MESSAGES):
        facts = Facts(dialect=upstream, model="m")
        bodies = [convert_request(one.body, Dialect.RESPONSES, facts).body for one in stub_model.requests]
        for earlier, later in pairwise(bodies):
            assert later["messages"][: len(earlier["messages"])] == earlier["messages"]
            assert later["tools"] == earlier["tools"]
    assert count_tokens(request_of_codex, Dialect.RESPONSES) > 1000
