"""The real Codex and the real Claude Code through the real gateway to a stub endpoint in each dialect, led there by
what `codex-gateway setup` writes and by nothing else.
"""

from __future__ import annotations

import asyncio
import json
import tomllib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from codex_supervisor.demo.catalog import model_catalog

from tests.support.codex_home import CodexHome, codex_home_below
from tests.support.gateway_program import GatewayProgram
from tests.support.scripted_upstream import Asked, ScriptedUpstream, Turn, Use
from tests.support.waiting import wait_for

TIME_LIMIT_S = 60.0
DIALECTS = ("chat", "messages", "responses")
PATCH = "*** Begin Patch\n*** Add File: made.txt\n+made by a patch: “ü”\n*** End Patch\n"

CODEX_CONFIG = """\
# A person's own settings.
model = "stub-model"  # of the endpoint
model_catalog_json = "{catalog}"
check_for_update_on_startup = false

[features]
plugins = false
[analytics]
enabled = false
"""


@pytest.fixture
async def stub() -> AsyncIterator[ScriptedUpstream]:
    async with ScriptedUpstream() as made:
        yield made


@pytest.fixture
async def home() -> AsyncIterator[CodexHome]:
    with codex_home_below() as made:
        yield made


@pytest.fixture(params=DIALECTS)
async def gateway(
    request: pytest.FixtureRequest, home: CodexHome, short_runtime_dir: Path, stub: ScriptedUpstream
) -> AsyncIterator[GatewayProgram]:
    """The gateway in front of an endpoint of one dialect."""
    made = GatewayProgram(home.environment(short_runtime_dir))
    made.configure(endpoints=[{"name": "stub", "url": stub.base_url, "dialects": [request.param]}])
    await made.start()
    yield made
    await made.end()


async def recorded(gateway: GatewayProgram, number: int) -> list[dict[str, object]]:
    """The records, once there are `number` of them: they are written a moment after the answer."""

    async def enough() -> list[dict[str, object]]:
        found = (await gateway.done("requests", "--json")).lines
        return found if len(found) >= number else []

    return await wait_for(enough, what=f"{number} records")


async def run(program: Path, *arguments: str, cwd: Path, environment: dict[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *(str(program), *arguments),
        cwd=cwd,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), TIME_LIMIT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


# --- Codex ---------------------------------------------------------------------------------------------------------


def shell(command: str) -> Callable[[Asked], Use]:
    """A call of whichever shell tool Codex offers."""

    def use(asked: Asked) -> Use:
        if "exec_command" in asked.tool_names:
            return Use("exec_command", {"cmd": command})
        assert "shell_command" in asked.tool_names, asked.tool_names
        return Use("shell_command", {"command": command})

    return use


@pytest.fixture
async def codex(home: CodexHome, gateway: GatewayProgram, real_codex: Path) -> Callable[..., object]:
    """Codex with a person's settings, set up for the gateway."""
    catalog = home.codex_home / "models.json"
    catalog.write_text(json.dumps(model_catalog("stub-model", "Stub", "A stub.", context_window=100_000)))
    before = CODEX_CONFIG.format(catalog=catalog)
    home.config_file.write_text(before)
    await gateway.done("setup", "codex")
    assert "# of the endpoint" in home.config_file.read_text()

    async def turn(prompt: str) -> list[dict[str, object]]:
        options = ("exec", "--json", "--skip-git-repo-check", "--sandbox", "danger-full-access")
        code, out, err = await run(
            real_codex, *options, "-C", str(home.workspace), prompt, cwd=home.workspace, environment=gateway.environment
        )
        assert code == 0, (out, err)
        await gateway.done("setup", "codex", "--undo")
        # Codex itself has written there meanwhile which directory is trusted.
        after = home.config_file.read_text()
        assert after.startswith(before)
        assert set(tomllib.loads(after)) <= {*tomllib.loads(before), "projects"}
        return [json.loads(line) for line in out.splitlines()]

    return turn


async def test_codex_runs_a_command(
    codex: Callable[..., object], stub: ScriptedUpstream, home: CodexHome, gateway: GatewayProgram
) -> None:
    use = shell("echo from the shell > made.txt; echo seen $((40 + 2))")
    stub.script(lambda asked: Turn("I run it.", (use(asked),)), Turn("all done"))
    events = await codex("make it")  # type: ignore[misc]
    assert (home.workspace / "made.txt").read_text() == "from the shell\n"
    items = [event["item"] for event in events if event["type"] == "item.completed"]
    assert [item["text"] for item in items if item["type"] == "agent_message"] == ["I run it.", "all done"]
    assert "seen 42" in json.dumps(stub.requests[-1].body), "the model gets the output"
    done = events[-1]
    assert done["type"] == "turn.completed"
    assert done["usage"]["input_tokens"] == 22
    assert done["usage"]["output_tokens"] == 14
    records = await recorded(gateway, len(stub.requests))
    assert {(one["client"], one["token"], one["endpoint"], one["outcome"]) for one in records} == {
        ("codex", "codex", "stub", "ok")
    }
    assert len(records) == len(stub.requests) == 2


async def test_codex_applies_a_patch(codex: Callable[..., object], stub: ScriptedUpstream, home: CodexHome) -> None:
    stub.script(Turn(calls=(Use("apply_patch", PATCH),)), Turn("patched"))
    events = await codex("patch it")  # type: ignore[misc]
    assert (home.workspace / "made.txt").read_text() == "made by a patch: “ü”\n", events
    assert "apply_patch" in stub.requests[0].tool_names
    assert [event["item"]["text"] for event in events if event.get("item", {}).get("type") == "agent_message"] == [
        "patched"
    ]


async def test_codex_runs_a_parallel_pair(
    codex: Callable[..., object], stub: ScriptedUpstream, home: CodexHome
) -> None:
    pair = shell("echo first > one.txt; echo out of one"), shell("echo second > two.txt; echo out of two")
    stub.script(lambda asked: Turn(calls=tuple(use(asked) for use in pair)), Turn("both"))
    await codex("do both")  # type: ignore[misc]
    assert (home.workspace / "one.txt").read_text() == "first\n"
    assert (home.workspace / "two.txt").read_text() == "second\n"
    history = json.dumps(stub.requests[1].body)
    assert "out of one" in history
    assert "out of two" in history
    assert len(stub.requests) == 2


# --- Claude Code ---------------------------------------------------------------------------------------------------


@pytest.mark.real_claude
async def test_claude_code_uses_a_tool(
    gateway: GatewayProgram, stub: ScriptedUpstream, home: CodexHome, real_claude: Path
) -> None:
    settings = home.home / ".claude/settings.json"
    settings.parent.mkdir()
    before = '{\n  "cleanupPeriodDays": 30,  "env": {"FOO": "1"}\n}'
    settings.write_text(before)
    await gateway.done("setup", "claude-code", "--model", "claude-stub")
    command = "echo from the shell > made.txt; echo seen $((40 + 2))"
    stub.script(Turn("I run it.", (Use("Bash", {"command": command, "description": "makes it"}),)), Turn("all done"))
    environment = gateway.environment | {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "TERM": "xterm"}
    code, out, err = await run(
        *(real_claude, "-p", "make it", "--allowedTools", "Bash", "--output-format", "json"),
        cwd=home.workspace,
        environment=environment,
    )
    assert code == 0, (out, err)
    answer = json.loads(out)
    assert answer["result"] == "all done"
    assert (home.workspace / "made.txt").read_text() == "from the shell\n"
    assert "seen 42" in json.dumps(stub.requests[-1].body), "the model gets the output"
    records = await recorded(gateway, len(stub.requests))
    assert {(one["client"], one["token"], one["endpoint"], one["model"]) for one in records} == {
        ("claude-code", "claude-code", "stub", "claude-stub")
    }
    await gateway.done("setup", "claude-code", "--undo")
    assert settings.read_text() == before


# --- the demo model ------------------------------------------------------------------------------------------------


@pytest.fixture
async def demo(home: CodexHome, short_runtime_dir: Path) -> AsyncIterator[GatewayProgram]:
    """A first try: no configuration at all."""
    made = GatewayProgram(home.environment(short_runtime_dir))
    await made.start("--demo", "--port", "0")
    yield made
    await made.end()


async def test_codex_runs_the_demo_models_command(demo: GatewayProgram, home: CodexHome, real_codex: Path) -> None:
    home.config_file.write_text(
        "check_for_update_on_startup = false\nfeatures.plugins = false\nanalytics.enabled = false\n"
    )
    # By its name Codex takes it for a plain model, with a shell.
    await demo.done("setup", "codex", "--model", "demo")
    options = ("exec", "--skip-git-repo-check", "--sandbox", "danger-full-access", "-C", str(home.workspace))
    code, out, err = await run(real_codex, *options, "demo: command", cwd=home.workspace, environment=demo.environment)
    assert code == 0, (out, err)
    assert "I am the demo model of codex-gateway: a small program, no AI." in out
    assert "Hello from a shell command that the demo model asked for." in out.partition("I was given this")[2]


@pytest.mark.real_claude
async def test_claude_code_runs_the_demo_models_command(
    demo: GatewayProgram, home: CodexHome, real_claude: Path
) -> None:
    await demo.done("setup", "claude-code")
    environment = demo.environment | {"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "TERM": "xterm"}
    code, out, err = await run(
        real_claude, "-p", "demo: command", "--allowedTools", "Bash", cwd=home.workspace, environment=environment
    )
    assert code == 0, (out, err)
    assert "Hello from a shell command that the demo model asked for." in out.partition("I was given this")[2]
