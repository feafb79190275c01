"""Reviews: asked for, streamed, recorded, interrupted, refused; with the real Codex in a real git repository."""

from __future__ import annotations

import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest
from codex_control.v1 import history_pb2, instances_pb2, outcome_pb2, turns_pb2

from tests.integration.daemon.talking import Events, assert_well_formed, is_error, kinds
from tests.support.model_script import Command, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref

pytestmark = pytest.mark.asyncio(loop_scope="module")

VERDICT = (
    "It drops the last line.\n\nReview comment:\n\n- [P1] Read to the end — /src/a.py:1-2\n  The last line is lost."
)


def verdict() -> Text:
    """What a reviewer answers: findings as JSON, which Codex makes `VERDICT` of."""
    place = {"absolute_file_path": "/src/a.py", "line_range": {"start": 1, "end": 2}}
    finding = {
        "title": "[P1] Read to the end",
        "body": "The last line is lost.",
        "confidence_score": 0.9,
        "priority": 1,
        "code_location": place,
    }
    whole = {
        "findings": [finding],
        "overall_correctness": "patch is incorrect",
        "overall_explanation": "It drops the last line.",
        "overall_confidence_score": 0.8,
    }
    return Text(json.dumps(whole), deltas=4)


def request(client: Client, instance: str, **more: Any) -> turns_pb2.ReviewRequest:
    """A review with what every review needs."""
    given = {"request_id": str(uuid.uuid4()), "cwd": client.cwd, **more}
    return turns_pb2.ReviewRequest(instance=ref(instance), **given)


async def review(client: Client, instance: str, **more: Any) -> Events:
    """Ask for a review, and return all its events."""
    return [answer.event async for answer in client.turns.Review(request(client, instance, **more))]


async def test_a_review_is_a_turn_whose_answer_is_the_review(client: Client, name: str, model: StubModel) -> None:
    model.script(Command("echo looked"), continues=False)
    model.script(verdict())
    events = await review(client, name)
    assert_well_formed(events)
    assert "command" in kinds(events)
    messages = [event.message for event in events if event.HasField("message")]
    assert [(message.text, message.phase) for message in messages] == [(VERDICT, "final_answer")]
    turn = events[-1].ended.turn
    assert (turn.outcome, turn.answer) == (outcome_pb2.OUTCOME_COMPLETED, VERDICT)
    assert turn.review == turns_pb2.ReviewTarget(uncommitted=True)
    assert turn.prompt == "review of the uncommitted changes"
    assert [command.exit_code for command in turn.commands] == [0]
    found = await client.turns.Get(turns_pb2.GetTurnRequest(turn_id=turn.id))
    assert found.turn == turn
    page = await client.history.Page(history_pb2.PageRequest(instance=ref(name)))
    assert [entry.review.uncommitted for entry in page.entries] == [True]


@pytest.mark.parametrize(
    ("target", "focus", "asked"),
    [
        (turns_pb2.ReviewTarget(uncommitted=True), "", "Review the current code changes"),
        (turns_pb2.ReviewTarget(base="HEAD"), "", "against the base branch 'HEAD'"),
        (turns_pb2.ReviewTarget(commit="HEAD"), "", "introduced by commit HEAD"),
        (turns_pb2.ReviewTarget(instructions="look at `a.py` 看 🙂"), "", "look at `a.py` 看 🙂"),
        (turns_pb2.ReviewTarget(uncommitted=True), '"$(id)"; 错误', 'mind this: "$(id)"; 错误'),
        (turns_pb2.ReviewTarget(base="HEAD~0"), "locks", "git merge-base HEAD HEAD~0"),
    ],
)
async def test_codex_is_told_what_to_review(
    client: Client, name: str, model: StubModel, target: turns_pb2.ReviewTarget, focus: str, asked: str
) -> None:
    in_a_repository(Path(client.cwd))
    turn = (await review(client, name, target=target, focus=focus))[-1].ended.turn
    assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED, turn.error
    assert turn.review == target
    assert asked in model.requests[-1].user_texts[-1]
    assert focus in turn.prompt


def in_a_repository(workspace: Path) -> None:
    """Make the workspace a git repository with one commit."""
    if (workspace / ".git").exists():
        return
    git = ("git", "-C", str(workspace), "-c", "user.name=a", "-c", "user.email=a@b")
    for arguments in (("init", "-q"), ("commit", "-q", "--allow-empty", "-m", "first")):
        subprocess.run([*git, *arguments], check=True, stdin=subprocess.DEVNULL)


async def test_it_runs_with_the_profile_and_the_conversation_knows_it(
    client: Client, name: str, model: StubModel
) -> None:
    for profile in ("high", "low"):
        model.script(verdict())
        await review(client, name, profile=profile)
        assert model.requests[-1].body["reasoning"]["effort"] == profile
    await client.ask("fix what it found", name)
    assert any("Read to the end" in text for text in model.requests[-1].user_texts)


async def test_a_repeated_request_attaches(client: Client, name: str, model: StubModel) -> None:
    model.script(verdict())
    asked, before = request(client, name), model.received
    first = [answer.event async for answer in client.turns.Review(asked)]
    second = [answer.event async for answer in client.turns.Review(asked)]
    assert second[0].accepted.attached
    assert second[-1].ended.turn == first[-1].ended.turn
    assert model.received == before + 1


async def test_it_waits_in_the_queue_like_any_turn(client: Client, name: str, model: StubModel) -> None:
    gate = model.gate()
    model.script(gate.step, Text("first"))
    model.script(verdict())
    detached = [answer.event async for answer in client.turns.Ask(client.request("first", name, detach=True))]
    await gate.reached()
    call = aiter(client.turns.Review(request(client, name)))
    assert (await anext(call)).event.HasField("accepted")
    assert (await anext(call)).event.queued.position == 1
    gate.release()
    events = [answer.event async for answer in call]
    assert events[-1].ended.turn.answer == VERDICT
    found = await client.turns.Get(turns_pb2.GetTurnRequest(turn_id=detached[0].turn_id))
    assert found.turn.answer == "first"


async def test_an_interrupt_ends_it_at_once_and_the_child_lives_on(client: Client, name: str, model: StubModel) -> None:
    gate = model.gate()
    model.script(Text("half"), gate.step, Text("never"))
    call = aiter(client.turns.Review(request(client, name)))
    turn_id = (await anext(call)).event.turn_id
    await gate.reached()
    child = (await client.instance(name)).child.pid
    ended = (await client.turns.Interrupt(turns_pb2.InterruptRequest(turn_id=turn_id), timeout=4)).turn
    gate.release()
    assert (ended.outcome, ended.cause) == (outcome_pb2.OUTCOME_CANCELLED, outcome_pb2.CAUSE_USER)
    assert ended.answer == "", "Codex's own words about it are no review"
    assert [answer.event async for answer in call][-1].ended.turn == ended
    assert (await client.ask("and now", name)).outcome == outcome_pb2.OUTCOME_COMPLETED
    assert (await client.instance(name)).child.pid == child


async def test_it_cannot_be_steered(client: Client, name: str, model: StubModel) -> None:
    gate = model.gate()
    model.script(gate.step, verdict())
    call = aiter(client.turns.Review(request(client, name)))
    turn_id = (await anext(call)).event.turn_id
    await gate.reached()
    async with is_error("FAILED_PRECONDITION") as refusal:
        await client.turns.Steer(turns_pb2.SteerRequest(turn_id=turn_id, text="mind the locks"))
    assert "review" in refusal.why
    gate.release()
    assert [answer.event async for answer in call][-1].ended.turn.answer == VERDICT


async def test_a_reviewer_without_a_word_is_a_failure(client: Client, name: str, model: StubModel) -> None:
    model.script(Text(""))
    turn = (await review(client, name))[-1].ended.turn
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_FAILED, outcome_pb2.CAUSE_CODEX)
    assert "said nothing" in turn.error


@pytest.mark.parametrize(
    "target",
    [
        turns_pb2.ReviewTarget(base="--upload-pack=x"),
        turns_pb2.ReviewTarget(base="a b"),
        turns_pb2.ReviewTarget(base="$(id)"),
        turns_pb2.ReviewTarget(base=""),
        turns_pb2.ReviewTarget(commit="a;b"),
        turns_pb2.ReviewTarget(commit="x" * 256),
        turns_pb2.ReviewTarget(instructions=" "),
        turns_pb2.ReviewTarget(instructions="\0"),
    ],
)
async def test_what_cannot_be_reviewed_is_refused_and_makes_no_instance(
    client: Client, name: str, target: turns_pb2.ReviewTarget
) -> None:
    async with is_error("INVALID_ARGUMENT"):
        await review(client, name, target=target)
    async with is_error("NOT_FOUND"):
        await client.instances.Get(instances_pb2.GetInstanceRequest(instance=ref(name)))


async def test_reviews_are_in_the_log_of_none(daemon: RunningSupervisor) -> None:
    """What is reviewed is the person's own."""
    assert "mind this" not in daemon.log()
