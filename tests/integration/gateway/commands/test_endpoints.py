"""What the commands tell of a running gateway and its endpoints, and what they have it do."""

from __future__ import annotations

import signal

from codex_control.errors import Exit

from tests.integration.gateway.commands.conftest import KEY, ask, recorded, states
from tests.support.gateway_program import GatewayProgram
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for


async def test_status_and_endpoints(gateway: GatewayProgram) -> None:
    assert (await ask(gateway))[0] == 200
    await recorded(gateway)
    shown = await gateway.done("status", "--json")
    assert shown.json["gateway"]["url"] == gateway.url
    assert gateway.process is not None
    assert shown.json["gateway"]["pid"] == gateway.process.pid
    assert shown.json["today"]["requests"] == 1
    assert states(await gateway.done("endpoints", "list", "--json")) == {"one": "ready", "two": "ready"}
    told = (await gateway.done("status")).out
    assert "2 up, 0 out, 0 disabled" in told
    assert "1 requests, 0 failed, 9 tokens in, 12 out" in told
    verbose = await gateway.done("endpoints", "-v")
    assert KEY not in shown.out + told + verbose.out
    assert "key 1" in verbose.out


async def test_a_second_gateway_is_refused(gateway: GatewayProgram) -> None:
    second = await gateway.run("serve")
    assert second.code == Exit.CONFLICT
    assert "another gateway" in second.err
    assert "codex-gateway status" in second.err
    assert (await gateway.run("status")).code == 0, "the first one still has its address"


async def test_a_killed_gateway_is_not_believed(gateway: GatewayProgram) -> None:
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGKILL)
    await gateway.process.wait()
    assert gateway.paths.address_file.exists()
    assert "does not run" in (await gateway.run("status")).out


async def test_endpoints_are_tried(gateway: GatewayProgram, stub: StubUpstream, other: StubUpstream) -> None:
    tried = (await gateway.done("endpoints", "test", "--json")).lines
    assert [(one["endpoint"], one["dialect"], one["well"]) for one in tried] == [
        ("one", "chat", True),
        ("two", "messages", True),
        ("two", "responses", True),
    ]
    assert all(one["duration_s"] > 0 for one in tried)
    assert stub.requests[0].headers["authorization"] == f"Bearer {KEY}"
    assert [seen.path for seen in other.requests] == ["/v1/messages", "/v1/responses"]
    stub.plan(status=500, body=b'{"error":{"message":"out of order"}}')
    failed = await gateway.run("endpoints", "test", "one")
    assert failed.code == 1
    assert "out of order" in failed.out
    stub.plan(status=200, body=b"<html>")
    assert "no JSON" in (await gateway.run("endpoints", "test", "one")).out
    unknown = await gateway.run("endpoints", "test", "on")
    assert unknown.code == Exit.NOT_FOUND
    assert "one" in unknown.err
    assert states(await gateway.done("endpoints", "list", "--json"))["one"] == "ready", "breakers hear nothing of it"


async def test_each_key_is_tried_and_none_is_shown(gateway: GatewayProgram, stub: StubUpstream) -> None:
    keys = ("0f-first-key-0123456789", "0f-second-key-0123456789")
    pool: list[dict[str, object]] = [{"name": f"k{place}", "api_key": key} for place, key in enumerate(keys)]
    pool.append({"name": "k2", "env": "NOT_THERE"})
    pool.append({"name": "k3", "api_key": "0f-third", "enabled": False})
    gateway.configure(
        endpoints=[{"name": "one", "url": stub.base_url, "dialects": ["chat"], "models": ["m"], "auth": {"keys": pool}}]
    )

    async def obeyed() -> bool:
        return [len(one["keys"]) for one in (await gateway.done("endpoints", "--json")).lines] == [4]

    await wait_for(obeyed, what="the new configuration")
    stub.plan(status=403, body=b'{"error":{"message":"%b is for another model"}}' % keys[0].encode())
    tried = await gateway.run("endpoints", "test", "--json")
    assert tried.code == 1
    assert [(one["key"], one["well"], one["status"]) for one in tried.lines] == [
        ("k0", False, 403),
        ("k1", True, 200),
        ("k2", False, 0),
    ]
    assert tried.lines[0]["why"] == "[redacted] is for another model"
    assert "NOT_THERE" in tried.lines[2]["why"]
    assert [seen.headers["authorization"] for seen in stub.requests] == [f"Bearer {key}" for key in keys]


async def test_an_endpoint_that_is_out_is_brought_back(gateway: GatewayProgram, stub: StubUpstream) -> None:
    stub.plan(status=402, body=b'{"error":{"message":"Insufficient balance"}}')
    assert (await ask(gateway))[0] == 200, "the second endpoint answered"
    (out, _) = (await gateway.done("endpoints", "list", "--json")).lines
    assert out["state"] == "out"
    assert "balance" in out["why"]
    assert out["last_errors"][0]["status"] == 402
    assert "one is out" in (await gateway.done("status")).out
    assert (await gateway.done("endpoints", "reset", "one", "--json")).json == {"names": ["one"]}
    assert states(await gateway.done("endpoints", "list", "--json"))["one"] == "ready"
    assert (await gateway.run("endpoints", "reset", "three")).code == Exit.NOT_FOUND


async def test_a_running_gateway_obeys_at_once(
    gateway: GatewayProgram, stub: StubUpstream, other: StubUpstream
) -> None:
    assert "obeys" in (await gateway.done("endpoints", "disable", "one")).out

    async def is_off() -> bool:
        return states(await gateway.done("endpoints", "list", "--json"))["one"] == "disabled"

    await wait_for(is_off, what="the reload")
    await ask(gateway)
    assert (len(stub.requests), len(other.requests)) == (0, 1)
