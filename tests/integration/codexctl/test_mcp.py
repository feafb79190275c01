"""`codexctl mcp` as a client of the protocol sees it: line by line."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from codex_control.errors import NotFound
from codex_control.v1 import claude_pb2 as cpb
from codex_control.v1 import turns_pb2 as tpb
from codex_control.v1.instances_pb2 import GetInstanceRequest, InstanceRef

from tests.support.repository import make_repository
from tests.support.waiting import wait_for_sync

from .conftest import Ctl
from .fake_supervisor import FakeSupervisor, FakeTurn, answer_with
from .mcp_server import Server, serving


@pytest.fixture
def server(ctl: Ctl, fake: FakeSupervisor) -> Iterator[Server]:
    """A server after its handshake, as Claude Code of session s-1 would have started it."""
    # What the server of a Claude Code has that was started in a shell of another one.
    ctl.environment["CLAUDE_PID"] = "4711"
    with serving(ctl) as made:
        yield made


def test_tools_are_described_honestly(server: Server) -> None:
    tools = {tool["name"]: tool for tool in server.result(server.send("tools/list"))["tools"]}
    assert set(tools) == {"ask", "review", "status", "task_submit", "task_status", "task_result", "cancel"}
    reading = {name for name, tool in tools.items() if tool["annotations"]["readOnlyHint"]}
    assert reading == {"status", "task_status", "task_result"}
    changing = [tools[name]["annotations"]["destructiveHint"] for name in tools.keys() - reading]
    assert changing == [True] * 4


def test_ask_answers_with_its_source_and_tells_progress(server: Server, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.emit(command=tpb.CommandRun(command="pytest", status="inProgress"))
        turn.end("Forty-two.")

    fake.script = script
    text, is_error = server.call("ask", question="why? $(touch pwned)\n你好", profile="high")
    assert not is_error
    assert text.startswith("Codex · instance project · turn 01TURN0001 answered:\n\nForty-two.")
    request = fake.last(tpb.AskRequest)
    assert (request.prompt, request.profile) == ("why? $(touch pwned)\n你好", "high")
    told = [one["params"] for one in server.notifications if one["method"] == "notifications/progress"]
    assert {one["progressToken"] for one in told} == {7}
    assert [one["progress"] for one in told] == sorted({one["progress"] for one in told}), "it only grows"
    assert any("running: pytest" in one["message"] for one in told)


def test_instance_is_the_one_of_the_process(server: Server, fake: FakeSupervisor) -> None:
    server.call("ask", question="hi")
    asked = fake.last(tpb.AskRequest).instance
    assert asked == InstanceRef(id="project")
    looked = next(one for one in fake.requests if isinstance(one, GetInstanceRequest)).instance
    assert looked.claude_process.pid == os.getpid()
    assert not any(isinstance(request, cpb.BindRequest) for request in fake.requests)
    fake.errors["Instances.Get"] = NotFound("there is no such instance")
    server.call("ask", question="hi")
    bound = fake.last(cpb.BindRequest)
    assert (bound.session_id, bound.process.pid) == ("s-1", os.getpid())


def test_cancelled_call_interrupts_its_turn(server: Server, fake: FakeSupervisor) -> None:
    def script(turn: FakeTurn) -> None:
        turn.wait_for(lambda: turn.interrupts)
        turn.end("")

    fake.script = script
    call = server.send("tools/call", name="ask", arguments={"question": "hi"})
    wait_for_sync(lambda: fake.turns and fake.turn().watchers, 20, "the call to wait for its turn")
    server.notify("notifications/cancelled", requestId=call, reason="the person pressed Esc")
    wait_for_sync(lambda: fake.turn().interrupts == 1, 20, "the interrupt")
    assert server.call("status")[0], "it goes on"


def test_client_that_goes_away_leaves_the_turn_running(server: Server, fake: FakeSupervisor) -> None:
    fake.script = lambda turn: turn.wait_for(lambda: turn.interrupts or turn.record.outcome)
    server.send("tools/call", name="ask", arguments={"question": "hi"})
    wait_for_sync(lambda: fake.turns and fake.turn().watchers, 20, "the call to wait for its turn")
    server.process.stdin.close()  # type: ignore[union-attr] # it is a pipe
    assert server.process.wait(20) == 0
    assert fake.turn().interrupts == 0
    fake.turn().end("")


def test_errors_are_told_to_the_model(server: Server, fake: FakeSupervisor) -> None:
    assert server.call("ask", question=" ") == ("the question is empty.\ngive `question` some text", True)
    tools = "ask, review, status, task_submit, task_status, task_result, cancel"
    assert server.call("task_go") == (f"there is no tool task_go.\nthere are {tools}", True)
    said = "ask takes no `profil`.\nit takes question, profile"
    assert server.call("ask", question="x", profil="high") == (said, True)
    assert server.call("status", turn="x") == ("status takes no `turn`.\nit takes nothing", True)
    assert not fake.turns
    fake.errors["Ask"] = NotFound("there is no profile hihg", next_step="did you mean high?")
    assert server.call("ask", question="x") == ("there is no profile hihg.\ndid you mean high?", True)


def test_review_status_and_cancel(server: Server, fake: FakeSupervisor, ctl: Ctl) -> None:
    make_repository(ctl.directory)
    fake.script = answer_with("All is well.")
    assert "All is well." in server.call("review", base="main", focus="races")[0]
    request = fake.last(tpb.ReviewRequest)
    assert (request.target.base, request.focus) == ("main", "races")
    assert server.call("status")[0].startswith("instance project · ready")
    text, is_error = server.call("cancel")
    assert "turn 01TURN0001" in text
    assert not is_error
    assert fake.last(tpb.InterruptRequest).instance == InstanceRef(id="project")
