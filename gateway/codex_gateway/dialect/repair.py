"""Puts a conversation in the order that every dialect accepts.

Clients keep histories that an endpoint refuses: results without calls (a history that was cut), calls without results
(a turn that was broken off), results twice, the same call id in several turns, words between a call and its result.
After `repair` each assistant message with calls is followed at once by one user message that begins with a result for
each of its calls, in their order, and call ids are unique.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from codex_gateway.dialect.neutral import (
    Message,
    Part,
    Request,
    ResultPart,
    Role,
    Text,
    ToolCall,
    ToolResult,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

NO_RESULT = "No result: the call was broken off."
"""Said for a call that the history holds no result of."""
GO_ON = "Follow the instructions above."
"""The user turn of a request that has only system text: endpoints demand one."""
NO_CONTENT = "(no content)"
"""Where a dialect demands text and there is none."""


def with_user_turn(request: Request) -> Request:
    """A request with only system text gets a user turn."""
    if any(message.role is not Role.SYSTEM for message in request.messages):
        return request
    return msgspec.structs.replace(request, messages=(*request.messages, Message(Role.USER, (Text(GO_ON),))))


def repair(messages: Sequence[Message]) -> tuple[Message, ...]:
    """The same conversation in an order that every dialect accepts."""
    if not any(isinstance(part, (ToolCall, ToolResult)) for message in messages for part in message.parts):
        return tuple(messages)
    results: dict[str, list[tuple[int, ToolResult]]] = {}
    called: set[str] = set()
    for place, message in enumerate(messages):
        for part in message.parts:
            if isinstance(part, ToolResult):
                results.setdefault(part.id, []).append((place, part))
            elif isinstance(part, ToolCall) and message.role is Role.ASSISTANT:
                called.add(part.id)
    used: set[str] = set()
    taken: dict[str, int] = {}
    """Of each call id how many of its results have gone to a call."""
    out: list[Message] = []
    for place, message in enumerate(messages):
        kept: list[Part] = []
        answers: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolCall) and message.role is not Role.ASSISTANT:
                # Only the model calls.
                kept.append(call_as_text(part))
            elif isinstance(part, ToolCall):
                answer = _take(results, taken, part.id, place)
                fresh = _unique(part.id, used)
                if fresh != part.id:
                    part = msgspec.structs.replace(part, id=fresh)
                answers.append(
                    ToolResult(fresh, (Text(NO_RESULT),), is_error=True, kind=part.kind)
                    if answer is None
                    else answer
                    if answer.id == fresh
                    else msgspec.structs.replace(answer, id=fresh)
                )
                kept.append(part)
            elif isinstance(part, ToolResult):
                # Placed behind its call already, or a second one of the same call, or of no call at all.
                if part.id not in called:
                    kept += _as_text(part)
            else:
                kept.append(part)
        if kept:
            out.append(_with(message, kept))
        if answers:
            out.append(Message(Role.USER, tuple(answers)))
    return _joined(out)


def _take(
    results: dict[str, list[tuple[int, ToolResult]]], taken: dict[str, int], call_id: str, place: int
) -> ToolResult | None:
    """The first result of this id behind `place` that no call has taken."""
    waiting = results.get(call_id, [])
    index = taken.get(call_id, 0)
    while index < len(waiting):
        where, result = waiting[index]
        index += 1
        taken[call_id] = index
        if where >= place:
            return result
    return None


def _unique(call_id: str, used: set[str]) -> str:
    fresh, number = call_id, 2
    while fresh in used:
        fresh = f"{call_id}_{number}"
        number += 1
    used.add(fresh)
    return fresh


def _as_text(result: ToolResult) -> list[ResultPart]:
    return [Text("Result of an earlier tool call:"), *(result.parts or (Text(NO_CONTENT),))]


def call_as_text(call: ToolCall) -> Text:
    """A call as words."""
    return Text(f"[called the tool {call.name} with {call.arguments}]")


def _with(message: Message, parts: Sequence[Part]) -> Message:
    return Message(message.role, tuple(parts), message.name, message.phase)


def _joined(messages: list[Message]) -> tuple[Message, ...]:
    """User text right behind results goes into their message."""
    out: list[Message] = []
    for message in messages:
        previous = out[-1] if out else None
        if (
            previous is not None
            and previous.role is Role.USER is message.role
            and isinstance(previous.parts[0], ToolResult)
            and not any(isinstance(part, ToolResult) for part in message.parts)
        ):
            out[-1] = Message(Role.USER, previous.parts + message.parts, message.name)
        else:
            out.append(message)
    return tuple(out)


def without_tools(request: Request) -> Request:
    """For an endpoint that refuses tools: what was called and what came back is told as text."""
    messages = []
    for message in request.messages:
        parts: list[Part] = []
        for part in message.parts:
            if isinstance(part, ToolCall):
                parts.append(call_as_text(part))
            elif isinstance(part, ToolResult):
                parts.append(Text("[result of the tool]"))
                parts += part.parts
            else:
                parts.append(part)
        messages.append(_with(message, parts))
    return msgspec.structs.replace(
        request, messages=tuple(messages), tools=(), tool_choice=None, parallel_tool_calls=None
    )
