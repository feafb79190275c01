"""What Codex tells of a turn, short to write."""

from __future__ import annotations

from typing import Any

import msgspec
from codex_supervisor.child import notifications as told
from codex_supervisor.child.conversation import Turn, TurnError
from codex_supervisor.child.items import (
    AgentMessageItem,
    CommandExecutionItem,
    FileChangeItem,
    FileUpdateChange,
    PatchChangeKind,
    ThreadItem,
    UserMessageItem,
)

PLACE: dict[str, Any] = {"thread_id": "thread", "turn_id": "codex-turn"}


def delta(item_id: str, text: str) -> told.AgentMessageDeltaNotification:
    """More text of a message."""
    return told.AgentMessageDeltaNotification(**PLACE, item_id=item_id, delta=text)


def started(item: ThreadItem) -> told.ItemStartedNotification:
    """An item began."""
    return told.ItemStartedNotification(**PLACE, item=_raw(item))


def completed(item: ThreadItem) -> told.ItemCompletedNotification:
    """An item is complete."""
    return told.ItemCompletedNotification(**PLACE, item=_raw(item))


def _raw(item: ThreadItem) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(item))


def says(item_id: str, text: str, phase: str | None = "final_answer") -> AgentMessageItem:
    """A message."""
    return AgentMessageItem(id=item_id, text=text, phase=phase)


def user(client_id: str | None, item_id: str = "u") -> UserMessageItem:
    """What was asked."""
    return UserMessageItem(id=item_id, client_id=client_id)


def command(item_id: str, status: str = "completed", **more: Any) -> CommandExecutionItem:
    """A shell command."""
    return CommandExecutionItem(id=item_id, command="make", cwd="/w", status=status, **more)


def file_change(item_id: str, *paths: str, status: str = "completed") -> FileChangeItem:
    """A patch that adds files."""
    changes = [FileUpdateChange(path=path, kind=PatchChangeKind(type="add"), diff="+") for path in paths]
    return FileChangeItem(id=item_id, changes=changes, status=status)


def usage(
    input_tokens: int, output_tokens: int, window: int | None = None, total: tuple[int, int] = (0, 0)
) -> told.ThreadTokenUsageUpdatedNotification:
    """The tokens of one request to the model, and of the whole conversation by then: in, out."""
    last = told.TokenUsageBreakdown(
        total_tokens=input_tokens + output_tokens, input_tokens=input_tokens, output_tokens=output_tokens
    )
    whole = told.TokenUsageBreakdown(total_tokens=sum(total), input_tokens=total[0], output_tokens=total[1])
    token_usage = told.ThreadTokenUsage(last=last, total=whole, model_context_window=window)
    return told.ThreadTokenUsageUpdatedNotification(**PLACE, token_usage=token_usage)


def failure(message: str, info: str | dict[str, Any] | None = None, *, will_retry: bool) -> told.ErrorNotification:
    """The model provider failed."""
    error = TurnError(message=message, codex_error_info=info)
    return told.ErrorNotification(**PLACE, error=error, will_retry=will_retry)


def codex_turn(turn_id: str, status: str, *items: ThreadItem) -> Turn:
    """A turn as `thread/turns/list` gives it."""
    return Turn(id=turn_id, status=status, items=[_raw(item) for item in items])
