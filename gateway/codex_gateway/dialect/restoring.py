"""The way back: an endpoint's events as the client shall see them, before they are written.

Names of tools and ids of calls become the client's own again, a custom tool's input comes out of its wrapping, texts
end at stop sequences that the endpoint could not be told, reasoning that was not asked for goes, and the reason of the
end agrees with what was said.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from codex_gateway.dialect.custom_input import CustomInput, wrapped
from codex_gateway.dialect.neutral import (
    Dialect,
    Finished,
    PartEnded,
    PartStarted,
    RedactedThinking,
    SignatureDelta,
    StopReason,
    Text,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolArguments,
    ToolCall,
    ToolKind,
)
from codex_gateway.dialect.stop_sequences import Cutter

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import WayBack
    from codex_gateway.dialect.neutral import Event


class _Call:
    """A tool call on its way."""

    __slots__ = ("input", "said", "wrap")

    def __init__(self, unwrap: bool, wrap: bool) -> None:
        self.input = CustomInput() if unwrap else None
        self.wrap: list[str] | None = [] if wrap else None
        self.said = False


class Restorer:
    """Events in, events out: most of them pass as they are."""

    __slots__ = ("_calls", "_cuts", "_cutter", "_dropped", "_has_calls", "_way_back")

    def __init__(self, way_back: WayBack) -> None:
        self._way_back = way_back
        self._calls: dict[int, _Call] = {}
        self._dropped: set[int] = set()
        self._cutter = Cutter(way_back.cut_at) if way_back.cut_at else None
        self._cuts: dict[int, bool] = {}
        """Text parts that the cutter watches."""
        self._has_calls = False

    def restore(self, event: Event, out: list[Event]) -> None:
        """Append what the client shall see of `event`."""
        kind = type(event)
        if kind is TextDelta:
            if self._cutter is None:
                out.append(event)
            else:
                self._cut(event, self._cutter, out)  # type: ignore[arg-type]
            return
        if kind is Finished:
            out.append(self._finished(event))  # type: ignore[arg-type]
            return
        if self._cutter is not None and self._cutter.found is not None:
            # What follows a stop sequence was never said; only the tokens count.
            if isinstance(event, PartEnded) and event.index in self._cuts:
                del self._cuts[event.index]
                out.append(event)
            elif hasattr(event, "index"):
                return
            else:
                out.append(event)
            return
        match event:
            case PartStarted():
                self._started(event, out)
            case ToolArguments():
                self._arguments(event, out)
            case PartEnded():
                self._ended(event, out)
            case ThinkingDelta() | SignatureDelta() if event.index in self._dropped:
                return
            case _:
                out.append(event)

    def _started(self, event: PartStarted, out: list[Event]) -> None:
        match event.part:
            case ToolCall() as call:
                self._has_calls = True
                out.append(PartStarted(event.index, self._renamed(event.index, call)))
                return
            case Thinking() | RedactedThinking() if not self._way_back.keep_thinking:
                self._dropped.add(event.index)
                return
            case Text() if self._cutter is not None:
                self._cuts[event.index] = True
        out.append(event)

    def _renamed(self, index: int, call: ToolCall) -> ToolCall:
        way_back = self._way_back
        key = f"{call.namespace}.{call.name}" if call.namespace else call.name
        tool = way_back.tools.get(key)
        kind = call.kind
        if tool is not None:
            # The endpoint saw a function where the client has another kind of tool.
            kind = tool.kind if call.kind is ToolKind.FUNCTION else call.kind
        unwrap = kind is ToolKind.CUSTOM and call.kind is ToolKind.FUNCTION
        wrap = call.kind is ToolKind.CUSTOM and way_back.client is Dialect.MESSAGES
        self._calls[index] = _Call(unwrap, wrap)
        return msgspec.structs.replace(
            call,
            id=way_back.call_ids.get(call.id, call.id),
            name=call.name if tool is None else tool.name,
            namespace=call.namespace if tool is None else tool.namespace,
            kind=ToolKind.FUNCTION if wrap else kind,
            # An item that changes its kind cannot keep the id of the other kind.
            item_id="" if unwrap else call.item_id,
        )

    def _arguments(self, event: ToolArguments, out: list[Event]) -> None:
        call = self._calls.get(event.index)
        if call is None:
            return
        if call.wrap is not None:
            call.wrap.append(event.fragment)
        elif call.input is not None:
            text = call.input.feed(event.fragment)
            if text:
                out.append(ToolArguments(event.index, text))
        else:
            call.said = True
            out.append(event)

    def _ended(self, event: PartEnded, out: list[Event]) -> None:
        index = event.index
        if index in self._dropped:
            return
        call = self._calls.pop(index, None)
        if call is not None:
            if call.wrap is not None:
                out.append(ToolArguments(index, wrapped("".join(call.wrap))))
            elif call.input is not None:
                rest = call.input.end()
                if rest:
                    out.append(ToolArguments(index, rest))
            elif not call.said:
                out.append(ToolArguments(index, "{}"))
        elif self._cutter is not None and index in self._cuts:
            del self._cuts[index]
            rest = self._cutter.end()
            if rest:
                out.append(TextDelta(index, rest))
        out.append(event)

    def _cut(self, event: TextDelta, cutter: Cutter, out: list[Event]) -> None:
        if event.index not in self._cuts:
            return
        text = cutter.feed(event.text)
        if text:
            out.append(TextDelta(event.index, text))

    def _finished(self, event: Finished) -> Finished:
        if self._cutter is not None and self._cutter.found is not None:
            return Finished(StopReason.STOP_SEQUENCE, self._cutter.found, event.native_reason)
        reason = event.reason
        if self._has_calls and reason in (StopReason.END, StopReason.STOP_SEQUENCE):
            return Finished(StopReason.TOOL_USE, None, event.native_reason)
        if reason is StopReason.TOOL_USE and not self._has_calls:
            return Finished(StopReason.END, None, event.native_reason)
        return event
