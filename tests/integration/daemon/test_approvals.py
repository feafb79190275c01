"""What Codex asks for, who answers, and that nothing waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc.aio
import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2

from tests.integration.daemon.talking import Events, is_error, kinds
from tests.support.model_script import Command, Patch, Question, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref

pytestmark = pytest.mark.asyncio(loop_scope="module")

# A person gets this long; only the test of the time limit waits for it.
DAEMON_SETTINGS = {"approvals": {"timeout": 1.5}, "profiles": {"reader": {"sandbox": "read-only"}}}

ESCALATED = {"sandbox_permissions": "require_escalated", "justification": "to see what happens"}


async def set_policy(client: Client, name: str, policy: instances_pb2.ApprovalPolicy) -> None:
    """Say who answers for the instance."""
    await client.instances.Configure(instances_pb2.ConfigureRequest(instance=ref(name), approval_policy=policy))


def script_command(model: StubModel, command: str = "echo it-ran") -> None:
    """Let the model want a command outside of the sandbox, and then answer."""
    model.script(Command(command, ESCALATED))
    model.script(Text("done"))


def asked_in(events: Events) -> turns_pb2.ApprovalRequested:
    """The only request in these events."""
    (found,) = [event.approval for event in events if event.HasField("approval")]
    return found


def resolved_in(events: Events) -> tuple[turns_pb2.Decision, str]:
    """The only answer in these events, and who gave it."""
    (found,) = [event.approval_resolved for event in events if event.HasField("approval_resolved")]
    return found.decision, found.by


class Conversation:
    """An ask of a person, read step by step."""

    def __init__(self, call: grpc.aio.UnaryStreamCall[Any, Any]) -> None:
        self.call = call
        self.events: Events = []

    async def until(self, wanted: Callable[[turns_pb2.TurnEvent], bool]) -> turns_pb2.TurnEvent:
        """Read up to the first event that is wanted."""
        while True:
            answer: Any = await asyncio.wait_for(self.call.read(), 20)
            assert answer is not grpc.aio.EOF, kinds(self.events)
            event: turns_pb2.TurnEvent = answer.event
            self.events.append(event)
            if wanted(event):
                return event

    async def approval(self) -> turns_pb2.ApprovalRequested:
        """Read up to the request."""
        return (await self.until(lambda event: event.HasField("approval"))).approval

    async def ended(self) -> turns_pb2.Turn:
        """Read to the end."""
        return (await self.until(lambda event: event.HasField("ended"))).ended.turn


@asynccontextmanager
async def asked(client: Client, name: str, **more: object) -> AsyncIterator[Conversation]:
    """Ask as a person who is there to answer."""
    call = client.turns.Ask(client.request("run it", name, interactive=True, **more))
    try:
        yield Conversation(call)
    finally:
        call.cancel()


async def respond(client: Client, approval_id: str, decision: turns_pb2.Decision, **answers: str) -> None:
    """Answer as a person."""
    await client.turns.Respond(turns_pb2.RespondRequest(approval_id=approval_id, decision=decision, answers=answers))


@pytest.mark.parametrize(
    ("policy", "decision", "by", "ran"),
    [
        (instances_pb2.APPROVAL_POLICY_AUTO, turns_pb2.DECISION_ACCEPT, "policy", True),
        (instances_pb2.APPROVAL_POLICY_DENY, turns_pb2.DECISION_DECLINE, "policy", False),
        (instances_pb2.APPROVAL_POLICY_INTERACTIVE, turns_pb2.DECISION_DECLINE, "nobody attached", False),
    ],
)
async def test_without_a_person_the_policy_answers_at_once(
    client: Client,
    model: StubModel,
    name: str,
    policy: instances_pb2.ApprovalPolicy,
    decision: turns_pb2.Decision,
    by: str,
    ran: bool,
) -> None:
    await set_policy(client, name, policy)
    script_command(model)
    events = await client.events("run it", name)
    asked_for = asked_in(events)
    assert asked_for.kind == turns_pb2.APPROVAL_KIND_COMMAND
    assert "echo it-ran" in asked_for.subject
    assert asked_for.reason == "to see what happens"
    assert not asked_for.HasField("expires_at")
    assert resolved_in(events) == (decision, by)
    turn = events[-1].ended.turn
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "done")
    assert [command.status for command in turn.commands] == ["completed" if ran else "declined"]
    assert ("it-ran" in turn.commands[0].output_tail) == ran


async def test_a_person_accepts(client: Client, model: StubModel, name: str) -> None:
    script_command(model)
    async with asked(client, name) as conversation:
        approval = await conversation.approval()
        assert approval.expires_at.ToNanoseconds() > conversation.events[-1].at.ToNanoseconds()
        assert approval.cwd == client.cwd
        await respond(client, approval.approval_id, turns_pb2.DECISION_ACCEPT)
        turn = await conversation.ended()
        assert resolved_in(conversation.events) == (turns_pb2.DECISION_ACCEPT, "person")
        assert turn.commands[0].output_tail == "it-ran\n"
        assert turn.answer == "done"
    # It was answered: a second answer is refused.
    async with is_error("FAILED_PRECONDITION"):
        await respond(client, approval.approval_id, turns_pb2.DECISION_ACCEPT)


async def test_a_person_declines_and_the_turn_goes_on(client: Client, model: StubModel, name: str) -> None:
    script_command(model)
    async with asked(client, name) as conversation:
        # The only open approval of the instance needs no id.
        await conversation.approval()
        request = turns_pb2.RespondRequest(instance=ref(name), decision=turns_pb2.DECISION_DECLINE)
        await client.turns.Respond(request)
        turn = await conversation.ended()
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, "done")
    assert turn.commands[0].status == "declined"


async def test_a_person_cancels_and_the_turn_is_over(client: Client, model: StubModel, name: str) -> None:
    script_command(model)
    async with asked(client, name) as conversation:
        approval = await conversation.approval()
        await respond(client, approval.approval_id, turns_pb2.DECISION_CANCEL)
        turn = await conversation.ended()
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_CANCELLED, outcome_pb2.CAUSE_USER)
    assert turn.answer == ""
    model.reset()
    assert (await client.ask("next", name)).answer == "stub: next"


async def test_accepted_for_the_session_is_not_asked_again(client: Client, model: StubModel, name: str) -> None:
    script_command(model)
    async with asked(client, name) as conversation:
        approval = await conversation.approval()
        await respond(client, approval.approval_id, turns_pb2.DECISION_ACCEPT_FOR_SESSION)
        await conversation.ended()
    script_command(model)
    events = await client.events("and again", name)
    assert "approval" not in kinds(events)
    assert events[-1].ended.turn.commands[0].output_tail == "it-ran\n"


async def test_a_change_of_files_is_asked_for_by_its_files(
    client: Client, model: StubModel, name: str, daemon: RunningSupervisor
) -> None:
    made = daemon.home.workspace / "asked-for.txt"
    model.script(Patch("*** Begin Patch\n*** Add File: asked-for.txt\n+hello\n*** End Patch"))
    model.script(Text("written"))
    async with asked(client, name, profile="reader") as conversation:
        approval = await conversation.approval()
        assert approval.kind == turns_pb2.APPROVAL_KIND_FILE_CHANGE
        assert "asked-for.txt" in approval.subject
        assert not made.exists()
        await respond(client, approval.approval_id, turns_pb2.DECISION_ACCEPT)
        turn = await conversation.ended()
    assert made.read_text() == "hello\n"
    assert [file.status for file in turn.files] == ["completed"]


async def test_a_question_is_answered(client: Client, model: StubModel, name: str) -> None:
    model.script(Question("Which way?", ("Left", "Right"), id="way"))
    model.script(Text("gone"))
    async with asked(client, name) as conversation:
        approval = await conversation.approval()
        assert approval.kind == turns_pb2.APPROVAL_KIND_QUESTION
        (question,) = approval.questions
        assert (question.id, question.text, list(question.options)) == ("way", "Which way?", ["Left", "Right"])
        async with is_error("INVALID_ARGUMENT") as refusal:
            await respond(client, approval.approval_id, turns_pb2.DECISION_ACCEPT)
        assert "way" in refusal.what
        await respond(client, approval.approval_id, turns_pb2.DECISION_ACCEPT, way="Right")
        await conversation.ended()
    assert "Right" in model.requests[-1].tool_outputs[0]


@pytest.mark.parametrize("policy", [instances_pb2.APPROVAL_POLICY_AUTO, instances_pb2.APPROVAL_POLICY_DENY])
async def test_nobody_makes_up_an_answer_to_a_question(
    client: Client, model: StubModel, name: str, policy: instances_pb2.ApprovalPolicy
) -> None:
    await set_policy(client, name, policy)
    model.script(Question("Which way?", ("Left", "Right"), id="way"))
    model.script(Text("guessed"))
    events = await client.events("ask me", name)
    assert resolved_in(events) == (turns_pb2.DECISION_DECLINE, "policy")
    assert events[-1].ended.turn.answer == "guessed"
    assert "Left" not in model.requests[-1].tool_outputs[0]


async def test_an_answer_that_does_not_come_is_no(client: Client, model: StubModel, name: str) -> None:
    script_command(model)
    async with asked(client, name) as conversation:
        approval = await conversation.approval()
        turn = await conversation.ended()
        assert resolved_in(conversation.events) == (turns_pb2.DECISION_DECLINE, "timeout")
        resolved = next(event for event in conversation.events if event.HasField("approval_resolved"))
        assert abs(resolved.at.ToNanoseconds() - approval.expires_at.ToNanoseconds()) < 1e9
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
    assert turn.commands[0].status == "declined"


async def test_a_person_who_comes_later_can_still_answer(client: Client, model: StubModel, name: str) -> None:
    script_command(model)
    async with asked(client, name) as conversation:
        first = await conversation.approval()
        turn_id = conversation.events[0].turn_id
    later = Conversation(client.turns.Attach(turns_pb2.AttachRequest(turn_id=turn_id, interactive=True)))
    approval = await later.approval()
    assert approval == first
    await respond(client, approval.approval_id, turns_pb2.DECISION_ACCEPT)
    turn = await later.ended()
    assert resolved_in(later.events) == (turns_pb2.DECISION_ACCEPT, "person")
    assert turn.commands[0].output_tail == "it-ran\n"


async def test_interrupting_a_turn_that_waits_for_an_answer(client: Client, model: StubModel, name: str) -> None:
    script_command(model)
    async with asked(client, name) as conversation:
        approval = await conversation.approval()
        reply = await client.turns.Interrupt(turns_pb2.InterruptRequest(instance=ref(name)), timeout=20)
        assert reply.turn.outcome == outcome_pb2.OUTCOME_CANCELLED
        assert (await conversation.ended()) == reply.turn
    async with is_error("FAILED_PRECONDITION"):
        await respond(client, approval.approval_id, turns_pb2.DECISION_ACCEPT)


async def test_answers_that_fit_nothing(client: Client, model: StubModel, name: str) -> None:
    turn = await client.ask("hello", name)
    accept = turns_pb2.DECISION_ACCEPT
    for request, status in (
        (turns_pb2.RespondRequest(approval_id="nonsense.1", decision=accept), "NOT_FOUND"),
        (turns_pb2.RespondRequest(approval_id=f"{turn.id}.1", decision=accept), "FAILED_PRECONDITION"),
        (turns_pb2.RespondRequest(instance=ref(name), decision=accept), "NOT_FOUND"),
        (turns_pb2.RespondRequest(instance=ref("nobody"), decision=accept), "NOT_FOUND"),
        (turns_pb2.RespondRequest(decision=accept), "INVALID_ARGUMENT"),
    ):
        async with is_error(status):
            await client.turns.Respond(request)
    script_command(model)
    async with asked(client, name) as conversation:
        approval = await conversation.approval()
        async with is_error("INVALID_ARGUMENT"):
            await respond(client, approval.approval_id, turns_pb2.DECISION_UNSPECIFIED)
        async with is_error("NOT_FOUND"):
            await respond(client, approval.approval_id + "9", accept)
        await respond(client, approval.approval_id, turns_pb2.DECISION_DECLINE)
        await conversation.ended()


@pytest.mark.parametrize("unknown", ["xyz", "xyz.1"])
async def test_an_approval_that_does_not_exist_is_called_one(client: Client, unknown: str) -> None:
    async with is_error("NOT_FOUND") as refusal:
        await respond(client, unknown, turns_pb2.DECISION_DECLINE)
    assert refusal.what == f"there is no approval '{unknown}'"
