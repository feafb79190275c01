"""What Codex reports of one turn, gathered into events for followers and the record for the journal. Pure.

A draft is fed the notifications of the turn, or (after a death) the items that the thread kept. It never fails on
what a newer Codex reports.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
from codex_control.v1 import turns_pb2

from codex_supervisor.child import items, notifications
from codex_supervisor.child.conversation import TurnError
from codex_supervisor.store.records import CommandRecord, FileRecord, Usage
from codex_supervisor.turn.messages import (
    command_message,
    command_record,
    file_message,
    file_record,
    usage_message,
    usage_record,
)
from codex_supervisor.turn.review import NO_REVIEW

OUTPUT_TAIL_CHARACTERS = 4096
"""End of a command's output that is kept."""

MAX_RECORDED = 500
"""Commands, and files, kept in the record of one turn; later ones are still streamed."""

MAX_DIFF_CHARACTERS = 4 * 1024 * 1024
"""Longest diff that is kept of a turn."""

BEGUN_ANEW = "Codex began its message anew"
"""What is said of a retry that was not heard of."""

Events = list[turns_pb2.TurnEvent]


@dataclass(slots=True)
class Message:
    """One message from Codex. `text` is whole once `completed`."""

    phase: str = ""
    text: str = ""
    parts: list[str] = field(default_factory=list)
    completed: bool = False

    def so_far(self) -> str:
        """The whole text, or what was streamed of it."""
        return self.text if self.completed else "".join(self.parts)


@dataclass(slots=True)
class Draft:
    """The growing record of a turn. `answer_limit` bounds the bytes of all its messages together."""

    answer_limit: int
    show_reasoning: bool
    messages: dict[str, Message] = field(default_factory=dict)
    commands: dict[str, CommandRecord] = field(default_factory=dict)
    files: dict[tuple[str, str], FileRecord] = field(default_factory=dict)
    reasoning_parts: dict[str, str] = field(default_factory=dict)
    tools: set[tuple[str, bool]] = field(default_factory=set)
    muted: set[str] = field(default_factory=set)
    """Messages of which a part was missed: no more pieces of them are shown, the whole comes at their end."""
    joined_late: bool = False
    """Whether a message may come whose start was missed."""
    usage: Usage = field(default_factory=Usage)
    used_before: Usage | None = None
    """What the conversation had used before the turn, where that is known."""
    codex_turn_id: str = ""
    """Codex's turn that the followers were told of last."""
    retries: int = 0
    last_error: TurnError | None = None
    streamed_bytes: int = 0
    first_text: bool = False
    review: bool = False
    """The turn is a review: only what ends it is an answer."""
    reviewed: bool = False
    keep_diff: bool = False
    diff: str = ""
    """What the turn has changed, as Codex's unified diff, where `keep_diff`."""

    # --- results ----------------------------------------------------------------------------------------------------

    def answer(self) -> str:
        """Return the final answer: the last message that is not a commentary, else the last message."""
        newest_first = list(reversed(self.messages.values()))
        answers = [message for message in newest_first if message.phase != "commentary"]
        others = () if self.review else newest_first
        return next((text for message in (*answers, *others) if (text := message.so_far())), "")

    def reasoning(self) -> str:
        """Return the reasoning summaries."""
        return "\n\n".join(self.reasoning_parts.values())

    def over_limit(self) -> bool:
        """Whether the messages are longer than the limit."""
        return self.streamed_bytes > self.answer_limit

    def unfinished_items(self) -> list[str]:
        """Return the ids of messages that were streamed in part and are not complete."""
        return [item_id for item_id, message in self.messages.items() if not message.completed]

    def drop_unfinished(self) -> list[str]:
        """Forget messages that were streamed in part, for a turn that goes on without them; return their ids."""
        void = self.unfinished_items()
        for item_id in void:
            del self.messages[item_id]
        return void

    def void_left(self) -> Events:
        """Declare messages void that were streamed in part, where Codex goes on or completes without ending them.

        It speaks one message at a time. So it began one anew, and nobody heard of the retry: it came while no
        supervisor listened, or Codex did not tell of it. One that ends all the same is told whole, as any other.
        """
        void = [item_id for item_id in self.unfinished_items() if self.messages[item_id].parts]
        if not void:
            return []
        for item_id in void:
            del self.messages[item_id]
        # Not counted: a notification that is still to come may be of this very retry.
        return _event(retry=turns_pb2.ProviderRetry(message=BEGUN_ANEW, count=self.retries, superseded_item_ids=void))

    def mute_unfinished(self) -> None:
        """Show no pieces of messages that were streamed in part while somebody else listened, or nobody."""
        self.muted.update(self.unfinished_items())
        self.joined_late = True

    def recall(self, event: turns_pb2.TurnEvent) -> None:
        """Take in an event that an earlier supervisor recorded of this turn, so that nothing is reported twice."""
        match event.WhichOneof("event"):
            case "text":
                self._text(event.text.item_id, event.text.text)
            case "message":
                message = event.message
                self._message(message.item_id, message.text, message.phase, completed=True)
                self.reviewed = self.reviewed or (self.review and message.phase == "final_answer")
            case "command":
                self.commands[event.command.item_id] = command_record(event.command)
            case "file":
                self.files[event.file.item_id, event.file.path] = file_record(event.file)
            case "usage":
                self.usage = usage_record(event.usage)
            case "retry":
                self.retries = event.retry.count
                for item_id in event.retry.superseded_item_ids:
                    self.messages.pop(item_id, None)
            case "started":
                self.codex_turn_id = event.started.codex_turn_id
                if event.started.HasField("conversation_usage"):
                    self.used_before = usage_record(event.started.conversation_usage)
            case "tool":
                self.tools.add((event.tool.item_id, event.tool.completed))
            case "recovery":
                for item_id in event.recovery.superseded_item_ids:
                    self.messages.pop(item_id, None)
            case _:
                pass

    # --- feeding ----------------------------------------------------------------------------------------------------

    def feed(self, notification: notifications.Notification) -> Events:
        """Take one notification of this turn in; return the events that it means."""
        match notification:
            case notifications.AgentMessageDeltaNotification(item_id=item_id, delta=delta) if not self.review:
                return self._before_message(item_id) + self._text(item_id, delta)
            case notifications.ItemStartedNotification():
                return self.item(notification.decode_item(), completed=False)
            case notifications.ItemCompletedNotification():
                return self.item(notification.decode_item(), completed=True)
            case notifications.ReasoningSummaryTextDeltaNotification(item_id=item_id, delta=delta):
                return self._reasoning_delta(item_id, delta)
            case notifications.ReasoningSummaryPartAddedNotification(item_id=item_id, summary_index=index) if index > 0:
                return self._reasoning_delta(item_id, "\n\n")
            case notifications.ThreadTokenUsageUpdatedNotification(token_usage=usage):
                return self._usage(usage)
            case notifications.TurnPlanUpdatedNotification(plan=plan, explanation=explanation):
                steps = [turns_pb2.PlanStep(text=step.step, status=step.status) for step in plan]
                return _event(plan=turns_pb2.PlanUpdated(explanation=explanation or "", steps=steps))
            case notifications.TurnDiffUpdatedNotification(diff=diff):
                # Always the whole; one that is too large is not cut, for half a diff applies to nothing.
                self.diff = diff if self.keep_diff and len(diff) <= MAX_DIFF_CHARACTERS else ""
                return []
            case notifications.ErrorNotification(error=error, will_retry=will_retry):
                self.last_error = error
                if not will_retry:
                    return []
                self.retries += 1
                # The retry streams under new item ids; what was begun never ends.
                void = self.drop_unfinished()
                return _event(
                    retry=turns_pb2.ProviderRetry(message=error.message, count=self.retries, superseded_item_ids=void)
                )
            case notifications.WarningNotification(message=message):
                return warning(message)
            case notifications.ModelReroutedNotification(from_model=old, to_model=new, reason=reason):
                return warning(f"the provider answers with {new} in place of {old}: {reason}")
            case _:
                return []

    def restore(self, kept: Iterable[items.ThreadItem]) -> Events:
        """Take in the items that the thread kept of this turn; return events for those not reported yet."""
        events: Events = []
        for item in kept:
            events += self.item(item, completed=True)
        return events

    def catch_up_usage(self, usage: notifications.ThreadTokenUsage) -> Events:
        """Take in what the conversation has used by now, where what it had used before the turn is known."""
        return self._usage(usage) if self.used_before is not None else []

    def item(self, item: items.ThreadItem, *, completed: bool) -> Events:
        """Take one item in; return its events, none where the same state was reported before."""
        match item:
            case items.AgentMessageItem(id=item_id, text=text) if self.review:
                # What the reviewer says on its way; once there is a review, it is repeated as a message.
                return [] if self.reviewed else self._message(item_id, text, "commentary", completed=completed)
            case items.AgentMessageItem(id=item_id, text=text, phase=phase):
                return self._before_message(item_id) + self._message(item_id, text, phase or "", completed=completed)
            case items.CommandExecutionItem():
                return self._command(item)
            case items.FileChangeItem():
                return self._files(item)
            case items.ReasoningItem(summary=summary):
                if completed and summary:
                    self.reasoning_parts[item.id] = "\n\n".join(summary)
                return []
            case items.McpToolCallItem(id=item_id, server=server, tool=tool):
                return self._tool(item_id, "mcpToolCall", f"{server}.{tool}", completed)
            case items.DynamicToolCallItem(id=item_id, tool=tool):
                return self._tool(item_id, "dynamicToolCall", tool, completed)
            case items.WebSearchItem(id=item_id, query=query):
                return self._tool(item_id, "webSearch", query, completed)
            case items.ImageViewItem(id=item_id, path=path):
                return self._tool(item_id, "imageView", path, completed)
            case items.ContextCompactionItem(id=item_id):
                return self._tool(item_id, "contextCompaction", "the conversation is shortened", completed)
            case items.ExitedReviewModeItem(id=item_id, review=review) if completed:
                self.reviewed = True
                return [] if review == NO_REVIEW else self._message(item_id, review, "final_answer", completed=True)
            case _:
                return []

    def _before_message(self, item_id: str) -> Events:
        return [] if item_id in self.messages else self.void_left()

    def _text(self, item_id: str, delta: str) -> Events:
        if self.joined_late and item_id not in self.messages:
            self.muted.add(item_id)
        if item_id in self.muted:
            return []
        message = self.messages.setdefault(item_id, Message())
        if message.completed:
            return []  # late: the whole was read from the conversation
        self.streamed_bytes += len(delta.encode())
        self.first_text = True
        if self.over_limit():
            return []  # the turn is being ended for it
        message.parts.append(delta)
        return _event(text=turns_pb2.TextDelta(item_id=item_id, text=delta))

    def _message(self, item_id: str, text: str, phase: str, *, completed: bool) -> Events:
        message = self.messages.setdefault(item_id, Message())
        if message.completed:
            return []
        message.phase = phase
        if not completed:
            return []
        # Twice the size is never held: the parts have done their work.
        message.parts.clear()
        message.text, message.completed = text, True
        self.streamed_bytes = max(self.streamed_bytes, len(text.encode()))
        self.first_text = True
        return _event(message=turns_pb2.MessageCompleted(item_id=item_id, text=text, phase=phase))

    def _reasoning_delta(self, item_id: str, delta: str) -> Events:
        if not self.show_reasoning:
            return []
        return _event(reasoning=turns_pb2.ReasoningDelta(item_id=item_id, text=delta))

    def _command(self, item: items.CommandExecutionItem) -> Events:
        record = CommandRecord(
            item_id=item.id,
            command=item.command,
            status=item.status,
            exit_code=item.exit_code,
            duration_s=(item.duration_ms or 0) / 1000,
            output_tail=(item.aggregated_output or "")[-OUTPUT_TAIL_CHARACTERS:],
        )
        known = self.commands.get(item.id)
        if known == record or (known is not None and _is_late(known.status, item.status)):
            return []
        if item.id in self.commands or len(self.commands) < MAX_RECORDED:
            self.commands[item.id] = record
        return _event(command=command_message(record))

    def _files(self, item: items.FileChangeItem) -> Events:
        events: Events = []
        for change in item.changes:
            record = FileRecord(item_id=item.id, path=change.path, kind=change.kind.type, status=item.status)
            key = (item.id, change.path)
            known = self.files.get(key)
            if known == record or (known is not None and _is_late(known.status, item.status)):
                continue
            if key in self.files or len(self.files) < MAX_RECORDED:
                self.files[key] = record
            events += _event(file=file_message(record))
        return events

    def _tool(self, item_id: str, kind: str, subject: str, completed: bool) -> Events:
        if (item_id, completed) in self.tools or (item_id, True) in self.tools:
            return []
        if len(self.tools) < MAX_RECORDED:
            self.tools.add((item_id, completed))
        return _event(tool=turns_pb2.ToolActivity(item_id=item_id, kind=kind, subject=subject, completed=completed))

    def _usage(self, usage: notifications.ThreadTokenUsage) -> Events:
        # `last` is one request to the model, and may come twice; `total` counts the whole conversation, also what was
        # used while nobody listened. Where `total` began anew, which Codex does when a context is full, `last` counts.
        last, total = conversation_usage(usage.last), conversation_usage(usage.total)
        used = None if self.used_before is None else _minus(total, self.used_before)
        if used is None or not (_covers(used, self.usage) and _covers(used, last)):
            used = _plus(self.usage, last)
            self.used_before = _minus(total, used)
        window = usage.model_context_window or self.usage.context_window
        used = msgspec.structs.replace(used, context_window=window)
        if used == self.usage:
            return []
        self.usage = used
        return _event(usage=usage_message(used))


def conversation_usage(tokens: notifications.TokenUsageBreakdown) -> Usage:
    """Return what Codex counted as our record of it."""
    return Usage(
        input=tokens.input_tokens,
        cached_input=tokens.cached_input_tokens,
        output=tokens.output_tokens,
        reasoning_output=tokens.reasoning_output_tokens,
    )


def _counts(usage: Usage) -> tuple[int, int, int, int]:
    return usage.input, usage.cached_input, usage.output, usage.reasoning_output


def _plus(one: Usage, other: Usage) -> Usage:
    return Usage(*(a + b for a, b in zip(_counts(one), _counts(other), strict=True)))


def _minus(one: Usage, other: Usage) -> Usage:
    return Usage(*(a - b for a, b in zip(_counts(one), _counts(other), strict=True)))


def _covers(whole: Usage, part: Usage) -> bool:
    return all(a >= b for a, b in zip(_counts(whole), _counts(part), strict=True))


def _is_late(known: str, status: str) -> bool:
    # What was read from the conversation may be ahead of what is still on its way.
    return status == "inProgress" and known != "inProgress"


def warning(message: str) -> Events:
    """Return the event of a warning."""
    return _event(warning=turns_pb2.Warning(message=message))


def _event(**content: object) -> Events:
    return [turns_pb2.TurnEvent(**content)]  # type: ignore[arg-type]
