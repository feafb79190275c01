"""Claude Code on a terminal: every command, two sessions, /clear, deaths, Esc."""

from __future__ import annotations

import json
import os
import re
import signal
from pathlib import Path

import pytest
from codex_control.v1.instances_pb2 import (
    INSTANCE_STATE_HIBERNATED,
    INSTANCE_STATE_READY,
    Instance,
    ListInstancesRequest,
)
from codex_control.v1.outcome_pb2 import OUTCOME_CANCELLED
from codex_control.v1.tasks_pb2 import ListTasksRequest, WaitTasksRequest
from codex_control.v1.turns_pb2 import ListTurnsRequest

from tests.support.claude_code import ClaudeCode
from tests.support.model_script import Text
from tests.support.repository import make_repository
from tests.support.stub_claude_model import StubClaudeModel, Use
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor
from tests.support.waiting import wait_for

pytestmark = pytest.mark.real_claude

ASK_TOOL = "mcp__plugin_codex_codex__ask"


async def instances(supervisor: RunningSupervisor) -> list[Instance]:
    listed = await supervisor.client.instances.List(ListInstancesRequest())
    return list(listed.instances)


async def test_every_command(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel, stub_model: StubModel
) -> None:
    make_repository(claude.workspace)
    (claude.workspace / "new.py").write_text("1/0\n")
    screen = await claude.open()
    typed = [
        ("/codex-help", "/codex-review [--base REF] [FOCUS…]"),
        ("/codex-start", "· ready · profile default"),
        ("/codex-config", "profile          default  (there are: "),
        ("/codex-config high", "profile: high, from the next turn on"),
        ("/codex:reasoning on", "reasoning summaries: on"),
        ("/codex-ask one", "stub: one"),
        ("/codex-final_only on", "final answer only: on"),
        ("/codex:ask two", "stub: two"),
        ("/codex-status", "profile high · reasoning on · final_only on"),
        ("/codex-review what divides", "stub: "),
        ("/codex-stop", "· stopped ·"),
    ]
    for line, answer in typed:
        before = screen.text().count(answer)
        await screen.type(line)
        await screen.wait_for_text(answer, count=before + 1)
    shown = screen.text()
    assert re.search(r"stub: one\s+— Codex · instance \S+ · turn \S+ · completed in", shown)
    assert not re.search(r"stub: two\s+— Codex", shown), "final_only shows the answer alone"
    assert not stub_claude.requests, "none of them costs a model call"
    await screen.type("/codex-tasks")
    await screen.wait_for_text("this session has no tasks")
    await screen.type("/codex-task port it")
    await screen.wait_for_text("is accepted; it goes on in the background")
    (task,) = (await supervisor.client.tasks.List(ListTasksRequest())).tasks
    await supervisor.client.tasks.Wait(WaitTasksRequest(ids=[task.id]), timeout=20)
    await screen.type("/codex-tasks")
    await screen.wait_for_text(f"{task.id}  DONE in")
    await screen.type("/codex-result")
    await screen.wait_for_text("stub: port it")
    await screen.type(f"/codex-cancel {task.id}")
    await screen.wait_for_text(f"task {task.id} DONE in")
    assert not stub_claude.requests


async def test_tasks_outlive_claude_and_are_found_again(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    make_repository(claude.workspace)
    line = {"statusLine": {"type": "command", "command": f"{claude.codexctl} statusline"}}
    screen = await claude.open("--settings", json.dumps(line))
    await screen.type("say a word")  # without one there is nothing that could be resumed
    await screen.wait_for_text("claude: ")
    gate = stub_model.gate()
    stub_model.script(gate, Text("done all the same"))
    await screen.type("/codex-task something long")
    await gate.reached()
    (instance,) = await instances(supervisor)
    await screen.type("say another word")  # the status line is drawn anew then
    await screen.wait_for_text("· 1 task")
    os.kill(screen.pid, signal.SIGKILL)
    (task,) = (await supervisor.client.tasks.List(ListTasksRequest())).tasks
    gate.release()
    await supervisor.client.tasks.Wait(WaitTasksRequest(ids=[task.id]), timeout=20)
    other = await claude.print("/codex-tasks")
    assert "this session has no tasks" in other
    again = await claude.print("/codex-result", "--resume", instance.claude_session)
    assert "done all the same" in again
    assert f"Codex · task {task.id} · DONE in" in again


async def test_two_sessions_in_one_directory_have_two_instances(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    first, second = await claude.open(), await claude.open()
    await first.type("/codex-ask mine is red")
    await second.type("/codex-ask mine is blue")
    await first.wait_for_text("stub: mine is red")
    await second.wait_for_text("stub: mine is blue")
    assert len(await instances(supervisor)) == 2
    assert {one.user_texts for one in stub_model.requests} == {("mine is red",), ("mine is blue",)}
    assert "blue" not in first.text()
    assert "red" not in second.text()


async def test_claude_that_was_started_in_the_shell_of_another_has_its_own_codex(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel
) -> None:
    outer = await claude.open()
    await outer.type("/codex-ask mine is red")
    await outer.wait_for_text("stub: mine is red")
    (instance,) = await instances(supervisor)
    stub_claude.script(Use(ASK_TOOL, {"question": "mine is blue"}), when="please ask")
    # What its Bash tool gives to everything that runs there.
    shell = {"CLAUDECODE": "1", "CLAUDE_PID": str(outer.pid), "CLAUDE_CODE_SESSION_ID": instance.claude_session}
    inner = await claude.run("-p", "please ask", "--allowedTools", ASK_TOOL, **shell)
    assert "stub: mine is blue" in inner
    assert f"instance {instance.id}" not in inner


async def test_findings_of_the_gate_are_told_to_a_claude_that_was_killed_before(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel, stub_model: StubModel
) -> None:
    make_repository(claude.workspace)
    (claude.workspace / "new.py").write_text("1/0\n")
    assert (await claude.run("claude", "gate", "on", program=str(claude.codexctl))).code == 0
    gate = stub_model.gate()
    finding = {"verdict": "findings", "findings": [{"place": "new.py:1", "problem": "It divides by zero."}]}
    stub_model.script(gate, Text(json.dumps(finding)))
    screen = await claude.open()
    await screen.type("I am done")
    await gate.reached()
    (instance,) = await instances(supervisor)
    pid = screen.pid
    os.kill(pid, signal.SIGKILL)
    await wait_for(lambda: not Path(f"/proc/{pid}").exists(), 10, "the end of Claude Code")
    gate.release()
    await supervisor.client.wait_for_state(INSTANCE_STATE_HIBERNATED, instance.id)
    await claude.print("go on", "--resume", instance.claude_session)
    assert "new.py:1: It divides by zero." in stub_claude.requests[-1].whole_text
    assert len(stub_model.requests) == 1, "it is not reviewed again"


async def test_clear_keeps_the_instance(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    screen = await claude.open()
    await screen.type("/codex-ask first")
    await screen.wait_for_text("stub: first")
    before = (await instances(supervisor))[0]
    await screen.type("/clear")
    await wait_for(lambda: "stub: first" not in screen.text().rpartition("/clear")[2], what="a clear screen")
    await screen.type("/codex-ask second")
    await screen.wait_for_text("stub: second")
    after = await instances(supervisor)
    assert [one.id for one in after] == [before.id]
    assert after[0].claude_session != before.claude_session
    assert stub_model.requests[-1].user_texts == ("first", "second")


async def test_status_line_follows_the_instance(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    line = {"statusLine": {"type": "command", "command": f"{claude.codexctl} statusline"}}
    screen = await claude.open("--settings", json.dumps(line))
    await screen.type("/codex-config high")
    await screen.wait_for_text("profile: high")
    await screen.type("say a word")  # it is drawn anew with the answers of Claude's model
    await screen.wait_for_text("codex: stopped · high")


async def test_status_line_names_the_turn_that_is_waited_for(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    line = {"statusLine": {"type": "command", "command": f"{claude.codexctl} statusline", "refreshInterval": 1}}
    screen = await claude.open("--settings", json.dumps(line))
    gate = stub_model.gate()
    stub_model.script(gate, Text("done"))
    await screen.type("/codex-ask something long")
    await gate.reached()
    (turn,) = (await supervisor.client.turns.List(ListTurnsRequest())).turns
    await screen.wait_for_text(f"codex: busy · default · turn {turn.id}")
    gate.release()


async def test_killed_claude_leaves_a_sleeping_codex(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    screen = await claude.open()
    await screen.type("say a word")  # without one there is nothing that could be resumed
    await screen.wait_for_text("claude: ")
    await screen.type("/codex-ask first")
    await screen.wait_for_text("stub: first")
    (instance,) = await instances(supervisor)
    assert instance.state == INSTANCE_STATE_READY
    gate = stub_model.gate()
    stub_model.script(gate, Text("nobody waits"))
    await screen.type("/codex-ask second")
    await gate.reached()
    os.kill(screen.pid, signal.SIGKILL)
    gate.release()
    # Its turn goes on to its end, then the child sleeps.
    await supervisor.client.wait_for_state(INSTANCE_STATE_HIBERNATED, instance.id)
    turns = await supervisor.client.turns.List(ListTurnsRequest())
    assert [turn.answer for turn in turns.turns] == ["nobody waits", "stub: first"]
    assert "stub: third" in await claude.print("/codex-ask third", "--resume", instance.claude_session)
    assert stub_model.requests[-1].user_texts == ("first", "second", "third")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
async def test_a_claude_that_is_told_to_end_leaves_its_turn_running(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel, number: signal.Signals
) -> None:
    screen = await claude.open()
    gate = stub_model.gate()
    stub_model.script(gate, Text("nobody waits"))
    await screen.type("/codex-ask something long")
    await gate.reached()
    pid = screen.pid
    os.kill(pid, number)
    await wait_for(lambda: not Path(f"/proc/{pid}").exists(), 10, "the end of Claude Code")
    # Whatever its hooks still had to say has been said by the time at which its end is seen.
    (instance,) = await instances(supervisor)
    gate.release()
    await supervisor.client.wait_for_state(INSTANCE_STATE_HIBERNATED, instance.id)
    turns = await supervisor.client.turns.List(ListTurnsRequest())
    assert [turn.answer for turn in turns.turns] == ["nobody waits"]


async def test_codex_that_is_killed_answers_all_the_same(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    screen = await claude.open()
    gate = stub_model.gate()
    stub_model.script(gate, Text("never seen"))
    stub_model.script(Text("here it is"), times=None)
    await screen.type("/codex-ask something long")
    await gate.reached()
    (instance,) = await instances(supervisor)
    os.kill(instance.child.pid, signal.SIGKILL)
    await screen.wait_for_text("here it is")
    assert "recovery: " in screen.text()
    gate.release()


async def test_esc_stops_the_turn(claude: ClaudeCode, supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    screen = await claude.open()
    gate = stub_model.gate()
    stub_model.script(gate, Text("never seen"))
    await screen.type("/codex-ask something long")
    await gate.reached()
    screen.press("Escape")
    await wait_for_cancelled(supervisor)
    gate.release()


async def test_tool_call_shows_progress_and_can_be_cancelled(
    claude: ClaudeCode, supervisor: RunningSupervisor, stub_claude: StubClaudeModel, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate, Text("never seen"))
    stub_claude.script(Use(ASK_TOOL, {"question": "something long"}), when="please ask")
    screen = await claude.open("--allowedTools", ASK_TOOL)
    await screen.type("please ask codex")
    await gate.reached()
    await screen.wait_for_text("Codex: thinking")
    screen.press("Escape")
    await wait_for_cancelled(supervisor)
    gate.release()


async def wait_for_cancelled(supervisor: RunningSupervisor) -> None:
    """Wait until the only turn ended as cancelled."""

    async def cancelled() -> bool:
        turns = (await supervisor.client.turns.List(ListTurnsRequest())).turns
        return [turn.outcome for turn in turns] == [OUTCOME_CANCELLED]

    await wait_for(cancelled, 20, "the turn to be cancelled")
