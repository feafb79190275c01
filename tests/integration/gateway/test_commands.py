"""The commands of the real `codex-gateway`, beside a running gateway and without one."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import zipfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from codex_control.errors import Exit

from tests.integration.gateway.conftest import BODIES, endpoint
from tests.support.gateway_program import GatewayProgram, Ran
from tests.support.stub_upstream import StubUpstream
from tests.support.waiting import wait_for

KEY = "0f-of-no-known-form-0123456789"

CONFIG = """\
# My endpoints.
listen: {{port: 0}}
retries: {{backoff_initial: 10ms, backoff_max: 20ms}}
records: {{bodies: all}}
prices:
  - {{model: "stub*", input: 1000, output: 2000}}
endpoints:
  # The first one.
  - name: one
    url: {one}?key={key}   # its URL
    dialects: [chat]
    models: [stub]
    auth: {{api_key: {key}}}
    priority: 10
  # The second one.
  - name: two
    url: {two}
    dialects: [messages, responses]
    models: [stub]
    priority: 20
"""


CCCC = """\
endpoints:
  - name: relay
    url_anthropic: http://127.0.0.1:1
    auth_type: api_key
    auth_value: {key}
    enabled: true
    priority: 1
"""


@pytest.fixture
def program(tmp_path: Path, short_runtime_dir: Path) -> GatewayProgram:
    """The program in a home of its own; nothing runs, nothing is configured."""
    home = tmp_path / "home"
    home.mkdir()
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "XDG_RUNTIME_DIR": str(short_runtime_dir),
        "TZ": "UTC",
    }
    return GatewayProgram(environment)


@pytest.fixture
async def gateway(program: GatewayProgram, stub: StubUpstream, other: StubUpstream) -> AsyncIterator[GatewayProgram]:
    """A running gateway with two endpoints."""
    program.write_config(CONFIG.format(one=stub.base_url, two=other.base_url, key=KEY))
    await program.start()
    yield program
    await program.end()


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port that nobody listens on, and nobody else can take."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]


async def ask(
    gateway: GatewayProgram, path: str = "/v1/chat/completions", token: str = "", **more: Any
) -> tuple[int, Any]:
    """A client's request; its status and answer."""
    token = token or gateway.paths.token_file("other").read_text().strip()
    async with (
        aiohttp.ClientSession() as http,
        http.post(
            gateway.url + path, json=BODIES[path](**more), headers={"Authorization": f"Bearer {token}"}
        ) as response,
    ):
        return response.status, await response.json(content_type=None)


async def recorded(gateway: GatewayProgram, count: int = 1) -> list[Any]:
    """The records of requests, once there are `count`: the newest first."""

    async def all_there() -> list[Any]:
        ran = await gateway.run("requests", "--json")
        return ran.lines if len(ran.lines) >= count else []

    found: list[Any] = await wait_for(all_there, what=f"{count} records")
    return found


def states(ran: Ran) -> dict[str, str]:
    return {one["name"]: one["state"] for one in ran.lines}


# --- without a gateway ---------------------------------------------------------------------------------------------


async def test_help_and_wrong_words(program: GatewayProgram) -> None:
    told = await program.done("--help")
    for name in ("serve", "setup", "endpoints", "tokens", "requests", "learned", "status", "completion"):
        assert f"  {name} " in told.out
        assert "Usage:" in (await program.done(name, "--help")).out
    wrong = await program.run("endpoint")
    assert wrong.code == Exit.USAGE
    assert "endpoints" in wrong.err


async def test_without_a_gateway_what_can_be_known_is_said(program: GatewayProgram) -> None:
    status = await program.run("status")
    assert status.code == Exit.UNAVAILABLE
    assert "does not run" in status.out
    assert "codex-gateway serve" in status.out
    as_json = await program.run("status", "--json")
    assert (as_json.code, as_json.json["running"], as_json.json["today"]) == (Exit.UNAVAILABLE, False, None)
    none = await program.done("endpoints")
    assert "there is no endpoint" in none.out
    assert (await program.done("learned")).out == "nothing is learned\n"
    for command in (("requests",), ("stats",), ("show", "1"), ("export", "1")):
        ran = await program.run(*command)
        assert ran.code == Exit.NOT_FOUND, command
        assert "codex-gateway serve" in ran.err
    for command in (("endpoints", "test"), ("endpoints", "reset")):
        ran = await program.run(*command)
        assert ran.code == Exit.UNAVAILABLE, command
        assert "codex-gateway serve" in ran.err


async def test_endpoints_are_switched_in_the_file_without_a_gateway(program: GatewayProgram) -> None:
    text = CONFIG.format(one="http://127.0.0.1:1", two="http://127.0.0.1:2", key=KEY)
    program.write_config(text)
    listed = await program.done("endpoints", "--json")
    assert states(listed) == {"one": "enabled", "two": "enabled"}
    assert "how they are is not known" in listed.err
    assert KEY not in listed.out
    off = await program.done("endpoints", "disable", "one")
    assert "holds from the next start" in off.out
    assert program.paths.config_file.read_text() == text.replace("- name: one\n", "- name: one\n    enabled: false\n")
    assert states(await program.done("endpoints", "list", "--json")) == {"one": "disabled", "two": "enabled"}
    reordered = await program.done("endpoints", "reorder", "two", "--json")
    assert [one["name"] for one in reordered.json["endpoints"]] == ["two", "one"]
    assert reordered.json["gateway_runs"] is False
    written = program.paths.config_file.read_text()
    assert written.index("# The second one.") < written.index("- name: two") < written.index("# The first one.")
    unknown = await program.run("endpoints", "enable", "tow")
    assert unknown.code == Exit.NOT_FOUND
    assert "two" in unknown.err
    assert program.paths.config_file.read_text() == written


async def test_a_wrong_configuration_is_named_with_its_line(program: GatewayProgram) -> None:
    program.write_config("endpoints:\n  - name: one\n    urll: http://127.0.0.1:1\n")
    for command in (("serve",), ("config", "check"), ("endpoints",)):
        ran = await program.run(*command)
        assert ran.code == Exit.CONFIG, (command, ran)
        # The key that is missing is missing because another one is written wrong: that one first.
        assert "line 3, column 5: there is no key `endpoints[0].urll`" in ran.err
        assert ran.err.index("line 3") < ran.err.index("line 2")


async def test_the_configuration_is_shown_without_its_secrets(program: GatewayProgram) -> None:
    missing = await program.done("config", "check")
    assert "there is no endpoint" in missing.out
    program.write_config(CONFIG.format(one="http://127.0.0.1:1", two="http://127.0.0.1:2", key=KEY))
    assert "2 endpoints, 2 of them enabled" in (await program.done("config", "check")).out
    shown = (await program.done("config", "show")).out
    assert "http://127.0.0.1:2" in shown
    assert KEY not in shown
    assert "`endpoints[].url`" in (await program.done("config", "reference")).out
    assert (await program.run("config", "check", "/nowhere.yaml")).code == Exit.USAGE
    version = (await program.done("version", "--json")).json["version"]
    assert version in (await program.done("--version")).out


async def test_another_proxys_endpoints_are_taken_over(program: GatewayProgram, tmp_path: Path) -> None:
    theirs = tmp_path / "config.yaml"
    theirs.write_text(CCCC.format(key=KEY))
    dry = await program.done("import", "cccc", str(theirs), "--dry-run")
    assert "relay" in dry.out
    assert KEY not in dry.out + dry.err
    assert not program.paths.config_file.exists()
    await program.done("import", "cccc", str(theirs))
    assert stat.S_IMODE(program.paths.config_file.stat().st_mode) == 0o600
    assert states(await program.done("endpoints", "--json")) == {"relay": "enabled"}
    again = await program.run("import", "cccc", str(theirs))
    assert again.code == Exit.USAGE
    assert "already" in again.err
    assert (await program.run("import", "cccc", "/nowhere.yaml")).code == Exit.USAGE


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
async def test_completion(program: GatewayProgram, shell: str) -> None:
    script = (await program.done("completion", shell)).out
    assert "_CODEX_GATEWAY_COMPLETE" in script
    program.write_config(CONFIG.format(one="http://127.0.0.1:1", two="http://127.0.0.1:2", key=KEY))
    words = {"_CODEX_GATEWAY_COMPLETE": "bash_complete", "COMP_WORDS": "codex-gateway st", "COMP_CWORD": "1"}
    assert (await program.run(**words)).out.split() == ["plain,stats", "plain,status"]
    words |= {"COMP_WORDS": "codex-gateway endpoints re", "COMP_CWORD": "2"}
    assert (await program.run(**words)).out.split() == ["plain,reorder", "plain,reset"]
    words |= {"COMP_WORDS": "codex-gateway endpoints disable t", "COMP_CWORD": "3"}
    assert (await program.run(**words)).out.split() == ["plain,two"]


# --- beside a gateway ----------------------------------------------------------------------------------------------


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
    (sums,) = (await gateway.done("stats", "--by", "model", "--json")).lines
    assert (sums["group"], sums["requests"], sums["failed"], sums["retried"]) == ("stub", 2, 1, 1)
    assert (await gateway.run("show", "4711")).code == Exit.NOT_FOUND


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


# --- clients -------------------------------------------------------------------------------------------------------


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
    assert not file.exists()
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


# --- the demo model ------------------------------------------------------------------------------------------------


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
