"""A whole answer out of its events."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from msgspec import Struct

from codex_gateway.dialect.malformed import AnswerFailed
from codex_gateway.dialect.neutral import (
    AnnotationSeen,
    Failed,
    Finished,
    Part,
    PartEnded,
    PartStarted,
    Refusal,
    RefusalDelta,
    SignatureDelta,
    Started,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolArguments,
    ToolCall,
    Usage,
    UsageSeen,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from codex_gateway.dialect.neutral import Event


class Answer(Struct, frozen=True):
    """A whole answer."""

    started: Started
    parts: tuple[Part, ...]
    """In the order in which they began, with their whole texts and arguments."""
    finished: Finished
    usage: Usage


class _Part:
    __slots__ = ("annotations", "encrypted", "part", "pieces", "signature")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.pieces: list[str] = []
        self.signature = ""
        self.encrypted = ""
        self.annotations: list[AnnotationSeen] = []

    def whole(self) -> Part:
        said = "".join(self.pieces)
        match self.part:
            case Text():
                return Text(said, annotations=tuple(seen.annotation for seen in self.annotations))
            case Refusal():
                return Refusal(said)
            case ToolCall() as call:
                return msgspec.structs.replace(call, arguments=said)
            case Thinking() as thinking:
                return msgspec.structs.replace(
                    thinking, text=said, signature=self.signature, encrypted_content=self.encrypted
                )
            case whole:
                return whole


def collect(events: Iterable[Event]) -> Answer:
    """The answer.

    :raises AnswerFailed: it is an error
    """
    started = Started()
    parts: dict[int, _Part] = {}
    finished = Finished(StopReason.INCOMPLETE)
    usage = Usage()
    for event in events:
        match event:
            case Started():
                started = event
            case PartStarted():
                parts[event.index] = _Part(event.part)
            case TextDelta() | RefusalDelta() | ThinkingDelta():
                parts[event.index].pieces.append(event.text)
            case ToolArguments():
                parts[event.index].pieces.append(event.fragment)
            case SignatureDelta():
                parts[event.index].signature += event.signature
                parts[event.index].encrypted = event.encrypted_content or parts[event.index].encrypted
            case AnnotationSeen():
                parts[event.index].annotations.append(event)
            case PartEnded() if event.part is not None:
                parts[event.index].part = event.part
            case UsageSeen():
                usage = event.usage
            case Finished():
                finished = event
            case Failed():
                raise AnswerFailed(event.error)
            case _:
                pass
    return Answer(started, tuple(part.whole() for part in parts.values()), finished, usage)
