"""The stub model against the real Codex: what a script says is what Codex does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.app_server import AppServerClient, app_server
from tests.support.codex_home import CodexHome
from tests.support.codex_schema import CodexSchema
from tests.support.fake_codex.knobs import Knobs
from tests.support.fake_codex.place import FakeCodex
from tests.support.model_script import (
    Bulk,
    Command,
    Cut,
    Fail,
    Incomplete,
    Open,
    Patch,
    Plan,
    Question,
    Reasoning,
    Stall,
    Status,
    Step,
    Text,
    Usage,
    context_window_full,
    usage_limit,
)
from tests.support.stub_model import StubModel
from tests.support.waiting import wait_for


async def exec_codex(binary: Path, home: CodexHome, prompt: str) -> list[dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        *(binary, "exec", "--json", "--skip-git-repo-check", "--sandbox", "danger-full-access", "-C", home.workspace),
        prompt,
        env=home.environment(),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, errors = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0, (out, errors)
    return [msgspec.json.decode(line) for line in out.splitlines()]


async def test_codex_echo(real_codex: Path, codex_home: CodexHome, stub_model: StubModel) -> None:
    events = await exec_codex(real_codex, codex_home, "hello there")
    messages = [event["item"]["text"] for event in events if event["type"] == "item.completed"]
    assert messages == ["stub: hello there"]
    assert stub_model.requests[0].finished


async def test_codex_tools(real_codex: Path, codex_home: CodexHome, stub_model: StubModel) -> None:
    patch = "*** Begin Patch\n*** Add File: made.txt\n+by a patch\n*** End Patch"
    gate = stub_model.gate()
    stub_model.script(Reasoning(("**Thinking** about it",)), Text("first"), Command("echo from the shell"))
    stub_model.script(Plan((("look", "completed"), ("leap", "in_progress"))))
    stub_model.script(Patch(patch))
    stub_model.script(Text("all "), gate, Text("done"), Usage(100, 40, 20, 5))

    async with asyncio.TaskGroup() as group:
        asking = group.create_task(exec_codex(real_codex, codex_home, "do it all"))
        await gate.reached()
        assert not asking.done()
        gate.release()
    events = asking.result()

    completed = [event["item"] for event in events if event["type"] == "item.completed"]
    assert [item["type"] for item in completed] == [
        "reasoning",
        "agent_message",
        "command_execution",
        "file_change",
        "agent_message",
        "todo_list",
    ]
    assert completed[2]["aggregated_output"] == "from the shell\n"
    assert completed[4]["text"] == "all done"
    assert (codex_home.workspace / "made.txt").read_text() == "by a patch\n"
    assert [len(request.tool_outputs) for request in stub_model.requests] == [0, 1, 2, 3]
    assert "from the shell" in stub_model.requests[1].tool_outputs[0]
    assert {request.last_user_text for request in stub_model.requests} == {"do it all"}
    assert events[-1]["usage"]["cached_input_tokens"] == 40


@pytest.fixture
async def app(
    real_codex: Path, codex_home: CodexHome, stub_model: StubModel, short_runtime_dir: Path
) -> AsyncIterator[AppServerClient]:
    """A real app-server that gives up at the first failure of the model."""
    codex_home.configure(stub_model.base_url, provider="request_max_retries = 0\nstream_max_retries = 0")
    socket = short_runtime_dir / "s"
    async with app_server(real_codex, socket, codex_home.environment()), AppServerClient.connect(socket) as client:
        await client.initialize()
        yield client


async def start_thread(app: AppServerClient) -> str:
    thread_id: str = (await app.request("thread/start", {"approvalPolicy": "on-request"}))["thread"]["id"]
    return thread_id


# What Codex 0.163.0 makes of each fault, as `codexErrorInfo`. The supervisor's causes rest on these.
FAULTS: dict[str, tuple[tuple[Step, ...], object]] = {
    "400": ((Status(400),), "other"),
    "401": ((Status(401),), {"httpConnectionFailed": {"httpStatusCode": 401}}),
    "403": ((Status(403),), {"httpConnectionFailed": {"httpStatusCode": 403}}),
    "429": ((Status(429),), {"responseTooManyFailedAttempts": {"httpStatusCode": 429}}),
    "usage limit": ((usage_limit(),), "usageLimitExceeded"),
    "no quota": ((Fail("insufficient_quota"),), "usageLimitExceeded"),
    "rate limit": ((Fail("rate_limit_exceeded"),), "rateLimitExceeded"),
    "500": ((Status(500),), "internalServerError"),
    "503": ((Status(503, "server_is_overloaded"),), "serverOverloaded"),
    "overloaded": ((Fail("server_is_overloaded"),), "serverOverloaded"),
    "context window": ((context_window_full(),), "contextWindowExceeded"),
    "refused": ((Fail("cyber_policy"),), "cyberPolicy"),
    "filtered": ((Text("part"), Incomplete("content_filter")), "other"),
    "cut before headers": ((Cut(),), "other"),
    "cut after headers": ((Open(), Cut()), "other"),
    "cut in the text": ((Text("part"), Cut(reset=True)), "other"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_codex_reports_each_fault(app: AppServerClient, stub_model: StubModel, name: str) -> None:
    steps, expected = FAULTS[name]
    stub_model.script(*steps)
    ended = await app.ask(await start_thread(app), "hello")
    assert ended["turn"]["status"] == "failed"
    assert ended["turn"]["error"]["codexErrorInfo"] == expected
    assert stub_model.received == 1


@pytest.mark.parametrize("steps", [(Stall(),), (Open(), Stall()), (Text("part"), Stall())])
async def test_codex_hangs_in_a_stall_until_it_is_interrupted(
    app: AppServerClient, stub_model: StubModel, steps: tuple[Step, ...]
) -> None:
    stub_model.script(*steps)
    thread_id = await start_thread(app)
    started = await app.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "x"}]})
    request = await stub_model.wait_for_requests(1)
    await app.request("turn/interrupt", {"threadId": thread_id, "turnId": started["turn"]["id"]})
    ended = await app.wait_for_message("turn/completed")
    assert ended["params"]["turn"]["status"] == "interrupted"
    await wait_for(lambda: request.abandoned, what="Codex to leave the stream")


async def test_codex_asks_the_user(app: AppServerClient, stub_model: StubModel) -> None:
    stub_model.script(Question("Which?", ("Left", "Right"), id="way"))
    thread_id = await start_thread(app)
    await app.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "x"}]})
    asked = await app.wait_for_message("item/tool/requestUserInput")
    assert asked["params"]["questions"][0]["question"] == "Which?"
    await app.send({"id": asked["id"], "result": {"answers": {"way": {"answers": ["Right"]}}}})
    await app.wait_for_message("turn/completed")
    assert "Right" in stub_model.requests[-1].tool_outputs[0]


async def test_codex_takes_much(app: AppServerClient, stub_model: StubModel) -> None:
    stub_model.script(Bulk(3_000_000, 300))
    await app.ask(await start_thread(app), "much")
    assert len(app.answer()) == 3_000_000
    assert len(app.of_method("item/agentMessage/delta")) == 300


async def test_codex_messages_match_the_schema(
    app: AppServerClient, stub_model: StubModel, codex_schema: CodexSchema
) -> None:
    """The check of the stand-in is worth something only if the real one passes it and nonsense does not."""
    stub_model.script(Reasoning(("thinking",)), Text("a"), Command("true"))
    thread_id = await start_thread(app)
    await app.ask(thread_id, "hello")
    turns = await app.request("thread/turns/list", {"threadId": thread_id, "itemsView": "full"})
    codex_schema.check_result("thread/turns/list", turns)
    for message in app.messages:
        codex_schema.check_message(message)
    with pytest.raises(AssertionError, match=r"turn/completed: .*'turn' is a required property"):
        codex_schema.check_message({"method": "turn/completed", "params": {"threadId": thread_id}})
    with pytest.raises(AssertionError, match="Codex sends no notification turn/nonsense"):
        codex_schema.check_message({"method": "turn/nonsense", "params": {}})


async def test_the_stand_in_sends_what_codex_sends(
    app: AppServerClient, fake_codex: FakeCodex, codex_home: CodexHome, short_runtime_dir: Path
) -> None:
    socket = short_runtime_dir / "f"
    fake_codex.turn_knobs(Knobs(answer="stub: hello", deltas=3))
    async with (
        app_server(fake_codex.binary, socket, codex_home.environment()),
        AppServerClient.connect(socket) as fake,
    ):
        await fake.initialize()
        transcripts = []
        for client in (app, fake):
            await client.ask(await start_thread(client), "hello", clientUserMessageId="c1")
            transcripts.append([_shape(message) for message in client.messages if message["method"] not in UNNEEDED])
    assert transcripts[1] == transcripts[0]


# What the product takes no notice of, so the stand-in does not send it.
UNNEEDED = {
    "account/rateLimits/updated",
    "configWarning",
    "remoteControl/status/changed",
    "thread/readState/changed",
    "thread/started",
    "warning",
}


def _shape(message: dict[str, Any]) -> tuple[str, str, str]:
    """A message without its ids and times."""
    params = message["params"]
    item = params.get("item", {})
    turn = params.get("turn", {})
    return message["method"], item.get("type", ""), str(turn.get("status", item.get("text", params.get("status", ""))))
