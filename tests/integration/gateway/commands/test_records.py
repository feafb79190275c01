"""Requests under way, and the records of those that have ended."""

from __future__ import annotations

import asyncio
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from codex_control.errors import Exit

from tests.integration.gateway.commands.conftest import KEY, ask, recorded
from tests.support.gateway_program import GatewayProgram
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for


async def test_requests_under_way_are_shown(gateway: GatewayProgram, stub: StubUpstream) -> None:
    stub.plan(stalls="head")
    asking = asyncio.get_running_loop().create_task(ask(gateway))

    async def shown() -> Any:
        return (await gateway.done("status", "--json")).json["under_way"]

    (one,) = await wait_for(shown, what="the request")
    assert (one["model"], one["endpoint"], one["client"]) == ("stub", "one", "other")
    assert (await gateway.done("endpoints", "list", "--json")).lines[0]["running"] == 1
    assert "under way   1 requests" in (await gateway.done("status")).out
    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)


async def test_records_are_read(gateway: GatewayProgram, stub: StubUpstream, tmp_path: Path) -> None:
    stub.plan(status=500, body=b'{"error":{"message":"once"}}')
    assert (await ask(gateway))[0] == 200
    stub.always = stub.always.__class__(status=400, body=b'{"error":{"message":"no such thing","code":"x"}}')
    assert (await ask(gateway, user="me"))[0] == 400
    newest, oldest = await recorded(gateway, 2)
    assert (oldest["outcome"], len(oldest["attempts"]), oldest["attempts"][0]["status"]) == ("ok", 2, 500)
    assert oldest["cost_usd"] == pytest.approx((9 * 1000 + 12 * 2000) / 1e6)
    failed = (await gateway.done("requests", "--failed", "--json")).lines
    assert [one["number"] for one in failed] == [newest["number"]]
    for options, count in (
        (("--client", "other"), 2),
        (("--client", "codex"), 0),
        (("--model", "st*"), 2),
        (("--since", "1h"), 2),
        (("--since", "2099-01-01"), 0),
        (("--grep", "NO SUCH"), 1),
        (("-n", "1"), 1),
    ):
        assert len((await gateway.done("requests", "--json", *options)).lines) == count, options
    assert (await gateway.run("requests", "--since", "soon")).code == Exit.USAGE
    assert (await gateway.done("requests", "--since", "9999-12-31")).out == "no requests\n"
    assert len((await gateway.done("requests", "--since", "999999w", "--json")).lines) == 2
    assert (await gateway.run("requests", "--before", "9" * 20)).code == Exit.USAGE
    assert (await gateway.run("show", os.fsdecode(b"\xff"))).code == Exit.USAGE
    told = (await gateway.done("show", str(oldest["number"]))).out
    assert "attempt 1" in told
    assert "HTTP 500" in told
    bodies = (await gateway.done("show", oldest["id"], "--bodies", "--json")).json["bodies"]
    assert {one["side"] for one in bodies} == {"asked", "sent", "answered"}
    archive = tmp_path / "one.zip"
    await gateway.done("export", str(oldest["number"]), "-o", str(archive))
    with zipfile.ZipFile(archive) as opened:
        everything = b"".join(opened.read(name) for name in opened.namelist())
    assert b"once" in everything
    assert KEY.encode() not in everything
    assert gateway.paths.token_file("other").read_text().strip().encode() not in everything
    gateway.write_config("nonsense: 1\n")
    wrong = await gateway.done("export", str(oldest["number"]), "-o", str(tmp_path / "two.zip"))
    assert "without the settings" in wrong.err
    assert "nonsense" in wrong.err
    (sums,) = (await gateway.done("stats", "--by", "model", "--json")).lines
    assert (sums["group"], sums["requests"], sums["failed"], sums["retried"]) == ("stub", 2, 1, 1)
    assert (await gateway.run("show", "4711")).code == Exit.NOT_FOUND
