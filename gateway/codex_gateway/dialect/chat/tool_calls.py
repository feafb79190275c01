"""Tool calls out of Chat Completions' fragments, whose id, name and index may come late, twice, or never."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from codex_gateway.dialect.fragments import Fragments
from codex_gateway.dialect.malformed import malformed
from codex_gateway.dialect.neutral import PartEnded, PartStarted, ToolArguments, ToolCall, ToolKind

if TYPE_CHECKING:
    from collections.abc import Callable

    from codex_gateway.dialect.neutral import Event


class _Call:
    """One call, as far as it is known."""

    __slots__ = ("arguments", "id", "index", "kind", "name", "part")

    def __init__(self, index: int | None) -> None:
        self.index = index
        self.id = ""
        self.name = ""
        self.kind = ToolKind.FUNCTION
        self.arguments = Fragments()
        self.part: int | None = None
        """Its part's number, once it has begun."""


class ToolCalls:
    """All calls of one answer. A call begins when both its id and its name are known."""

    __slots__ = ("_calls", "_next_part")

    def __init__(self, next_part: Callable[[], int]) -> None:
        self._calls: list[_Call] = []
        self._next_part = next_part

    def __bool__(self) -> bool:
        return bool(self._calls)

    def read(self, fragment: Any, out: list[Event]) -> None:
        """One entry of `tool_calls`."""
        if not isinstance(fragment, dict):
            raise malformed("a tool call that is no object")
        function = fragment.get("function") or fragment.get("custom") or {}
        call_id = fragment.get("id") or ""
        name = function.get("name") or ""
        text = function.get("arguments")
        if text is None:
            text = function.get("input")
        call = self._find(fragment.get("index"), call_id, name, text)
        if fragment.get("type") == "custom" or "custom" in fragment:
            call.kind = ToolKind.CUSTOM
        if call.part is None:
            call.id = call.id or call_id
            if name and name != call.name:
                call.name = name if name.startswith(call.name) else call.name + name
        if isinstance(text, str):
            new = call.arguments.add(text) if text else ""
        elif isinstance(text, dict):
            # Some endpoints send the object itself, whole.
            new = call.arguments.add(msgspec.json.encode(text).decode())
        else:
            new = ""
        if call.part is not None:
            if new:
                out.append(ToolArguments(call.part, new))
        elif call.id and call.name:
            self._begin(call, out)

    def end(self, answer_id: str, out: list[Event]) -> None:
        """The answer is whole: begin what waited for an id, end all.

        :raises AnswerFailed: a call never got a name
        """
        for number, call in enumerate(self._calls):
            rest = call.arguments.end()
            part = call.part
            if part is None:
                if not call.name:
                    if not call.id and not call.arguments.text:
                        continue
                    raise malformed("a tool call without a name")
                call.id = call.id or f"call_{answer_id}_{number}"
                part = self._begin(call, out)
            elif rest:
                out.append(ToolArguments(part, rest))
            out.append(PartEnded(part))

    def _begin(self, call: _Call, out: list[Event]) -> int:
        part = call.part = self._next_part()
        out.append(PartStarted(part, ToolCall(call.id, call.name, "", call.kind)))
        text = call.arguments.text
        if text:
            out.append(ToolArguments(part, text))
        return part

    def _find(self, index: Any, call_id: str, name: str, text: Any) -> _Call:
        """The call that a fragment belongs to; a new one where it belongs to none."""
        calls = self._calls
        if isinstance(index, int):
            for call in reversed(calls):
                if call.index == index:
                    if call_id and call.id and call_id != call.id and name and self._is_another(call, name):
                        break
                    if not call_id and name and self._begins_anew(call, text):
                        break
                    return call
            if call_id:
                for call in calls:
                    if call.index is None and call.id == call_id:
                        call.index = index
                        return call
            return self._new(index)
        if call_id:
            for call in calls:
                if call.id == call_id:
                    return call
            last = calls[-1] if calls else None
            if last is not None and not last.id and (not name or not last.name):
                return last
            return self._new(None)
        if calls and not (name and calls[-1].name and self._is_another(calls[-1], name)):
            return calls[-1]
        return self._new(None)

    @staticmethod
    def _is_another(call: _Call, name: str) -> bool:
        """Some endpoints give every call the index 0, others every fragment of one call a new id."""
        return name != call.name or call.arguments.is_whole()

    @staticmethod
    def _begins_anew(call: _Call, text: Any) -> bool:
        """Some endpoints give every call the index 0 and no id, but each of them whole."""
        if isinstance(text, dict):
            return bool(call.name and call.arguments.text)
        said = call.arguments.text
        return isinstance(text, str) and bool(text.strip()) and not text.startswith(said) and call.arguments.is_whole()

    def _new(self, index: int | None) -> _Call:
        call = _Call(index)
        self._calls.append(call)
        return call
