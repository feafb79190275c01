"""What an ask streams: every kind of event, in order, and the record at the end."""

from __future__ import annotations

import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2

from tests.integration.daemon.talking import assert_well_formed, kinds, text_of
from tests.support.model_script import (
    Command,
    Cut,
    EndText,
    Fail,
    Patch,
    Plan,
    Reasoning,
    Status,
    Step,
    Text,
    Usage,
    context_window_full,
    usage_limit,
)
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATCH = "*** Begin Patch\n*** Add File: made.txt\n+by a patch\n*** End Patch"


async def test_everything_that_codex_does_is_streamed_in_order(
    client: Client, model: StubModel, name: str, daemon: RunningSupervisor
) -> None:
    model.script(Reasoning(("thinking hard",)), Text("I look. "), EndText("commentary"), Command("echo out; exit 3"))
    model.script(Plan((("look", "completed"), ("leap", "in_progress")), "a plan"))
    model.script(Patch(PATCH))
    model.script(Text("all done"), EndText("final_answer"), Usage(100, 40, 20, 5))
    await full_access(client, name)
    events = await client.events("do it all", name, profile="danger", show_reasoning=True)
    assert_well_formed(events)
    order = [kind for kind in dict.fromkeys(kinds(events)) if kind not in ("queued", "usage", "warning")]
    assert order == ["accepted", "started", "reasoning", "text", "message", "command", "plan", "file", "ended"]

    turn = events[-1].ended.turn
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert turn.cause == outcome_pb2.CAUSE_UNSPECIFIED
    assert turn.state == turns_pb2.TURN_STATE_ENDED
    assert (turn.error, turn.answer, turn.reasoning) == ("", "all done", "thinking hard")
    assert (turn.instance, turn.profile, turn.cwd) == (name, "danger", client.cwd)
    assert turn.thread_id
    assert turn.codex_turn_id
    assert text_of(events) == "I look. all done"
    messages = [(event.message.text, event.message.phase) for event in events if event.HasField("message")]
    assert messages == [("I look. ", "commentary"), ("all done", "final_answer")]

    (command,) = turn.commands
    assert "echo out" in command.command
    assert (command.exit_code, command.status, command.output_tail) == (3, "failed", "out\n")
    states = [event.command.status for event in events if event.HasField("command")]
    assert states == ["inProgress", "failed"]

    (file,) = turn.files
    assert file.path.endswith("made.txt")
    assert (file.kind, file.status) == ("add", "completed")
    assert (daemon.home.workspace / "made.txt").read_text() == "by a patch\n"

    plan = next(event.plan for event in events if event.HasField("plan"))
    assert plan.explanation == "a plan"
    assert [(step.text, step.status) for step in plan.steps] == [("look", "completed"), ("leap", "inProgress")]

    last_usage = [event.usage for event in events if event.HasField("usage")][-1]
    assert turn.usage == last_usage
    assert turn.usage.cached_input == 40
    assert turn.usage.reasoning_output == 5
    assert turn.usage.context_window > 0
    timings = turn.timings
    marks = [timings.queued, timings.first_event, timings.first_text, timings.total]
    seconds = [mark.ToNanoseconds() for mark in marks]
    assert seconds == sorted(seconds)
    assert seconds[-1] == pytest.approx((turn.ended_at.ToNanoseconds() - turn.accepted_at.ToNanoseconds()), rel=0.5)


async def full_access(client: Client, name: str) -> None:
    """Commands must run where the sandbox is not to be had."""
    await client.instances.Configure(instances_pb2.ConfigureRequest(instance=ref(name), profile="danger"))


DAEMON_SETTINGS = {"profiles": {"danger": {"sandbox": "danger-full-access"}}}


async def test_reasoning_is_streamed_only_where_it_is_wanted(client: Client, model: StubModel, name: str) -> None:
    for show, wanted in ((False, 0), (True, 1), (None, 0)):
        model.script(Reasoning(("a thought",)), Text("answer"))
        more = {} if show is None else {"show_reasoning": show}
        events = await client.events("think", name, **more)
        assert kinds(events).count("reasoning") >= wanted
        assert (kinds(events).count("reasoning") > 0) == bool(wanted)
        # The record keeps it either way.
        assert events[-1].ended.turn.reasoning == "a thought"


async def test_the_tokens_of_all_requests_of_a_turn_are_added(client: Client, model: StubModel, name: str) -> None:
    await full_access(client, name)
    model.script(Command("true"), Usage(10, 1, 2, 0))
    model.script(Text("done"), Usage(30, 3, 5, 4))
    first = await client.ask("twice", name)
    assert (first.usage.input, first.usage.cached_input, first.usage.output) == (40, 4, 7)
    model.script(Text("again"), Usage(50, 0, 1, 0))
    second = await client.ask("once", name)
    assert (second.usage.input, second.usage.output) == (50, 1), "a turn counts its own tokens, not the thread's"


async def test_a_retry_of_the_provider_is_shown_and_the_cut_text_is_not_the_answer(
    client: Client, model: StubModel, name: str
) -> None:
    model.script(Text("cut off "), Cut())
    model.script(Text("whole"))
    events = await client.events("retry", name)
    assert_well_formed(events)
    retries = [event.retry for event in events if event.HasField("retry")]
    assert [retry.count for retry in retries] == [1]
    assert retries[0].message
    assert events[-1].ended.turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert events[-1].ended.turn.answer == "whole"


FAILURES: dict[str, tuple[Step, outcome_pb2.Cause, str]] = {
    "401": (Status(401), outcome_pb2.CAUSE_AUTH, "codex login"),
    "429": (Status(429), outcome_pb2.CAUSE_QUOTA, "wait"),
    "usage-limit": (usage_limit(), outcome_pb2.CAUSE_QUOTA, "another model or account"),
    "500": (Status(500), outcome_pb2.CAUSE_PROVIDER, "ask again"),
    "context": (context_window_full(), outcome_pb2.CAUSE_CONTEXT_WINDOW, "new instance"),
    "refused": (Fail("cyber_policy"), outcome_pb2.CAUSE_REFUSED, "rephrase"),
}


@pytest.mark.parametrize("fault", FAILURES)
async def test_each_failure_of_the_provider_has_its_cause_and_its_fix(
    client: Client, model: StubModel, fault: str
) -> None:
    step, cause, fix = FAILURES[fault]
    model.script(step, times=None)
    turn = await client.ask("fail", "failures")
    assert turn.outcome == outcome_pb2.OUTCOME_FAILED
    assert turn.cause == cause
    assert fix in turn.error
    assert turn.answer == ""
