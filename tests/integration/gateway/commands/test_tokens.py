"""Tokens of clients and of the administrator."""

from __future__ import annotations

import asyncio

import aiohttp
from codex_control.errors import Exit

from tests.integration.gateway.commands.conftest import ask
from tests.support.gateway_program import GatewayProgram
from tests.support.waiting import wait_for


async def test_tokens_are_made_and_revoked_while_it_runs(gateway: GatewayProgram) -> None:
    options = ("--role", "client", "--client", "codex", "--requests-per-minute", "100")
    text = (await gateway.done("tokens", "add", "ci", *options)).out.strip()
    assert text.startswith("sk-cgw-")

    async def status_of() -> int:
        headers = {"Authorization": f"Bearer {text}"}
        async with aiohttp.ClientSession() as http, http.get(f"{gateway.url}/v1/models", headers=headers) as response:
            return response.status

    async def has(status: int) -> bool:
        return await status_of() == status

    await wait_for(lambda: has(200), what="the new token")
    listed = await gateway.done("tokens", "--json")
    assert text not in listed.out
    assert "ci" in [one["name"] for one in listed.lines]
    await gateway.done("tokens", "revoke", "ci")
    await wait_for(lambda: has(401), what="the end of the token")
    assert (await gateway.run("tokens", "text", "ci")).code == Exit.NOT_FOUND


async def test_the_tokens_of_a_day_are_counted_across_restarts(gateway: GatewayProgram) -> None:
    text = (await gateway.done("tokens", "add", "small", "--tokens-per-day", "40")).out.strip()

    async def answers() -> bool:
        return (await ask(gateway, token=text))[0] == 200

    await wait_for(answers, what="the new token")  # 21 tokens
    assert (await ask(gateway, token=text))[0] == 200
    assert (await ask(gateway, token=text))[0] == 429
    await gateway.end()
    await gateway.start()
    status, answer = await ask(gateway, token=text)
    assert status == 429
    assert "40 tokens of today" in answer["error"]["message"]


async def test_the_admin_token_is_needed(gateway: GatewayProgram) -> None:
    await gateway.done("tokens", "revoke", "admin")
    ran = await gateway.run("status")
    assert ran.code == Exit.NOT_FOUND
    assert "codex-gateway tokens add" in ran.err
    await gateway.done("tokens", "add", "admin")

    async def works() -> bool:
        return (await gateway.run("status")).code == 0

    await wait_for(works, what="the new token")


async def test_tokens_made_at_the_same_time_are_all_kept(program: GatewayProgram) -> None:
    # Nothing is there yet: each of them may make the first ones.
    await asyncio.gather(*(program.done("tokens", "add", f"t{number}") for number in range(4)))
    names = [one["name"] for one in (await program.done("tokens", "--json")).lines]
    assert sorted(names) == sorted(["claude-code", "codex", "other", "metrics", "admin", "t0", "t1", "t2", "t3"])
