"""Learned facts, listed and forgotten."""

from __future__ import annotations

import json

from codex_control.errors import Exit

from tests.integration.gateway.commands.conftest import ask
from tests.support.gateway_program import GatewayProgram
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for


async def teach(gateway: GatewayProgram, stub: StubUpstream) -> None:
    """Have the endpoint refuse a parameter once."""
    refusal = {
        "error": {"message": "Unsupported parameter: 'top_k'", "param": "top_k", "code": "unsupported_parameter"}
    }
    stub.plan(status=400, body=json.dumps(refusal).encode())
    status, _ = await ask(gateway, top_k=3)
    assert status == 200
    assert "top_k" not in stub.requests[-1].json


async def test_facts_are_learned_listed_and_forgotten(gateway: GatewayProgram, stub: StubUpstream) -> None:
    await teach(gateway, stub)
    (fact,) = (await gateway.done("learned", "list", "--json")).lines
    assert (fact["endpoint"], fact["topic"], fact["detail"]) == ("one", "parameter", "top_k")
    assert "Unsupported parameter" in fact["evidence"]
    assert (await gateway.run("learned", "forget")).code == Exit.USAGE
    assert (await gateway.run("learned", "forget", "two")).code == Exit.NOT_FOUND
    told = await gateway.done("learned", "forget", "one", "--topic", "parameter")
    assert told.out == "forgotten: one refuses the parameter top_k (model stub)\n"
    assert (await gateway.done("learned")).out == "nothing is learned\n"
    await gateway.end()
    assert (await gateway.done("learned")).out == "nothing is learned\n", "in the records too"


async def test_facts_outlive_the_gateway_and_are_forgotten_without_one(
    gateway: GatewayProgram, stub: StubUpstream
) -> None:
    await teach(gateway, stub)
    await gateway.end()
    assert "top_k" in (await gateway.done("learned")).out
    await gateway.start()
    assert "top_k" in (await gateway.done("learned")).out
    await gateway.end()
    assert len((await gateway.done("learned", "forget", "--all", "--json")).lines) == 1
    await gateway.start()
    assert (await gateway.done("learned")).out == "nothing is learned\n"


async def test_facts_of_an_endpoint_that_moved_or_went_are_forgotten(
    gateway: GatewayProgram, stub: StubUpstream, other: StubUpstream
) -> None:
    await teach(gateway, stub)
    text = gateway.paths.config_file.read_text()
    gateway.write_config(text.replace(stub.base_url, f"{other.base_url}/elsewhere"))

    async def forgotten() -> bool:
        return "nothing" in (await gateway.done("learned")).out

    await wait_for(forgotten, what="the reload")
    await gateway.end()
    assert await forgotten(), "in the records too"
    gateway.write_config(text)
    await gateway.start()
    await teach(gateway, stub)
    await gateway.end()
    assert "top_k" in (await gateway.done("learned")).out
    gateway.write_config(text.replace("name: one", "name: renamed"))
    await gateway.start()
    assert "nothing" in (await gateway.done("learned")).out
    await gateway.end()
    assert "nothing" in (await gateway.done("learned")).out
