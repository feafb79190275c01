"""What Codex asks in the middle of a turn, and who answers it.

Nothing may hang for ever: every request is answered by policy at once, by a person, or by its time limit.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codex_control.errors import BadInput, ChildFailed, NotFound
from codex_control.service.clock import Clock
from codex_control.service.owned_tasks import TaskSet
from codex_control.v1 import turns_pb2

from codex_supervisor.child import server_requests as asked
from codex_supervisor.child.conversation import Out
from codex_supervisor.child.server_requests import ServerRequest
from codex_supervisor.config.turns import ApprovalPolicy
from codex_supervisor.turn.messages import timestamp

if TYPE_CHECKING:
    from codex_supervisor.child.appserver import AppServer

_DECISION_WORDS: Mapping[turns_pb2.Decision, str] = {
    turns_pb2.DECISION_ACCEPT: "accept",
    turns_pb2.DECISION_ACCEPT_FOR_SESSION: "acceptForSession",
    turns_pb2.DECISION_DECLINE: "decline",
    turns_pb2.DECISION_CANCEL: "cancel",
}
_YES = (turns_pb2.DECISION_ACCEPT, turns_pb2.DECISION_ACCEPT_FOR_SESSION)


@dataclass(slots=True)
class _Open:
    """A request that waits for a person."""

    request: ServerRequest
    server: AppServer
    timer: asyncio.TimerHandle


class Approvals:
    """The requests of one turn. `files_of` tells which files an item changes, for the question to the person."""

    def __init__(
        self,
        turn_id: str,
        clock: Clock,
        *,
        tasks: TaskSet,
        emit: Callable[[turns_pb2.TurnEvent], None],
        on_decision: Callable[[str, str], None],
        files_of: Callable[[str], list[str]],
    ) -> None:
        self._turn_id = turn_id
        self._clock = clock
        self._tasks = tasks
        self._emit = emit
        self._on_decision = on_decision
        self._files_of = files_of
        self._open: dict[str, _Open] = {}
        self._recalled: list[str] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._open)

    @property
    def open_ids(self) -> list[str]:
        """Ids of the requests that wait for a person, oldest first."""
        return list(self._open)

    def take(
        self, request: ServerRequest, server: AppServer, *, policy: ApprovalPolicy, person: bool, timeout_s: float
    ) -> None:
        """Answer `request` by policy, or put it to the person who is attached and wait at most `timeout_s`."""
        if isinstance(request.params, asked.OtherRequest | asked.DynamicToolCallParams):
            # The item fails and the turn goes on; a person could not answer it either.
            self._send(server.reply_error(request.id, f"{request.method} is not supported"))
            return
        self._count += 1
        approval_id = f"{self._turn_id}.{self._count}"
        message = _describe(request.params, self._files_of)
        message.approval_id = approval_id
        wait = policy is ApprovalPolicy.INTERACTIVE and person
        if wait:
            message.expires_at.CopyFrom(timestamp(self._clock.wall_ns() + int(timeout_s * 1e9)))
        self._emit(turns_pb2.TurnEvent(approval=message))
        if wait:
            timer = asyncio.get_running_loop().call_later(timeout_s, self._expire, approval_id)
            self._open[approval_id] = _Open(request, server, timer)
            return
        yes = policy is ApprovalPolicy.AUTO and not _is_question(request.params)
        decision = turns_pb2.DECISION_ACCEPT if yes else turns_pb2.DECISION_DECLINE
        by = "nobody attached" if policy is ApprovalPolicy.INTERACTIVE else "policy"
        self._answer(approval_id, request, server, decision, {}, by)

    def respond(self, approval_id: str, decision: turns_pb2.Decision, answers: Mapping[str, str]) -> None:
        """Answer for a person. Raises `NotFound` for a request that does not wait, `BadInput` for missing answers."""
        waiting = self._open.get(approval_id)
        if waiting is None:
            raise NotFound(
                what=f"no approval {approval_id!r} is open",
                why="it was answered, its time was up, or it never was",
                next_step="list the turn's events with `codexctl attach`",
            )
        if decision not in _DECISION_WORDS:
            raise BadInput(what="no decision is given", next_step="accept or decline it")
        params = waiting.request.params
        if isinstance(params, asked.ToolRequestUserInputParams) and decision in _YES:
            missing = [question.id for question in params.questions if question.id not in answers]
            if missing:
                raise BadInput(what=f"no answer to {', '.join(missing)}", next_step="answer every question")
        del self._open[approval_id]
        waiting.timer.cancel()
        self._answer(approval_id, waiting.request, waiting.server, decision, answers, "person")

    def recall(self, event: turns_pb2.TurnEvent) -> None:
        """Take in an event that an earlier supervisor recorded of this turn, so that no id is given twice."""
        match event.WhichOneof("event"):
            case "approval":
                self._count += 1
                self._recalled.append(event.approval.approval_id)
            case "approval_resolved":
                with contextlib.suppress(ValueError):
                    self._recalled.remove(event.approval_resolved.approval_id)
            case _:
                pass

    def forget(self) -> None:
        """Drop what is open: whoever asked is gone, or the turn is over. A living child asks again, under a new id."""
        for approval_id in self._recalled:
            self._emit_resolved(approval_id, turns_pb2.DECISION_CANCEL, "codex")
        self._recalled.clear()
        for approval_id in list(self._open):
            self._drop(approval_id)

    def resolved_by_codex(self, request_id: int | str) -> None:
        """Drop a request that Codex no longer wants answered."""
        for approval_id, waiting in list(self._open.items()):
            if waiting.request.id == request_id:
                self._drop(approval_id)

    def _drop(self, approval_id: str) -> None:
        self._open.pop(approval_id).timer.cancel()
        # Whoever shows the question need show it no longer.
        self._emit_resolved(approval_id, turns_pb2.DECISION_CANCEL, "codex")

    def _expire(self, approval_id: str) -> None:
        waiting = self._open.pop(approval_id)
        self._answer(approval_id, waiting.request, waiting.server, turns_pb2.DECISION_DECLINE, {}, "timeout")

    def _answer(
        self,
        approval_id: str,
        request: ServerRequest,
        server: AppServer,
        decision: turns_pb2.Decision,
        answers: Mapping[str, str],
        by: str,
    ) -> None:
        self._send(server.reply(request.id, _reply(request, decision, answers)))
        self._on_decision(_DECISION_WORDS[decision], by)
        self._emit_resolved(approval_id, decision, by)

    def _emit_resolved(self, approval_id: str, decision: turns_pb2.Decision, by: str) -> None:
        resolved = turns_pb2.ApprovalResolved(approval_id=approval_id, decision=decision, by=by)
        self._emit(turns_pb2.TurnEvent(approval_resolved=resolved))

    def _send(self, reply: Coroutine[None, None, None]) -> None:
        self._tasks.start(quietly(reply), f"answer {self._turn_id}")


async def quietly(reply: Coroutine[None, None, None]) -> None:
    """Send an answer; where the child is gone, its death is heard of elsewhere."""
    with contextlib.suppress(ChildFailed):
        await reply


def _is_question(params: asked.KnownRequest | asked.OtherRequest) -> bool:
    """Whether only a person can answer: "yes" alone is no answer, and anything else would be made up."""
    match params:
        case asked.ToolRequestUserInputParams():
            return True
        case asked.McpServerElicitationRequestParams(requested_schema={"properties": {**fields}}):
            return bool(fields)
        case _:
            return False


def _describe(
    params: asked.KnownRequest | asked.OtherRequest, files_of: Callable[[str], list[str]]
) -> turns_pb2.ApprovalRequested:
    match params:
        case asked.CommandExecutionRequestApprovalParams(command=command, cwd=cwd, reason=reason):
            return turns_pb2.ApprovalRequested(
                kind=turns_pb2.APPROVAL_KIND_COMMAND, subject=command or "", cwd=cwd or "", reason=reason or ""
            )
        case asked.FileChangeRequestApprovalParams(item_id=item_id, reason=reason, grant_root=root):
            subject = ", ".join(files_of(item_id)) or root or "files"
            return turns_pb2.ApprovalRequested(
                kind=turns_pb2.APPROVAL_KIND_FILE_CHANGE, subject=subject, reason=reason or ""
            )
        case asked.ToolRequestUserInputParams(questions=questions):
            return turns_pb2.ApprovalRequested(
                kind=turns_pb2.APPROVAL_KIND_QUESTION,
                subject="; ".join(question.header for question in questions),
                questions=[
                    turns_pb2.Question(
                        id=question.id,
                        header=question.header,
                        text=question.question,
                        options=[option.label for option in question.options or []],
                    )
                    for question in questions
                ],
            )
        case asked.McpServerElicitationRequestParams(server_name=server, message=message):
            return turns_pb2.ApprovalRequested(kind=turns_pb2.APPROVAL_KIND_ELICITATION, subject=f"{server}: {message}")
        case asked.PermissionsRequestApprovalParams(permissions=permissions, cwd=cwd, reason=reason):
            return turns_pb2.ApprovalRequested(
                kind=turns_pb2.APPROVAL_KIND_PERMISSIONS, subject=", ".join(permissions), cwd=cwd, reason=reason or ""
            )
        case _:
            return turns_pb2.ApprovalRequested()


def _reply(request: ServerRequest, decision: turns_pb2.Decision, answers: Mapping[str, str]) -> Out:
    word = _DECISION_WORDS[decision]
    match request.params:
        case asked.ToolRequestUserInputParams():
            given = answers if decision in _YES else {}
            return asked.ToolRequestUserInputResponse(
                answers={key: asked.ToolRequestUserInputAnswer(answers=[text]) for key, text in given.items()}
            )
        case asked.McpServerElicitationRequestParams():
            action = "accept" if decision in _YES else word
            return asked.McpServerElicitationRequestResponse(action=action, content=dict(answers) or None)
        case asked.PermissionsRequestApprovalParams(permissions=permissions):
            scope = "session" if decision == turns_pb2.DECISION_ACCEPT_FOR_SESSION else "turn"
            return asked.PermissionsRequestApprovalResponse(
                permissions=permissions if decision in _YES else {}, scope=scope
            )
        case asked.FileChangeRequestApprovalParams():
            return asked.FileChangeRequestApprovalResponse(decision=word)
        case _:
            return asked.CommandExecutionRequestApprovalResponse(decision=word)
