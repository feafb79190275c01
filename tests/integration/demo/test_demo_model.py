"""The demo model answers the real Codex."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from codex_control.errors import BadConfig
from codex_supervisor.demo import DemoModel, answers, demo_overrides

from tests.support.app_server import AppServerClient, app_server
from tests.support.codex_home import codex_home_below


@pytest.fixture
async def demo_model(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DemoModel]:
    """A demo model that does not take the time that a person needs to read."""
    monkeypatch.setattr(answers, "WORD_PAUSE_S", 0.0005)
    monkeypatch.setattr(answers, "SLOW_PAUSE_S", 0.05)
    model = DemoModel()
    await model.start()
    yield model
    await model.stop()


@pytest.fixture
async def codex(demo_model: DemoModel, real_codex: Path, short_runtime_dir: Path) -> AsyncIterator[AppServerClient]:
    """A real Codex without any configuration of its own, led to the demo model."""
    overrides = [part for value in demo_overrides(demo_model.port) for part in ("-c", value)]
    socket = short_runtime_dir / "s"
    with codex_home_below() as home:
        environment = home.environment() | demo_model.environment
        async with app_server(real_codex, socket, environment, overrides), AppServerClient.connect(socket) as client:
            await client.initialize()
            yield client


async def start_thread(codex: AppServerClient) -> str:
    result = await codex.request("thread/start", {"approvalPolicy": "never", "sandbox": "danger-full-access"})
    thread_id: str = result["thread"]["id"]
    return thread_id


async def test_answers_honestly_in_pieces(codex: AppServerClient) -> None:
    thread_id = await start_thread(codex)
    ended = await codex.ask(thread_id, "What is the meaning of life?")

    assert ended["turn"]["status"] == "completed"
    assert "demo model" in codex.answer()
    assert "no AI" in codex.answer()
    assert "What is the meaning of life?" in codex.answer()
    assert len(codex.of_method("item/agentMessage/delta")) > 10
    assert codex.of_method("warning") == []

    await codex.ask(thread_id, "And now?")
    assert "you wrote once in this thread, beginning with “What is the meaning of life?”" in codex.answer()


async def test_runs_a_command(codex: AppServerClient) -> None:
    await codex.ask(await start_thread(codex), "demo: command")
    items = [message["params"]["item"] for message in codex.of_method("item/completed")]
    commands = [item for item in items if item["type"] == "commandExecution"]
    assert [command["exitCode"] for command in commands] == [0]
    assert "Hello from a shell command" in codex.answer()
    assert "no AI" in codex.answer()


async def test_shows_a_plan(codex: AppServerClient) -> None:
    await codex.ask(await start_thread(codex), "demo: plan")
    plans = [message["params"]["plan"] for message in codex.of_method("turn/plan/updated")]
    assert [sum(step["status"] == "completed" for step in plan) for plan in plans] == [0, 1, 2, 3]
    assert "The plan is done" in codex.answer()


async def test_stops_in_a_slow_answer(codex: AppServerClient, demo_model: DemoModel) -> None:
    thread_id = await start_thread(codex)
    await codex.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "demo: slow"}]})
    await codex.wait_for_message("item/agentMessage/delta", 2)
    await demo_model.stop()


async def test_wants_its_token(demo_model: DemoModel) -> None:
    async with aiohttp.ClientSession(f"http://127.0.0.1:{demo_model.port}") as session:
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Bearer wröng"}):
            for method, path in (("POST", "/v1/responses"), ("GET", "/v1/responses"), ("GET", "/v1/models")):
                async with session.request(method, path, headers=headers) as response:
                    assert response.status == 401, (method, path)


async def test_refuses_what_is_no_request(demo_model: DemoModel) -> None:
    headers = {"Authorization": f"Bearer {next(iter(demo_model.environment.values()))}"}
    async with aiohttp.ClientSession(f"http://127.0.0.1:{demo_model.port}", headers=headers) as session:
        async with session.post("/v1/responses", data=b"{") as response:
            assert response.status == 400
        async with session.get("/v1/responses") as response:
            assert response.status == 426


async def test_says_that_its_port_is_taken(demo_model: DemoModel) -> None:
    with pytest.raises(BadConfig, match=f"cannot listen on port {demo_model.port}.*Choose another port"):
        await DemoModel().start(demo_model.port)
