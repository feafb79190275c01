"""Clients set up for the gateway, proved, and set back."""

from __future__ import annotations

import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from codex_control.errors import Exit

from tests.integration.gateway.commands.conftest import recorded
from tests.support.gateway_program import GatewayProgram
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and nobody else can take."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


@pytest.mark.parametrize(("client", "path"), [("claude-code", "/v1/messages"), ("codex", "/v1/responses")])
async def test_set_up_proved_and_undone(gateway: GatewayProgram, client: str, path: str) -> None:
    home = Path(gateway.environment["HOME"])
    file = home / (".claude/settings.json" if client == "claude-code" else ".codex/config.toml")
    token = gateway.paths.token_file(client).read_text().strip()
    shown = await gateway.done("setup", client, "--print")
    assert not file.exists()
    assert gateway.url in shown.out
    early = await gateway.run("setup", client, "--test")
    assert early.code == Exit.CONFIG
    assert f"codex-gateway setup {client}" in early.err
    for _ in range(2):
        done = await gateway.done("setup", client)
        assert token not in shown.out + shown.err + done.out + done.err
        assert "until it ends" in done.err
        assert "no gateway runs" not in done.err
    assert "already" in done.out
    assert token in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    proof = (await gateway.done("setup", client, "--test", "--json")).json
    assert (proof["url"], proof["model"], proof["status"]) == (gateway.url + path, "stub", 200)
    (record, *_) = await recorded(gateway)
    assert (record["token"], record["path"], record["outcome"]) == (client, path, "ok")
    await gateway.end()
    gone = await gateway.run("setup", client, "--test")
    assert gone.code == Exit.UNAVAILABLE
    assert "codex-gateway serve" in gone.err
    assert "as it was" in (await gateway.done("setup", client, "--undo")).out
    assert not file.parent.exists()
    assert (await gateway.run("setup", client, "--undo")).code == Exit.NOT_FOUND


async def test_a_proof_that_fails_says_why(gateway: GatewayProgram, stub: StubUpstream, other: StubUpstream) -> None:
    await gateway.done("setup", "codex")
    stub.always = other.always = stub.always.__class__(status=404, body=b'{"error":{"message":"no such model"}}')
    failed = await gateway.run("setup", "codex", "--test")
    assert failed.code == Exit.FAILED
    assert "no such model" in failed.err
    await gateway.done("tokens", "revoke", "codex")

    async def refused() -> bool:
        ran = await gateway.run("setup", "codex", "--test")
        return ran.code == Exit.CONFIG and "refused the token" in ran.err

    await wait_for(refused, what="the end of the token")


async def test_clients_are_set_up_before_the_first_start(program: GatewayProgram, closed_port: int) -> None:
    shown = await program.done("setup", "codex", "--print")
    assert "http://127.0.0.1:9477/v1" in shown.out
    program.configure(listen={"port": closed_port})
    done = await program.done("setup", "codex")
    assert f"http://127.0.0.1:{closed_port}" in done.out
    assert "no gateway runs" in done.err
    assert "codex-gateway serve" in done.err
    file = Path(program.environment["HOME"], ".codex/config.toml")
    assert program.paths.token_file("codex").read_text().strip() in file.read_text()
    ran = await program.run("setup", "codex", "--test", "--model", "m")
    assert ran.code == Exit.UNAVAILABLE
    assert f"127.0.0.1:{closed_port}" in ran.err
    elsewhere = {"CODEX_HOME": str(file.parent.parent / "other")}
    await program.done("setup", "codex", **elsewhere)
    assert Path(elsewhere["CODEX_HOME"], "config.toml").read_text() == file.read_text()
    await program.done("setup", "codex", "--undo", **elsewhere)
    assert file.exists()
    file.write_text("model = [\n")
    wrong = await program.run("setup", "codex")
    assert wrong.code == Exit.CONFIG
    assert file.read_text() == "model = [\n"


async def test_a_port_that_nobody_knows_is_not_written(program: GatewayProgram) -> None:
    program.configure()
    ran = await program.run("setup", "codex")
    assert ran.code == Exit.CONFIG
    assert "listen.port" in ran.err
    assert not Path(program.environment["HOME"], ".codex").exists()
    both = await program.run("setup", "codex", "--print", "--undo")
    assert both.code == Exit.USAGE
