"""Tasks out of Claude Code: the /codex commands of the hook, and the tools of the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from codex_supervisor.task.records import TaskOutcome

from .conftest import Ctl
from .mcp_server import Server, serving
from .task_service import TaskService
from .test_hook import INJECTIONS


def slash(ctl: Ctl, name: str, text: str = "", session: str = "s-1") -> str:
    """What the person is shown."""
    told = {"session_id": session, "cwd": str(ctl.directory), "command_name": f"codex:{name}", "command_args": text}
    result = ctl("hook", "expand", stdin=json.dumps(told).encode())
    assert result.code == 0
    answer = result.json
    assert answer["decision"] == "block"
    reason: str = answer["reason"]
    return reason


def task_id(shown: str) -> str:
    return shown.split()[1]


@pytest.mark.parametrize("text", INJECTIONS)
def test_text_arrives_byte_for_byte(ctl: Ctl, service: TaskService, text: str) -> None:
    slash(ctl, "task", text)
    assert service.claim().record.request.prompt == text
    assert not (ctl.directory / "pwned").exists()


def test_a_task_is_found_again(ctl: Ctl, service: TaskService) -> None:
    assert "/codex-task TEXT makes one" in slash(ctl, "tasks")
    assert "no task of this session has ended yet" in slash(ctl, "result")
    service.instances["claude-s-1"].settings.profile = "high"
    submitted = slash(ctl, "task", "port the tests")
    name = task_id(submitted)
    assert f"/codex-result {name}" in submitted
    assert f"{name}  PENDING  “port the tests”" in slash(ctl, "tasks")
    claim = service.claim()
    assert (claim.record.request.cwd, claim.record.request.profile) == (str(ctl.directory), "high")
    service.note(claim, "running: pytest")
    assert f"{name}  RUNNING · running: pytest" in slash(ctl, "tasks")
    assert f"codexctl task wait {name}" in slash(ctl, "result", name)
    service.finish(claim, "Ported \x1b[31mall\x1b[0m.", files=["a.py"])
    shown = slash(ctl, "result")
    assert shown.startswith(f"Ported all.\n\n— Codex · task {name} · DONE in ")
    assert "changed: a.py" in shown
    assert ctl("task", "list", "--json").json["id"] == name, "without Claude Code too"


def test_tasks_of_another_session_are_not_shown(ctl: Ctl, service: TaskService) -> None:
    mine, other = task_id(slash(ctl, "task", "mine")), task_id(slash(ctl, "task", "yours", session="s-2"))
    ctl("task", "submit", "nobody's")
    assert mine in slash(ctl, "tasks")
    assert len(slash(ctl, "tasks").splitlines()) == 1
    service.finish(service.claim(), "my answer")
    service.finish(service.claim(), "your answer")
    assert "my answer" in slash(ctl, "result")
    assert "your answer" in slash(ctl, "result", other)


def test_cancel(ctl: Ctl, service: TaskService) -> None:
    name = task_id(slash(ctl, "task", "x"))
    assert "ERROR (cancelled)" in slash(ctl, "cancel", name)
    assert "cancelled from Claude Code" in slash(ctl, "result")
    running = task_id(slash(ctl, "task", "y"))
    claim = service.claim()
    assert "as soon as Codex has stopped" in slash(ctl, "cancel", running)
    service.finish(claim, outcome=TaskOutcome.CANCELLED)


@pytest.mark.parametrize(
    ("command", "text", "said"),
    [
        ("task", "  ", "for example: /codex-task port the tests to pytest"),
        ("cancel", "", "for example: /codex-cancel "),
        ("result", "a b", "there are 2 words"),
        ("result", "T-9", "there is no task 'T-9'"),
        ("cancel", "T-9", "there is no task 'T-9'"),
    ],
)
def test_bad_input_is_told(ctl: Ctl, service: TaskService, command: str, text: str, said: str) -> None:
    assert said in slash(ctl, command, text)


@pytest.fixture
def server(ctl: Ctl, service: TaskService) -> Iterator[Server]:
    """The tools of session s-1."""
    with serving(ctl) as made:
        yield made


def test_the_tools(ctl: Ctl, server: Server, service: TaskService) -> None:
    def told(tool: str, **arguments: Any) -> str:
        text, is_error = server.call(tool, **arguments)
        assert not is_error, text
        return text

    assert "task_submit makes one" in told("task_status")
    submitted = told("task_submit", order="$(touch pwned)\n你好", profile="high", worktree=True)
    assert "/codex-" not in submitted, "the commands are the person's"
    name = task_id(submitted)
    assert name in told("task_status")
    claim = service.claim()
    request = claim.record.request
    assert (request.prompt, request.profile, request.worktree) == ("$(touch pwned)\n你好", "high", True)
    assert "RUNNING" in told("task_status", task=name)
    service.finish(claim, "the answer")
    assert told("task_result").startswith(f"the answer\n\n— Codex · task {name} · DONE in")
    assert told("task_result", task=name) == told("task_result")
    second = task_id(told("task_submit", order="y"))
    assert "ERROR (cancelled)" in told("cancel", task=second)
    assert name in slash(ctl, "tasks"), "the person sees the same tasks"


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("task_submit", {"order": " "}, "the prompt is empty"),
        ("task_submit", {"order": 5}, "order is no text"),
        ("task_submit", {"order": "x", "worktree": "true"}, "worktree is neither true nor false"),
        ("task_submit", {"order": "x", "profile": "hihg"}, "Did you mean"),
        ("task_status", {"task": "T-9"}, "there is no task 'T-9'"),
        ("task_result", {}, "no task of this session has ended yet.\ntask_status shows"),
        ("cancel", {"task": "T-9"}, "there is no task 'T-9'"),
    ],
)
def test_bad_input_is_told_to_the_model(
    server: Server, service: TaskService, tool: str, arguments: dict[str, Any], said: str
) -> None:
    text, is_error = server.call(tool, **arguments)
    assert is_error
    assert said.lower() in text.lower()
