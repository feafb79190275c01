"""What Codex asks of us in the middle of a turn, by method in `SERVER_REQUESTS`.

Codex waits without limit: every one must be answered, by a reply or by an error (the item then fails and the turn goes
on). After a reconnect the unanswered ones come again with the same id; a new process counts its ids anew.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import msgspec

from codex_supervisor.child.conversation import In, Out, RequestId


class CommandExecutionRequestApprovalParams(In, frozen=True):
    """May this command run? `available_decisions` are words or objects, as for the reply."""

    thread_id: str
    turn_id: str
    item_id: str
    command: str | None = None
    cwd: str | None = None
    reason: str | None = None
    approval_id: str | None = None
    available_decisions: list[Any] | None = None


class CommandExecutionRequestApprovalResponse(Out, frozen=True):
    """`decision`: accept, acceptForSession, decline (the turn goes on) or cancel (it is interrupted).

    The amendments that Codex proposes as further decisions change every session of its home: we never send them.
    """

    decision: str


class FileChangeRequestApprovalParams(In, frozen=True):
    """May these files change? The changes are in the item with this id."""

    thread_id: str
    turn_id: str
    item_id: str
    reason: str | None = None
    grant_root: str | None = None


class FileChangeRequestApprovalResponse(Out, frozen=True):
    """`decision`: accept, acceptForSession, decline or cancel."""

    decision: str


class ToolRequestUserInputOption(In, frozen=True):
    """One answer to choose."""

    label: str
    description: str


class ToolRequestUserInputQuestion(In, frozen=True):
    """One question; `is_other` allows free text, `is_secret` asks not to show the answer."""

    id: str
    header: str
    question: str
    options: list[ToolRequestUserInputOption] | None = None
    is_other: bool = False
    is_secret: bool = False


class ToolRequestUserInputParams(In, frozen=True):
    """Questions of the model to the person."""

    thread_id: str
    turn_id: str
    item_id: str
    questions: list[ToolRequestUserInputQuestion]
    is_blocking: bool = True


class ToolRequestUserInputAnswer(Out, frozen=True):
    """The answers to one question."""

    answers: list[str]


class ToolRequestUserInputResponse(Out, frozen=True):
    """Answers by the question's id."""

    answers: Mapping[str, ToolRequestUserInputAnswer]


class McpServerElicitationRequestParams(In, frozen=True):
    """A question of an MCP server, or Codex's own about one of its tools. `mode` is form, url or one of OpenAI's."""

    thread_id: str
    server_name: str
    mode: str
    turn_id: str | None = None
    message: str = ""
    requested_schema: Any = None
    url: str | None = None


class McpServerElicitationRequestResponse(Out, frozen=True):
    """`action`: accept with `content` that fits the schema, decline, or cancel."""

    action: str
    content: Any = None


class PermissionsRequestApprovalParams(In, frozen=True):
    """May the turn have more permissions? `permissions` is as Codex wrote it, to be given back whole or in part."""

    thread_id: str
    turn_id: str
    item_id: str
    cwd: str
    permissions: dict[str, Any]
    reason: str | None = None


class PermissionsRequestApprovalResponse(Out, frozen=True):
    """What is granted (empty: nothing); `scope` is turn or session."""

    permissions: Mapping[str, Any]
    scope: str | None = None


class DynamicToolCallParams(In, frozen=True):
    """Call of a tool that a client offered. We offer none."""

    thread_id: str
    turn_id: str
    call_id: str
    tool: str
    arguments: Any
    namespace: str | None = None


class DynamicToolCallResponse(Out, frozen=True):
    """Result of such a call: items such as {"type": "inputText", "text": …}."""

    content_items: list[dict[str, str]]
    success: bool


class OtherRequest(msgspec.Struct, frozen=True):
    """A request that we do not know, or whose parameters have changed. Answer it with an error."""

    method: str


KnownRequest = (
    CommandExecutionRequestApprovalParams
    | FileChangeRequestApprovalParams
    | ToolRequestUserInputParams
    | McpServerElicitationRequestParams
    | PermissionsRequestApprovalParams
    | DynamicToolCallParams
)


@dataclass(frozen=True, slots=True)
class ServerRequest:
    """One request of Codex; answer it with `AppServer.reply(id, …)` or `AppServer.reply_error(id, …)`."""

    id: RequestId
    method: str
    params: KnownRequest | OtherRequest


SERVER_REQUESTS: Mapping[str, tuple[type[In], type[Out]]] = MappingProxyType(
    {
        "item/commandExecution/requestApproval": (
            CommandExecutionRequestApprovalParams,
            CommandExecutionRequestApprovalResponse,
        ),
        "item/fileChange/requestApproval": (FileChangeRequestApprovalParams, FileChangeRequestApprovalResponse),
        "item/tool/requestUserInput": (ToolRequestUserInputParams, ToolRequestUserInputResponse),
        "mcpServer/elicitation/request": (McpServerElicitationRequestParams, McpServerElicitationRequestResponse),
        "item/permissions/requestApproval": (PermissionsRequestApprovalParams, PermissionsRequestApprovalResponse),
        "item/tool/call": (DynamicToolCallParams, DynamicToolCallResponse),
    }
)
