"""Thread items: what happened in a turn, as Codex reports it. Only the fields that are used.

`decode_item` never fails on an item of a newer Codex: an unknown type, or a known one whose fields changed, becomes an
`OtherItem`. Status words are kept as text for the same reason.
"""

from __future__ import annotations

from typing import Any

import msgspec


class _Item(msgspec.Struct, frozen=True, kw_only=True, rename="camel", tag_field="type"):
    id: str


class UserMessageItem(_Item, frozen=True, kw_only=True, rename="camel", tag="userMessage"):
    """What was asked. `client_id` is the `clientUserMessageId` that it was sent with.

    Its `item/completed` is Codex's durable acknowledgement: from here on the input survives SIGKILL.
    """

    client_id: str | None = None


class AgentMessageItem(_Item, frozen=True, kw_only=True, rename="camel", tag="agentMessage"):
    """Text of the model. `phase` is commentary, partial_answer, final_answer or None where the model does not say."""

    text: str
    phase: str | None = None


class ReasoningItem(_Item, frozen=True, kw_only=True, rename="camel", tag="reasoning"):
    """What the model thought: `summary` for people, `content` raw (rarely given)."""

    summary: list[str] = []
    content: list[str] = []


class PlanItem(_Item, frozen=True, kw_only=True, rename="camel", tag="plan"):
    """A plan as text."""

    text: str


class CommandExecutionItem(_Item, frozen=True, kw_only=True, rename="camel", tag="commandExecution"):
    """A shell command. `status` is inProgress, completed, failed or declined."""

    command: str
    cwd: str
    status: str
    aggregated_output: str | None = None
    exit_code: int | None = None
    duration_ms: int | None = None


class PatchChangeKind(msgspec.Struct, frozen=True, kw_only=True):
    """`type` is add, delete or update; `move_path` is the new path of a renamed file."""

    type: str
    move_path: str | None = None


class FileUpdateChange(msgspec.Struct, frozen=True, kw_only=True):
    """One changed file with its unified diff."""

    path: str
    kind: PatchChangeKind
    diff: str


class FileChangeItem(_Item, frozen=True, kw_only=True, rename="camel", tag="fileChange"):
    """A patch. `status` is inProgress, completed, failed or declined."""

    changes: list[FileUpdateChange]
    status: str


class McpToolCallError(msgspec.Struct, frozen=True, kw_only=True):
    """Why an MCP tool call failed."""

    message: str


class McpToolCallItem(_Item, frozen=True, kw_only=True, rename="camel", tag="mcpToolCall"):
    """A call of an MCP server's tool. `status` is inProgress, completed or failed."""

    server: str
    tool: str
    status: str
    arguments: msgspec.Raw = msgspec.Raw(b"null")
    error: McpToolCallError | None = None
    duration_ms: int | None = None


class DynamicToolCallItem(_Item, frozen=True, kw_only=True, rename="camel", tag="dynamicToolCall"):
    """A call of a tool that a client offered."""

    tool: str
    status: str
    namespace: str | None = None
    success: bool | None = None


class WebSearchItem(_Item, frozen=True, kw_only=True, rename="camel", tag="webSearch"):
    """A web search."""

    query: str


class ImageViewItem(_Item, frozen=True, kw_only=True, rename="camel", tag="imageView"):
    """The model looked at an image file."""

    path: str


class EnteredReviewModeItem(_Item, frozen=True, kw_only=True, rename="camel", tag="enteredReviewMode"):
    """A review began; `review` says of what."""

    review: str


class ExitedReviewModeItem(_Item, frozen=True, kw_only=True, rename="camel", tag="exitedReviewMode"):
    """A review ended; `review` is its text."""

    review: str


class ContextCompactionItem(_Item, frozen=True, kw_only=True, rename="camel", tag="contextCompaction"):
    """The conversation was shortened to fit the context window."""


class OtherItem(msgspec.Struct, frozen=True, kw_only=True):
    """An item of a type that we do not know, or whose known type has changed."""

    id: str = ""
    type: str = ""


KnownItem = (
    UserMessageItem
    | AgentMessageItem
    | ReasoningItem
    | PlanItem
    | CommandExecutionItem
    | FileChangeItem
    | McpToolCallItem
    | DynamicToolCallItem
    | WebSearchItem
    | ImageViewItem
    | EnteredReviewModeItem
    | ExitedReviewModeItem
    | ContextCompactionItem
)
ThreadItem = KnownItem | OtherItem

_known: msgspec.json.Decoder[Any] = msgspec.json.Decoder(KnownItem)
_other = msgspec.json.Decoder(OtherItem)


def decode_item(raw: msgspec.Raw) -> ThreadItem:
    """Decode one item, in one pass where it is of a known type.

    Raises `msgspec.ValidationError` only where it is no object with a textual id and type.
    """
    try:
        item: ThreadItem = _known.decode(raw)
    except msgspec.ValidationError:
        return _other.decode(raw)
    return item
