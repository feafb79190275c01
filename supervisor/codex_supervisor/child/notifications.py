"""What Codex tells without being asked, by method in `NOTIFICATIONS`.

Unknown fields, words and methods are tolerated; a method that we do not use is an `OtherNotification`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import msgspec

from codex_supervisor.child.conversation import In, RequestId, Thread, ThreadStatus, Turn, TurnError
from codex_supervisor.child.items import ThreadItem, decode_item


class ErrorNotification(In, frozen=True):
    """The model provider failed; with `will_retry` Codex tries again by itself."""

    thread_id: str
    turn_id: str
    error: TurnError
    will_retry: bool


class ThreadStartedNotification(In, frozen=True):
    """A thread was started or resumed."""

    thread: Thread


class ThreadStatusChangedNotification(In, frozen=True):
    """The thread is idle, active or waits for somebody."""

    thread_id: str
    status: ThreadStatus


class ThreadClosedNotification(In, frozen=True):
    """Codex unloaded the thread."""

    thread_id: str


class TokenUsageBreakdown(In, frozen=True):
    """Tokens by kind."""

    total_tokens: int = 0
    input_tokens: int = 0
    cached_input_tokens: int = 0
    output_tokens: int = 0
    reasoning_output_tokens: int = 0


class ThreadTokenUsage(In, frozen=True):
    """`last` is the last request to the model, `total` all of the thread."""

    last: TokenUsageBreakdown
    total: TokenUsageBreakdown
    model_context_window: int | None = None


class ThreadTokenUsageUpdatedNotification(In, frozen=True):
    """Once for every request to the model."""

    thread_id: str
    turn_id: str
    token_usage: ThreadTokenUsage


class TurnStartedNotification(In, frozen=True):
    """A turn began."""

    thread_id: str
    turn: Turn


class TurnCompletedNotification(In, frozen=True):
    """A turn ended, well or not: see `turn.status`."""

    thread_id: str
    turn: Turn


class TurnPlanStep(In, frozen=True):
    """`status` is pending, inProgress or completed."""

    step: str
    status: str


class TurnPlanUpdatedNotification(In, frozen=True):
    """The plan as it is now."""

    thread_id: str
    turn_id: str
    plan: list[TurnPlanStep]
    explanation: str | None = None


class TurnDiffUpdatedNotification(In, frozen=True):
    """All that the turn changed so far, as one unified diff."""

    thread_id: str
    turn_id: str
    diff: str


class ItemStartedNotification(In, frozen=True):
    """An item began; `decode_item` reads it."""

    thread_id: str
    turn_id: str
    item: msgspec.Raw
    started_at_ms: int = 0

    def decode_item(self) -> ThreadItem:
        """Decode the item."""
        return decode_item(self.item)


class ItemCompletedNotification(In, frozen=True):
    """An item is complete; `decode_item` reads it."""

    thread_id: str
    turn_id: str
    item: msgspec.Raw
    completed_at_ms: int = 0

    def decode_item(self) -> ThreadItem:
        """Decode the item."""
        return decode_item(self.item)


class AgentMessageDeltaNotification(In, frozen=True):
    """More text of a message."""

    thread_id: str
    turn_id: str
    item_id: str
    delta: str


class ReasoningSummaryPartAddedNotification(In, frozen=True):
    """A new paragraph of the reasoning summary begins."""

    thread_id: str
    turn_id: str
    item_id: str
    summary_index: int


class ReasoningSummaryTextDeltaNotification(In, frozen=True):
    """More text of the reasoning summary."""

    thread_id: str
    turn_id: str
    item_id: str
    delta: str
    summary_index: int


class ReasoningTextDeltaNotification(In, frozen=True):
    """More raw reasoning text."""

    thread_id: str
    turn_id: str
    item_id: str
    delta: str
    content_index: int


class CommandExecutionOutputDeltaNotification(In, frozen=True):
    """More output of a shell command."""

    thread_id: str
    turn_id: str
    item_id: str
    delta: str


class WarningNotification(In, frozen=True):
    """Something that a person should know."""

    message: str
    thread_id: str | None = None


class ConfigWarningNotification(In, frozen=True):
    """Codex's configuration is wrong; with "Invalid configuration" `thread/start` then fails."""

    summary: str
    details: str | None = None
    path: str | None = None


class DeprecationNoticeNotification(In, frozen=True):
    """Something that we or the configuration use will go."""

    summary: str
    details: str | None = None


class ModelReroutedNotification(In, frozen=True):
    """Another model answers."""

    thread_id: str
    turn_id: str
    from_model: str
    to_model: str
    reason: str


class ServerRequestResolvedNotification(In, frozen=True):
    """A request of Codex needs no answer any more."""

    thread_id: str
    request_id: RequestId


class McpServerStatusUpdatedNotification(In, frozen=True):
    """An MCP server is starting, ready, failed or cancelled."""

    name: str
    status: str
    error: str | None = None
    thread_id: str | None = None


class OtherNotification(msgspec.Struct, frozen=True):
    """A notification that we do not use."""

    method: str


KnownNotification = (
    ErrorNotification
    | ThreadStartedNotification
    | ThreadStatusChangedNotification
    | ThreadClosedNotification
    | ThreadTokenUsageUpdatedNotification
    | TurnStartedNotification
    | TurnCompletedNotification
    | TurnPlanUpdatedNotification
    | TurnDiffUpdatedNotification
    | ItemStartedNotification
    | ItemCompletedNotification
    | AgentMessageDeltaNotification
    | ReasoningSummaryPartAddedNotification
    | ReasoningSummaryTextDeltaNotification
    | ReasoningTextDeltaNotification
    | CommandExecutionOutputDeltaNotification
    | WarningNotification
    | ConfigWarningNotification
    | DeprecationNoticeNotification
    | ModelReroutedNotification
    | ServerRequestResolvedNotification
    | McpServerStatusUpdatedNotification
)
Notification = KnownNotification | OtherNotification

NOTIFICATIONS: Mapping[str, type[In]] = MappingProxyType(
    {
        "error": ErrorNotification,
        "thread/started": ThreadStartedNotification,
        "thread/status/changed": ThreadStatusChangedNotification,
        "thread/closed": ThreadClosedNotification,
        "thread/tokenUsage/updated": ThreadTokenUsageUpdatedNotification,
        "turn/started": TurnStartedNotification,
        "turn/completed": TurnCompletedNotification,
        "turn/plan/updated": TurnPlanUpdatedNotification,
        "turn/diff/updated": TurnDiffUpdatedNotification,
        "item/started": ItemStartedNotification,
        "item/completed": ItemCompletedNotification,
        "item/agentMessage/delta": AgentMessageDeltaNotification,
        "item/reasoning/summaryPartAdded": ReasoningSummaryPartAddedNotification,
        "item/reasoning/summaryTextDelta": ReasoningSummaryTextDeltaNotification,
        "item/reasoning/textDelta": ReasoningTextDeltaNotification,
        "item/commandExecution/outputDelta": CommandExecutionOutputDeltaNotification,
        "warning": WarningNotification,
        "configWarning": ConfigWarningNotification,
        "deprecationNotice": DeprecationNoticeNotification,
        "model/rerouted": ModelReroutedNotification,
        "serverRequest/resolved": ServerRequestResolvedNotification,
        "mcpServer/startupStatus/updated": McpServerStatusUpdatedNotification,
    }
)

# What a supervisor has no use for, each opted out of on the wire. Left in on purpose: everything that a turn's record
# or its stream is made of. Codex ignores names that it does not know (tried with 0.163.0).
UNUSED_NOTIFICATIONS = (
    "account/rateLimits/updated",
    "account/updated",
    "app/list/updated",
    "externalAgentConfig/import/progress",
    "fs/changed",
    "hook/completed",
    "hook/started",
    "item/commandExecution/terminalInteraction",
    "item/fileChange/outputDelta",
    "item/fileChange/patchUpdated",
    "item/mcpToolCall/progress",
    "item/plan/delta",
    "project/changed",
    "remoteControl/status/changed",
    "skills/changed",
    "thread/goal/updated",
    "thread/name/updated",
    "thread/queue/changed",
    "thread/readState/changed",
    "thread/settings/updated",
    "turn/moderationMetadata",
)
