"""The demo model behind the gateway."""

from __future__ import annotations

import json

import pytest

from tests.integration.gateway.commands.conftest import ask
from tests.integration.gateway.conftest import BODIES, endpoint
from tests.support.gateway_program import GatewayProgram
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for


@pytest.mark.parametrize("path", BODIES)
async def test_the_demo_model_answers_in_every_dialect(program: GatewayProgram, path: str) -> None:
    await program.start("--demo", "--port", "0", "--log-level", "debug")
    try:
        status, answer = await ask(program, path)
        assert status == 200
        assert "I am the demo model of codex-gateway: a small program, no AI." in json.dumps(answer)
        assert "hello" in json.dumps(answer, ensure_ascii=False)
        assert (await program.done("endpoints", "test", "--json")).json["well"] is True
    finally:
        await program.end()


async def test_the_demo_model_leaves_other_endpoints_alone(program: GatewayProgram, stub: StubUpstream) -> None:
    program.configure(endpoints=[endpoint(stub)])
    await program.start("--demo", "--port", "0")
    try:
        _, answer = await ask(program)
        assert "demo model" not in json.dumps(answer)
        _, answer = await ask(program, model="demo")
        assert len(stub.requests) == 2, "the demo model comes last"
        program.configure(endpoints=[endpoint(stub, models=["stub"])])

        async def demo_answers() -> bool:
            return "demo model" in json.dumps((await ask(program, model="demo"))[1])

        await wait_for(demo_answers, what="the reload")
        assert (await ask(program, model="other"))[0] == 404
    finally:
        await program.end()
