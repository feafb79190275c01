"""The stand-in for Codex behaves as the real one until a knob is turned, and each knob does what it says."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.exceptions import ConnectionClosed

from tests.support.app_server import AppServerClient, RpcError, app_server
from tests.support.codex_home import CodexHome
from tests.support.codex_schema import CodexSchema
from tests.support.fake_codex.knobs import Knobs, Stage
from tests.support.fake_codex.place import FakeCodex
from tests.support.waiting import wait_for


class Bench:
    """Starts the stand-in and connects to it."""

    def __init__(self, fake: FakeCodex, home: CodexHome, directory: Path) -> None:
        self.fake = fake
        self._home = home
        self._directory = directory

    @contextlib.asynccontextmanager
    async def running(
        self, knobs: Knobs | None = None
    ) -> AsyncIterator[tuple[AppServerClient, asyncio.subprocess.Process]]:
        """A process with these knobs and an initialized client of it."""
        if knobs is not None:
            self.fake.turn_knobs(knobs)
        socket = self._directory / f"s{self.fake.starts}"
        async with (
            app_server(self.fake.binary, socket, self._home.environment()) as process,
            AppServerClient.connect(socket) as client,
        ):
            # One that dies as soon as it is ready may be gone before the handshake's last message.
            with contextlib.suppress(ConnectionClosed):
                await client.initialize()
            yield client, process

    async def run(self, *arguments: str) -> tuple[int | None, str, str]:
        """Run it to its end: exit code, output, errors."""
        process = await asyncio.create_subprocess_exec(
            self.fake.binary,
            *arguments,
            env=self._home.environment(),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, errors = await asyncio.wait_for(process.communicate(), 20)
        return process.returncode, out.decode(), errors.decode()


@pytest.fixture
def bench(fake_codex: FakeCodex, codex_home: CodexHome, short_runtime_dir: Path) -> Bench:
    return Bench(fake_codex, codex_home, short_runtime_dir)


async def start_thread(client: AppServerClient) -> str:
    thread_id: str = (await client.request("thread/start"))["thread"]["id"]
    return thread_id


async def begin(client: AppServerClient, text: str, client_id: str = "c1") -> str:
    """Start a turn in a new thread and do not wait for it; returns the thread."""
    thread_id = await start_thread(client)
    content = [{"type": "text", "text": text}]
    await client.post("turn/start", {"threadId": thread_id, "input": content, "clientUserMessageId": client_id})
    return thread_id


def items(client: AppServerClient, kind: str) -> list[dict[str, Any]]:
    completed = [message["params"]["item"] for message in client.of_method("item/completed")]
    return [item for item in completed if item["type"] == kind]


async def test_answers_as_the_real_one_does(bench: Bench) -> None:
    async with bench.running() as (client, _):
        thread_id = await start_thread(client)
        ended = await client.ask(thread_id, "hello", clientUserMessageId="c1")
    assert client.answer() == "fake: hello"
    assert ended["turn"]["items"][0]["text"] == "fake: hello"
    assert items(client, "userMessage")[0]["clientId"] == "c1"
    assert client.methods == [
        "thread/status/changed",
        "turn/started",
        "item/started",
        "item/completed",
        "item/started",
        *["item/agentMessage/delta"] * 3,
        "item/completed",
        "thread/tokenUsage/updated",
        "thread/status/changed",
        "turn/completed",
    ]


EVERYTHING = Knobs(reasoning="thinking", plan=("one", "two"), command="ls", config_warning="")
SCENARIOS = {
    "plain": Knobs(),
    "everything": EVERYTHING,
    "command": Knobs(approval="command"),
    "file": Knobs(approval="file"),
    "question": Knobs(approval="question"),
    "failed": Knobs(turn_error="usageLimitExceeded"),
    "flood": Knobs(flood_bytes=100_000),
}


@pytest.mark.parametrize("name", SCENARIOS)
async def test_speaks_the_protocol_of_the_installed_codex(bench: Bench, codex_schema: CodexSchema, name: str) -> None:
    async with bench.running(SCENARIOS[name]) as (client, _):
        thread_id = await begin(client, "hello")
        if SCENARIOS[name].approval:
            request = await client.wait_for_message(
                "item/tool/requestUserInput" if name == "question" else f"item/{_item(name)}/requestApproval"
            )
            codex_schema.check_message(request)
            await client.send({"id": request["id"], "result": {"decision": "accept", "answers": {}}})
        await client.wait_for_message("turn/completed")
        requests: dict[str, dict[str, Any]] = {
            "thread/start": {},
            "thread/resume": {"threadId": thread_id},
            "thread/read": {"threadId": thread_id, "includeTurns": True},
            "thread/turns/list": {"threadId": thread_id, "itemsView": "full"},
            "thread/loaded/list": {},
            "thread/backgroundTerminals/clean": {"threadId": thread_id},
            "account/read": {},
            "config/read": {},
            "thread/unsubscribe": {"threadId": thread_id},
        }
        for method, params in requests.items():
            codex_schema.check_result(method, await client.request(method, params))
    for message in client.messages:
        codex_schema.check_message(message)


def _item(approval: str) -> str:
    return {"command": "commandExecution", "file": "fileChange"}[approval]


async def test_speaks_the_protocol_in_a_turn_that_is_steered_and_interrupted(
    bench: Bench, codex_schema: CodexSchema
) -> None:
    async with bench.running(Knobs(stall_at=Stage.DELTA, config_warning="")) as (client, _):
        codex_schema.check_result("initialize", await client.request("initialize", {"clientInfo": {"name": "x"}}))
        thread_id = await start_thread(client)
        started = await client.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "a"}]})
        codex_schema.check_result("turn/start", started)
        turn_id = started["turn"]["id"]
        await client.wait_for_message("item/agentMessage/delta")
        steer = {"threadId": thread_id, "expectedTurnId": turn_id, "input": [{"type": "text", "text": "b"}]}
        codex_schema.check_result("turn/steer", await client.request("turn/steer", steer))
        second = await client.request("turn/start", {"threadId": thread_id, "input": [{"type": "text", "text": "c"}]})
        assert second["turn"]["id"] == turn_id, "a second turn/start on a busy thread is a steer"
        with pytest.raises(RpcError, match="expected active turn id"):
            await client.request("turn/interrupt", {"threadId": thread_id, "turnId": "other"})
        interrupt = {"threadId": thread_id, "turnId": turn_id}
        codex_schema.check_result("turn/interrupt", await client.request("turn/interrupt", interrupt))
        ended = await client.wait_for_message("turn/completed")
        assert ended["params"]["turn"]["status"] == "interrupted"
        revert = {"threadId": thread_id, "beforeTurnId": turn_id}
        codex_schema.check_result("thread/revert", await client.request("thread/revert", revert))
        for message in client.messages:
            codex_schema.check_message(message)


# What is left after a SIGKILL, by the stage of the turn: (status of the turn, types of its items); None: no thread.
AFTER_DEATH = {
    Stage.ACCEPTED: None,
    Stage.REPLIED: ("interrupted", []),
    Stage.STARTED: ("interrupted", []),
    Stage.USER_MESSAGE: ("interrupted", ["userMessage"]),
    Stage.APPROVAL: ("interrupted", ["userMessage"]),
    Stage.COMMAND: ("interrupted", ["userMessage"]),
    Stage.DELTA: ("interrupted", ["userMessage", "commandExecution"]),
    Stage.ANSWER: ("interrupted", ["userMessage", "commandExecution", "agentMessage"]),
    Stage.COMPLETED: ("completed", ["userMessage", "commandExecution", "agentMessage"]),
}


@pytest.mark.parametrize("stage", Stage)
async def test_dies_at_a_stage_and_resumes(bench: Bench, stage: Stage) -> None:
    knobs = Knobs(die_at=stage, approval="command", starts=(1,))
    async with bench.running(knobs) as (client, process):
        thread_id = await begin(client, "hello")
        if list(Stage).index(stage) > list(Stage).index(Stage.APPROVAL):
            request = await client.wait_for_message("item/commandExecution/requestApproval")
            await client.send({"id": request["id"], "result": {"decision": "accept"}})
        assert await asyncio.wait_for(process.wait(), 10) == -signal.SIGKILL
    async with bench.running() as (client, _):
        left = AFTER_DEATH[stage]
        if left is None:
            with pytest.raises(RpcError, match="no rollout found for thread id"):
                await client.request("thread/resume", {"threadId": thread_id})
            return
        resumed = await client.request("thread/resume", {"threadId": thread_id, "excludeTurns": True})
        assert resumed["thread"]["status"] == {"type": "idle"}
        listed = await client.request("thread/turns/list", {"threadId": thread_id, "limit": 1, "itemsView": "full"})
        (turn,) = listed["data"]
        assert (turn["status"], [item["type"] for item in turn["items"]]) == left
        # Asking again with nothing answers what was kept.
        await client.ask(thread_id, "")
        assert client.answer() == ("fake: hello" if left[1] else "fake: ")
    assert bench.fake.starts == 2


async def test_a_turn_outlives_its_client(bench: Bench) -> None:
    async with bench.running(Knobs(approval="command")) as (first, _):
        thread_id = await begin(first, "hello")
        asked = await first.wait_for_message("item/commandExecution/requestApproval")
        socket = bench._directory / "s0"
        async with AppServerClient.connect(socket) as second:
            await second.initialize()
            assert second.messages == []
            await second.request("thread/resume", {"threadId": thread_id})
            again = await second.wait_for_message("item/commandExecution/requestApproval")
            assert again == asked
            await second.send({"id": again["id"], "result": {"decision": "accept"}})
            await second.wait_for_message("turn/completed")
            assert second.answer() == "fake: hello"


async def test_one_writer(bench: Bench) -> None:
    async with bench.running() as (first, _):
        thread_id = await start_thread(first)
        await first.ask(thread_id, "hello")
        async with bench.running() as (second, _):
            with pytest.raises(RpcError, match="already has an active writer"):
                await second.request("thread/resume", {"threadId": thread_id})


@pytest.mark.parametrize(
    ("decision", "status", "command"), [("decline", "completed", "declined"), ("cancel", "interrupted", "declined")]
)
async def test_decisions(bench: Bench, decision: str, status: str, command: str) -> None:
    async with bench.running(Knobs(approval="command")) as (client, _):
        await begin(client, "hello")
        request = await client.wait_for_message("item/commandExecution/requestApproval")
        await client.send({"id": request["id"], "result": {"decision": decision}})
        ended = await client.wait_for_message("turn/completed")
    assert ended["params"]["turn"]["status"] == status
    assert items(client, "commandExecution")[0]["status"] == command


async def test_ignored_replies_hang_the_turn(bench: Bench) -> None:
    async with bench.running(Knobs(approval="command", ignores_replies=True)) as (client, _):
        await begin(client, "hello")
        request = await client.wait_for_message("item/commandExecution/requestApproval")
        await client.send({"id": request["id"], "result": {"decision": "accept"}})
        await client.request("thread/loaded/list")
        assert client.methods[-1] == "item/commandExecution/requestApproval"


async def test_huge_and_broken_messages(bench: Bench) -> None:
    async with bench.running(Knobs(answer_bytes=10_000_000, flood_bytes=2_000_000, unknown_events=True)) as (client, _):
        await begin(client, "hello")
        await client.wait_for_message("turn/completed")
    assert len(client.answer()) == 10_000_000
    assert sum(len(m["params"]["delta"]) for m in client.of_method("item/commandExecution/outputDelta")) == 2_000_000
    assert {"future/event", "future/request"} <= set(client.methods)
    assert items(client, "futureItem")


@pytest.mark.parametrize("knobs", [Knobs(frames=("{",)), Knobs(invalid_utf8=True)])
async def test_sends_garbage(bench: Bench, knobs: Knobs) -> None:
    async def ask() -> None:
        async with bench.running(knobs) as (client, _):
            await begin(client, "hello")
            await client.wait_for_message("turn/completed")

    # The test's client is not made for it: it stops reading and says why.
    with pytest.raises((ConnectionError, msgspec.DecodeError)):
        await ask()


async def test_exits_at_once(bench: Bench) -> None:
    bench.fake.turn_knobs(Knobs(exit_code=7, stderr="it is broken"))
    assert await bench.run("app-server", "--listen", "unix:///nowhere") == (7, "", "it is broken\n")


async def test_version(bench: Bench) -> None:
    assert await bench.run("--version") == (0, "codex-cli 0.163.0\n", "")
    bench.fake.turn_knobs(Knobs(version_output="not a version"))
    assert await bench.run("--version") == (0, "not a version\n", "")


@pytest.mark.parametrize(
    ("knobs", "code"), [(Knobs(die_after_ready_s=0), -signal.SIGKILL), (Knobs(exit_after_ready=3), 3)]
)
async def test_dies_after_ready(bench: Bench, knobs: Knobs, code: int) -> None:
    async with bench.running(knobs) as (_, process):
        assert await asyncio.wait_for(process.wait(), 10) == code


async def test_term_waits_for_the_turn(bench: Bench) -> None:
    async with bench.running(Knobs(approval="command")) as (client, process):
        await begin(client, "hello")
        request = await client.wait_for_message("item/commandExecution/requestApproval")
        process.send_signal(signal.SIGTERM)
        await client.request("thread/loaded/list")
        assert process.returncode is None
        await client.send({"id": request["id"], "result": {"decision": "accept"}})
        assert await asyncio.wait_for(process.wait(), 10) == 0
    assert client.answer() == "fake: hello"


async def test_second_term_forces(bench: Bench) -> None:
    async with bench.running(Knobs(stall_at=Stage.DELTA)) as (client, process):
        await begin(client, "hello")
        await client.wait_for_message("item/agentMessage/delta")
        process.send_signal(signal.SIGTERM)
        await client.request("thread/loaded/list")
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 10) == 0


async def test_ignores_term(bench: Bench) -> None:
    async with bench.running(Knobs(ignores_term=True)) as (client, process):
        process.send_signal(signal.SIGTERM)
        process.send_signal(signal.SIGTERM)
        await client.request("thread/loaded/list")
        assert process.returncode is None


@pytest.mark.parametrize("kind", ["group", "session"])
async def test_leader_exits_and_grandchild_lives(bench: Bench, kind: Any) -> None:
    async with bench.running(Knobs(grandchild=kind, exit_after_ready=0)) as (_, process):
        await asyncio.wait_for(process.wait(), 10)
        pid = bench.fake.grandchild_pid
        try:
            assert (os.getpgid(pid) == process.pid) == (kind == "group")
            assert (os.getsid(pid) == process.pid) == (kind == "group")
        finally:
            os.kill(pid, signal.SIGKILL)


async def test_silent_and_failing_methods(bench: Bench) -> None:
    knobs = Knobs(silent_methods=("thread/loaded/list",), failing_methods={"thread/start": "no disk"})
    async with bench.running(knobs) as (client, _):
        with pytest.raises(RpcError, match="no disk"):
            await client.request("thread/start")
        with pytest.raises(TimeoutError):
            await client.request("thread/loaded/list", timeout_s=0.05)


async def test_broken_configuration(bench: Bench) -> None:
    async with bench.running(Knobs(config_warning="line 3: no such key")) as (client, _):
        await client.wait_for_message("configWarning")
        with pytest.raises(RpcError, match="line 3"):
            await client.request("thread/start")


async def test_grows(bench: Bench) -> None:
    async with bench.running(Knobs(memory_bytes=100_000_000)) as (client, process):
        await begin(client, "hello")
        await client.wait_for_message("turn/completed")
        status = Path(f"/proc/{process.pid}/status")
        if status.exists():
            resident_kib = int(status.read_text().partition("VmRSS:")[2].split()[0])
            assert resident_kib > 100_000


async def test_never_listens_or_answers(bench: Bench, short_runtime_dir: Path) -> None:
    bench.fake.turn_knobs(Knobs(answers_initialize=False))
    socket = short_runtime_dir / "s"
    environment = bench._home.environment()
    async with app_server(bench.fake.binary, socket, environment), AppServerClient.connect(socket) as client:
        with pytest.raises(TimeoutError):
            await client.request("initialize", {"clientInfo": {"name": "x"}}, timeout_s=0.05)

    bench.fake.turn_knobs(Knobs(listens=False, stderr="up"))
    process = await asyncio.create_subprocess_exec(
        bench.fake.binary,
        *("app-server", "--listen", f"unix://{short_runtime_dir}/t"),
        env=environment,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    assert await process.stderr.readline() == b"up\n"
    assert not (short_runtime_dir / "t").exists()
    process.kill()
    await wait_for(lambda: process.returncode is not None, what="its end")
    await process.communicate()
