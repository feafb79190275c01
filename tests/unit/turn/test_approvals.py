"""What Codex asks in the middle of a turn: answered by policy, by a person, or by the time limit; never left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import msgspec
import pytest
from codex_control.errors import BadInput, ChildFailed, CodexError, NotFound
from codex_control.service.clock import SystemClock
from codex_control.service.owned_tasks import TaskSet
from codex_control.v1 import turns_pb2
from codex_supervisor.child import server_requests as asked
from codex_supervisor.child.conversation import Out
from codex_supervisor.child.server_requests import ServerRequest
from codex_supervisor.config.turns import ApprovalPolicy
from codex_supervisor.turn.approvals import Approvals

AUTO, INTERACTIVE, DENY = ApprovalPolicy.AUTO, ApprovalPolicy.INTERACTIVE, ApprovalPolicy.DENY
ACCEPT, DECLINE = turns_pb2.DECISION_ACCEPT, turns_pb2.DECISION_DECLINE
PLACE: dict[str, Any] = {"thread_id": "thread", "turn_id": "codex-turn", "item_id": "item"}
TIMEOUT_S = 300.0

COMMAND = asked.CommandExecutionRequestApprovalParams(**PLACE, command="rm -r build", cwd="/w", reason="to clean up")
FILES = asked.FileChangeRequestApprovalParams(**PLACE, reason="to fix it")
QUESTION = asked.ToolRequestUserInputParams(
    **PLACE,
    questions=[
        asked.ToolRequestUserInputQuestion(
            id="colour",
            header="Colour",
            question="Which?",
            options=[asked.ToolRequestUserInputOption(label="red", description="")],
        ),
        asked.ToolRequestUserInputQuestion(id="size", header="Size", question="How large?"),
    ],
)
TOOL = asked.McpServerElicitationRequestParams(
    thread_id="thread", server_name="docs", mode="form", message="may I?", requested_schema={"properties": {}}
)
FORM = asked.McpServerElicitationRequestParams(
    thread_id="thread",
    server_name="docs",
    mode="form",
    message="who are you?",
    requested_schema={"type": "object", "properties": {"name": {"type": "string"}}},
)
PERMISSIONS = asked.PermissionsRequestApprovalParams(**PLACE, cwd="/w", permissions={"network": {"enabled": True}})
KINDS = [COMMAND, FILES, QUESTION, TOOL, FORM, PERMISSIONS]


class Codex:
    """Takes the replies; a dead one refuses them."""

    def __init__(self) -> None:
        self.replies: list[tuple[int | str, Any]] = []
        self.errors: list[tuple[int | str, str]] = []
        self.dead = False

    async def reply(self, request_id: int | str, result: Out) -> None:
        if self.dead:
            raise ChildFailed
        self.replies.append((request_id, result))

    async def reply_error(self, request_id: int | str, message: str) -> None:
        if self.dead:
            raise ChildFailed
        self.errors.append((request_id, message))


class TurnedTimer:
    """What `call_later` returned."""

    def __init__(self, delay_s: float, call: tuple[Any, ...]) -> None:
        self.delay_s = delay_s
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Asking:
    """The approvals of one turn, with everything around them in view. Timers fire when the test says so."""

    tasks: TaskSet
    codex: Codex = field(default_factory=Codex)
    events: list[turns_pb2.TurnEvent] = field(default_factory=list)
    decisions: list[tuple[str, str]] = field(default_factory=list)
    timers: list[TurnedTimer] = field(default_factory=list)
    approvals: Approvals = field(init=False)

    def __post_init__(self) -> None:
        self.approvals = self.new_approvals()

    def new_approvals(self) -> Approvals:
        return Approvals(
            "turn",
            SystemClock(),
            tasks=self.tasks,
            emit=self.events.append,
            on_decision=lambda decision, by: self.decisions.append((decision, by)),
            files_of=lambda item_id: ["/w/a.py", "/w/b.py"] if item_id == "item" else [],
        )

    async def ask(self, params: Any, policy: ApprovalPolicy, *, person: bool = False, request_id: int = 1) -> None:
        request = ServerRequest(id=request_id, method="item/x", params=params)
        self.approvals.take(request, self.codex, policy=policy, person=person, timeout_s=TIMEOUT_S)  # type: ignore[arg-type]
        await self.settle()

    async def settle(self) -> None:
        while len(self.tasks):
            await asyncio.sleep(0)

    @property
    def requested(self) -> list[turns_pb2.ApprovalRequested]:
        return [event.approval for event in self.events if event.HasField("approval")]

    @property
    def resolved(self) -> list[tuple[str, turns_pb2.Decision, str]]:
        found = [event.approval_resolved for event in self.events if event.HasField("approval_resolved")]
        return [(event.approval_id, event.decision, event.by) for event in found]

    @property
    def running_timers(self) -> list[TurnedTimer]:
        return [timer for timer in self.timers if not timer.cancelled]

    def let_time_pass(self) -> None:
        """Fire every timer that runs."""
        for timer in self.running_timers:
            timer.cancelled = True
            function, *arguments = timer.call
            function(*arguments)


@pytest.fixture
async def asking(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Asking]:
    failures: list[BaseException] = []
    made = Asking(TaskSet(failures.append))

    def call_later(delay_s: float, *call: Any) -> TurnedTimer:
        made.timers.append(TurnedTimer(delay_s, call))
        return made.timers[-1]

    monkeypatch.setattr(asyncio.get_running_loop(), "call_later", call_later)
    yield made
    await made.settle()
    assert failures == []


# --- by policy ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("params", KINDS)
@pytest.mark.parametrize(
    ("policy", "person", "by"),
    [(AUTO, False, "policy"), (DENY, True, "policy"), (INTERACTIVE, False, "nobody attached")],
)
async def test_without_a_person_everything_is_answered_at_once(
    asking: Asking, params: Any, policy: ApprovalPolicy, person: bool, by: str
) -> None:
    await asking.ask(params, policy, person=person)
    # A question has no "yes" that would not be made up.
    decision = ACCEPT if policy is AUTO and params not in (QUESTION, FORM) else DECLINE
    assert asking.resolved == [("turn.1", decision, by)]
    assert asking.decisions == [("accept" if decision == ACCEPT else "decline", by)]
    assert [request_id for request_id, _ in asking.codex.replies] == [1]
    assert not asking.requested[0].HasField("expires_at")
    assert len(asking.approvals) == 0
    assert asking.timers == []


@pytest.mark.parametrize(
    ("params", "yes", "no"),
    [
        (COMMAND, {"decision": "accept"}, {"decision": "decline"}),
        (FILES, {"decision": "accept"}, {"decision": "decline"}),
        (TOOL, {"action": "accept"}, {"action": "decline"}),
        (PERMISSIONS, {"permissions": PERMISSIONS.permissions, "scope": "turn"}, {"permissions": {}, "scope": "turn"}),
    ],
)  # fmt: skip
async def test_the_reply_has_the_form_that_codex_wants(asking: Asking, params: Any, yes: Any, no: Any) -> None:
    await asking.ask(params, AUTO)
    await asking.ask(params, DENY)
    assert [_plain(reply) for _, reply in asking.codex.replies] == [yes, no]


def _plain(reply: Out) -> Any:
    return msgspec.json.decode(msgspec.json.encode(reply))


@pytest.mark.parametrize("policy", ApprovalPolicy)
@pytest.mark.parametrize(
    "params",
    [
        asked.OtherRequest(method="future/request"),
        asked.DynamicToolCallParams(thread_id="t", turn_id="c", call_id="1", tool="x", arguments={}),
    ],
)
async def test_what_nobody_can_answer_is_refused(asking: Asking, params: Any, policy: ApprovalPolicy) -> None:
    await asking.ask(params, policy, person=True)
    assert asking.codex.errors == [(1, "item/x is not supported")]
    assert asking.events == []


async def test_a_reply_to_a_dead_child_is_no_failure(asking: Asking) -> None:
    asking.codex.dead = True
    await asking.ask(COMMAND, AUTO)
    await asking.ask(asked.OtherRequest(method="x"), AUTO)
    assert asking.resolved == [("turn.1", ACCEPT, "policy")]


# --- by a person ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("params", "kind", "subject"),
    [
        (COMMAND, turns_pb2.APPROVAL_KIND_COMMAND, "rm -r build"),
        (FILES, turns_pb2.APPROVAL_KIND_FILE_CHANGE, "/w/a.py, /w/b.py"),
        (QUESTION, turns_pb2.APPROVAL_KIND_QUESTION, "Colour; Size"),
        (TOOL, turns_pb2.APPROVAL_KIND_ELICITATION, "docs: may I?"),
        (PERMISSIONS, turns_pb2.APPROVAL_KIND_PERMISSIONS, "network"),
        (
            asked.FileChangeRequestApprovalParams(**{**PLACE, "item_id": "unknown"}, grant_root="/root"),
            turns_pb2.APPROVAL_KIND_FILE_CHANGE,
            "/root",
        ),
    ],
)
async def test_a_person_is_told_what_it_is_about(
    asking: Asking, params: Any, kind: turns_pb2.ApprovalKind, subject: str
) -> None:
    await asking.ask(params, INTERACTIVE, person=True)
    (shown,) = asking.requested
    assert (shown.approval_id, shown.kind, shown.subject) == ("turn.1", kind, subject)
    assert shown.expires_at.ToNanoseconds() > SystemClock().wall_ns()
    assert asking.codex.replies == []
    assert asking.approvals.open_ids == ["turn.1"]
    assert [timer.delay_s for timer in asking.running_timers] == [TIMEOUT_S]
    asking.approvals.forget()


async def test_a_questions_words_and_options_are_shown(asking: Asking) -> None:
    await asking.ask(QUESTION, INTERACTIVE, person=True)
    colour, size = asking.requested[0].questions
    assert (colour.id, colour.header, colour.text, list(colour.options)) == ("colour", "Colour", "Which?", ["red"])
    assert list(size.options) == []
    asking.approvals.forget()


@pytest.mark.parametrize(
    ("params", "decision", "answers", "reply"),
    [
        (COMMAND, turns_pb2.DECISION_ACCEPT_FOR_SESSION, {}, {"decision": "acceptForSession"}),
        (COMMAND, turns_pb2.DECISION_CANCEL, {}, {"decision": "cancel"}),
        (FILES, ACCEPT, {}, {"decision": "accept"}),
        (TOOL, turns_pb2.DECISION_ACCEPT_FOR_SESSION, {}, {"action": "accept"}),
        (FORM, ACCEPT, {"name": "Ann"}, {"action": "accept", "content": {"name": "Ann"}}),
        (TOOL, turns_pb2.DECISION_CANCEL, {}, {"action": "cancel"}),
        (
            PERMISSIONS,
            turns_pb2.DECISION_ACCEPT_FOR_SESSION,
            {},
            {"permissions": {"network": {"enabled": True}}, "scope": "session"},
        ),
        (
            QUESTION,
            ACCEPT,
            {"colour": "red", "size": "L"},
            {"answers": {"colour": {"answers": ["red"]}, "size": {"answers": ["L"]}}},
        ),
        (QUESTION, DECLINE, {"colour": "red"}, {"answers": {}}),
    ],
)
async def test_a_persons_answer_goes_to_codex(
    asking: Asking, params: Any, decision: turns_pb2.Decision, answers: dict[str, str], reply: Any
) -> None:
    await asking.ask(params, INTERACTIVE, person=True)
    asking.approvals.respond("turn.1", decision, answers)
    await asking.settle()
    assert [(request_id, _plain(sent)) for request_id, sent in asking.codex.replies] == [(1, reply)]
    assert asking.resolved == [("turn.1", decision, "person")]
    assert asking.running_timers == []
    assert len(asking.approvals) == 0


@pytest.mark.parametrize(
    ("approval_id", "decision", "answers", "error", "words"),
    [
        ("turn.2", ACCEPT, {}, NotFound, "no approval"),
        ("", ACCEPT, {}, NotFound, "no approval"),
        ("turn.1", turns_pb2.DECISION_UNSPECIFIED, {}, BadInput, "no decision"),
        ("turn.1", 99, {}, BadInput, "no decision"),
        ("turn.1", ACCEPT, {"colour": "red"}, BadInput, "no answer to size"),
    ],
)
async def test_a_wrong_answer_is_refused_and_the_question_stays(
    asking: Asking, approval_id: str, decision: Any, answers: dict[str, str], error: type[CodexError], words: str
) -> None:
    await asking.ask(QUESTION, INTERACTIVE, person=True)
    with pytest.raises(error, match=words):
        asking.approvals.respond(approval_id, decision, answers)
    assert asking.approvals.open_ids == ["turn.1"]
    assert len(asking.running_timers) == 1
    asking.approvals.forget()


async def test_an_answer_counts_once(asking: Asking) -> None:
    await asking.ask(COMMAND, INTERACTIVE, person=True)
    asking.approvals.respond("turn.1", DECLINE, {})
    with pytest.raises(NotFound):
        asking.approvals.respond("turn.1", ACCEPT, {})
    await asking.settle()
    assert len(asking.codex.replies) == 1


# --- by time, or not at all -----------------------------------------------------------------------------------------


async def test_past_the_time_limit_it_is_declined(asking: Asking) -> None:
    await asking.ask(COMMAND, INTERACTIVE, person=True)
    await asking.ask(FILES, INTERACTIVE, person=True, request_id=2)
    asking.approvals.respond("turn.2", ACCEPT, {})
    asking.let_time_pass()
    await asking.settle()
    assert asking.resolved == [("turn.2", ACCEPT, "person"), ("turn.1", DECLINE, "timeout")]
    assert [_plain(reply) for _, reply in asking.codex.replies] == [{"decision": "accept"}, {"decision": "decline"}]
    assert asking.decisions[-1] == ("decline", "timeout")
    with pytest.raises(NotFound):
        asking.approvals.respond("turn.1", ACCEPT, {})


async def test_what_the_child_left_open_is_closed_for_everybody_who_shows_it(asking: Asking) -> None:
    await asking.ask(COMMAND, INTERACTIVE, person=True)
    await asking.ask(FILES, INTERACTIVE, person=True, request_id=2)
    asking.approvals.forget()
    cancel = turns_pb2.DECISION_CANCEL
    assert asking.resolved == [("turn.1", cancel, "codex"), ("turn.2", cancel, "codex")]
    assert asking.codex.replies == []
    assert asking.decisions == [], "nobody decided"
    assert asking.running_timers == []
    asking.approvals.forget()
    assert len(asking.resolved) == 2


async def test_what_codex_no_longer_asks_is_closed(asking: Asking) -> None:
    await asking.ask(COMMAND, INTERACTIVE, person=True, request_id=7)
    await asking.ask(FILES, INTERACTIVE, person=True, request_id=8)
    asking.approvals.resolved_by_codex(7)
    asking.approvals.resolved_by_codex("unknown")
    assert asking.resolved == [("turn.1", turns_pb2.DECISION_CANCEL, "codex")]
    assert asking.approvals.open_ids == ["turn.2"]
    assert len(asking.running_timers) == 1
    asking.approvals.forget()


async def test_the_next_child_asks_under_a_new_id(asking: Asking) -> None:
    await asking.ask(COMMAND, INTERACTIVE, person=True)
    asking.approvals.forget()
    await asking.ask(COMMAND, INTERACTIVE, person=True)
    assert asking.approvals.open_ids == ["turn.2"]
    asking.approvals.forget()


async def test_the_next_supervisor_gives_no_id_twice_and_closes_what_was_open(asking: Asking) -> None:
    await asking.ask(COMMAND, AUTO)
    await asking.ask(FILES, INTERACTIVE, person=True, request_id=2)
    recorded = list(asking.events)
    asking.approvals.forget()
    asking.events.clear()

    asking.approvals = asking.new_approvals()
    for event in recorded:
        asking.approvals.recall(event)
    asking.approvals.forget()
    assert asking.resolved == [("turn.2", turns_pb2.DECISION_CANCEL, "codex")]
    await asking.ask(FILES, INTERACTIVE, person=True, request_id=2)
    assert asking.approvals.open_ids == ["turn.3"]
    asking.approvals.forget()
