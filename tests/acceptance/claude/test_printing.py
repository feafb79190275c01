"""`claude-codex -p`: commands, hostile text, and the tools of Claude's model."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml
from codex_control.v1.instances_pb2 import ListInstancesRequest
from codex_control.v1.tasks_pb2 import ListTasksRequest, WaitTasksRequest

from tests.support.claude_code import PATIENCE_S, ClaudeCode
from tests.support.codex_home import CodexHome
from tests.support.model_script import Text
from tests.support.repository import make_repository
from tests.support.stub_claude_model import StubClaudeModel, Use
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor

pytestmark = pytest.mark.real_claude

INJECTIONS = [
    "$(touch pwned) `touch pwned`; touch pwned | tee pwned && 'one' \"two\" \\n",
    "first line\n\n  second line — 你好世界 😀",
]


@pytest.mark.parametrize("command", ["/codex-ask", "/codex:ask"])
async def test_ask(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel, command: str
) -> None:
    printed = await claude.print(f"{command} why is the sky blue?")
    assert "stub: why is the sky blue?" in printed
    assert "— Codex · instance claude-" in printed
    assert printed.code == 0
    assert not stub_claude.requests, "it costs no model call"


@pytest.mark.parametrize("text", INJECTIONS)
async def test_text_of_a_task_arrives_byte_for_byte(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel, stub_model: StubModel, text: str
) -> None:
    make_repository(claude.workspace)
    assert "is accepted" in await claude.print(f"/codex-task {text}")
    # Claude Code has ended by now.
    (task,) = (await supervisor.client.tasks.List(ListTasksRequest())).tasks
    ended = await supervisor.client.tasks.Wait(WaitTasksRequest(ids=[task.id]), timeout=20)
    assert ended.tasks[0].spec.prompt == text
    assert stub_model.requests[-1].last_user_text == text
    assert not (claude.workspace / "pwned").exists()
    assert (claude.workspace / ".codex/tasks" / f"{task.id}.json").exists()
    assert not stub_claude.requests, "it costs no model call"


@pytest.mark.parametrize("text", INJECTIONS)
async def test_text_arrives_byte_for_byte(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel, text: str
) -> None:
    await claude.print(f"/codex-ask {text}")
    assert stub_model.requests[-1].last_user_text == text
    assert not list(claude.workspace.iterdir())


async def test_bad_input_gets_an_example(claude: ClaudeCode, supervisor: RunningSupervisor) -> None:
    printed = await claude.print("/codex-reasoning maybe")
    assert "'maybe' is neither on nor off" in printed
    assert "for example: /codex-reasoning on" in printed


async def test_answer_past_the_limit_is_fetched_with_one_line(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate, Text("late but here"))
    claude.limit_hooks("2s")
    printed = await claude.print("/codex-ask take your time")
    assert "nothing is lost" in printed
    line = next(line for line in printed.out.splitlines() if line.startswith("Fetch the answer with: "))
    gate.release()
    fetched = await claude.run(*line.partition("codexctl ")[2].split(), program=str(claude.codexctl))
    assert fetched.out == "late but here\n"


async def test_turn_is_named_while_it_runs(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate, Text("done"))
    events = ("--output-format", "stream-json", "--include-hook-events", "--verbose")
    process = await claude.start("-p", "/codex-ask take your time", *events)
    assert process.stdout is not None
    async with asyncio.timeout(PATIENCE_S):
        while b"is accepted; codexctl attach" not in (line := await process.stdout.readline()):
            assert line, "it ended"
    gate.release()
    assert "done" in await claude.ended(process)


async def test_long_question_is_not_repeated_below_its_answer(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    stub_model.script(Text("short"))
    printed = await claude.print("/codex-ask " + "a line of it\n" * 20)
    assert "short" in printed
    assert "a line of it" not in printed


async def test_bridge_that_is_broken_answers_nothing_itself(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel, stub_model: StubModel
) -> None:
    claude.break_hooks()
    await claude.print("/codex-ask $(touch pwned)")
    told = stub_claude.requests[0].last_user_text
    assert "The bridge to Codex is not active" in told
    assert "Do nothing else" in told
    assert not list(claude.workspace.iterdir())
    assert not stub_model.requests


async def test_service_that_does_not_run_is_started(
    claude: ClaudeCode, codex_home: CodexHome, real_codex: Path, stub_model: StubModel
) -> None:
    config = codex_home.home / ".config/codex-supervisor/config.yaml"
    config.parent.mkdir(parents=True)
    config.write_text(yaml.safe_dump({"codex": {"binary": str(real_codex)}, "metrics": {"port": 0}}))
    try:
        assert "stub: hello" in await claude.print("/codex-ask hello")
        await claude.end_service()
        # By the hook alone, without the launcher.
        plugin = f"--plugin-dir={claude.plugin}"
        assert "stub: again" in await claude.print("/codex-ask again", plugin, program="claude")
    finally:
        await claude.end_service()


async def test_continued_session_has_the_same_codex(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    session = ("--session-id", "5b1c2c1e-6d3a-4d0a-9d57-0c5a3a3d1c11")
    await claude.print("say a word, so that there is something to continue", *session)
    await claude.print("/codex-ask first", "--resume", session[1])
    await claude.print("/codex-ask second", "--resume", session[1])
    assert stub_model.requests[-1].user_texts[-2:] == ("first", "second")
    listed = await supervisor.client.instances.List(ListInstancesRequest())
    assert len(listed.instances) == 1


async def test_model_asks_through_the_tool(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel, stub_model: StubModel
) -> None:
    tool = "mcp__plugin_codex_codex__ask"
    stub_claude.script(Use(tool, {"question": "which colour?"}), when="please ask")
    printed = await claude.print("please ask codex", "--allowedTools", tool)
    assert "claude saw: Codex · instance claude-" in printed
    assert "stub: which colour?" in printed
    assert stub_model.requests[-1].last_user_text == "which colour?"
    told = stub_claude.requests[0].whole_text
    assert "codex:codex: When asking Codex is worth it" in told
    assert "codex:ask" not in told, "the commands are the person's"


async def test_model_hands_work_over_and_fetches_it(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel, stub_model: StubModel
) -> None:
    make_repository(claude.workspace)
    server = "mcp__plugin_codex_codex__"
    stub_claude.script(Use(f"{server}task_submit", {"order": "port it"}), when="hand it over")
    session = ("--session-id", "5b1c2c1e-6d3a-4d0a-9d57-0c5a3a3d1c12")
    printed = await claude.print("hand it over", "--allowedTools", f"{server}task_submit", *session)
    assert "claude saw: task " in printed
    (task,) = (await supervisor.client.tasks.List(ListTasksRequest())).tasks
    await supervisor.client.tasks.Wait(WaitTasksRequest(ids=[task.id]), timeout=20)
    stub_claude.script(Use(f"{server}task_result", {}), when="fetch it")
    printed = await claude.print("fetch it", "--allowedTools", f"{server}task_result", "--resume", session[1])
    assert "stub: port it" in printed
    assert f"Codex · task {task.id} · DONE" in printed


FINDINGS = json.dumps({"verdict": "findings", "findings": [{"place": "new.py:1", "problem": "It divides by zero."}]})


async def test_review_gate_sends_findings_back_once(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel, stub_model: StubModel
) -> None:
    make_repository(claude.workspace)
    (claude.workspace / "new.py").write_text("1/0\n")
    assert (await claude.run("claude", "gate", "on", program=str(claude.codexctl))).code == 0
    stub_model.script(Text(FINDINGS))
    await claude.print("I am done")
    assert len(stub_claude.requests) == 2
    assert "new.py:1: It divides by zero." in stub_claude.requests[1].whole_text


async def test_review_gate_looks_at_what_claude_has_committed(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel, stub_model: StubModel
) -> None:
    make_repository(claude.workspace)
    assert (await claude.run("claude", "gate", "on", program=str(claude.codexctl))).code == 0
    commit = "echo 1/0 > new.py && git add . && git -c user.name=t -c user.email=t@example.org commit -q -m new"
    stub_claude.script(Use("Bash", {"command": commit, "description": "Commit"}), when="please commit")
    stub_model.script(Text(FINDINGS))
    await claude.print("please commit", "--allowedTools", "Bash")
    assert "since commit" in stub_model.requests[-1].last_user_text
    assert "new.py:1: It divides by zero." in stub_claude.requests[-1].whole_text
    assert len(stub_model.requests) == 1, "the same changes are not reviewed twice"


async def test_arguments_and_exit_code_are_those_of_claude(claude: ClaudeCode, supervisor: RunningSupervisor) -> None:
    version = await claude.run("--version")
    assert "(Claude Code)" in version
    wrong = await claude.run("--no-such-option")
    assert wrong == await claude.run("--no-such-option", program="claude")
    assert wrong.code != 0
