"""The spans of a turn, worked out from its record and its journaled events. Pure, and without OpenTelemetry.

They are made when the turn has ended, from what the journal holds: so a turn that several supervisors and children had
is one trace, and its ids follow from the turn's. No prompt, answer, command or path is in them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from codex_control.v1 import turns_pb2

from codex_supervisor.store.records import Outcome, TurnRecord

MAX_ITEMS = 500
"""Items of one turn that become spans; a longer turn says how many it had."""

Value = str | int | float | bool


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened in a span at one moment."""

    name: str
    at_ns: int
    attributes: Mapping[str, Value] = field(default_factory=dict)


@dataclass(slots=True)
class SpanDraft:
    """One span. Times are nanoseconds of the wall clock; `parent` is the id of the span above it, 0 for the first."""

    name: str
    span_id: int
    parent: int
    start_ns: int
    end_ns: int
    attributes: dict[str, Value] = field(default_factory=dict)
    marks: list[Mark] = field(default_factory=list)
    failed: str = ""
    """Why it counts as an error; empty where it does not."""


def trace_id_of(turn_id: str) -> int:
    """Return the 128 bits by which a turn's trace is found, whoever makes it."""
    return int.from_bytes(hashlib.sha256(f"trace {turn_id}".encode()).digest()[:16], "big")


def span_id_of(turn_id: str, what: str) -> int:
    """Return the 64 bits of one span of a turn."""
    return int.from_bytes(hashlib.sha256(f"span {turn_id} {what}".encode()).digest()[:8], "big")


class TurnSpans:
    """Takes a turn's events one by one, then makes the spans. Memory is bounded by `MAX_ITEMS`."""

    def __init__(self, turn_id: str) -> None:
        self._turn_id = turn_id
        self._items: dict[tuple[str, str], SpanDraft] = {}
        self._marks: list[Mark] = []
        self._left_out = 0
        self._sent_ns = 0

    def take(self, event: turns_pb2.TurnEvent) -> None:
        """Take one event in."""
        at_ns = event.at.ToNanoseconds()
        match event.WhichOneof("event"):
            case "started":
                self._sent_ns = self._sent_ns or at_ns
            case "command":
                command = event.command
                item = self._item("command", command.item_id, at_ns, done=command.status != "inProgress")
                if item is not None and command.status != "inProgress":
                    item.attributes |= {"codex.item.status": command.status, "codex.exit_code": command.exit_code}
            case "file":
                file = event.file
                item = self._item("file change", file.item_id, at_ns, done=file.status != "inProgress")
                if item is not None:
                    item.attributes |= {"codex.item.status": file.status}
            case "tool":
                item = self._item("tool", event.tool.item_id, at_ns, done=event.tool.completed)
                if item is not None:
                    item.attributes["codex.tool.kind"] = event.tool.kind
            case "text":
                self._item("message", event.text.item_id, at_ns, done=False)
            case "message":
                self._item("message", event.message.item_id, at_ns, done=True)
            case "approval":
                self._mark(Mark("approval asked", at_ns))
            case "approval_resolved":
                self._mark(Mark("approval answered", at_ns, {"codex.approval.by": event.approval_resolved.by}))
            case "retry":
                self._mark(Mark("provider retry", at_ns, {"codex.retry": event.retry.count}))
            case "recovery":
                self._mark(Mark("recovery", at_ns, {"codex.recovery": event.recovery.recovery}))
            case _:
                pass

    def _item(self, name: str, item_id: str, at_ns: int, *, done: bool) -> SpanDraft | None:
        key = (name, item_id)
        item = self._items.get(key)
        if item is None:
            if len(self._items) >= MAX_ITEMS:
                self._left_out += 1
                return None
            span_id = span_id_of(self._turn_id, f"{name} {item_id}")
            item = self._items[key] = SpanDraft(name, span_id, span_id_of(self._turn_id, "turn"), at_ns, at_ns)
        if done or name == "message":
            item.end_ns = max(item.end_ns, at_ns)
        return item

    def _mark(self, mark: Mark) -> None:
        if len(self._marks) < MAX_ITEMS:
            self._marks.append(mark)

    def spans(self, record: TurnRecord) -> list[SpanDraft]:
        """Return the spans of a turn that has ended: `ask`, below it `queue` and `turn`, below that the items."""
        begin, end = record.accepted_ns, max(record.accepted_ns, record.ended_ns or 0)
        failed = "" if record.outcome is Outcome.COMPLETED else (record.cause.value if record.cause else "ended")
        root = SpanDraft(
            "ask",
            span_id_of(record.id, "ask"),
            0,
            begin,
            end,
            attributes={
                "codex.turn.id": record.id,
                "codex.instance": record.instance,
                "codex.profile": record.request.profile,
                "codex.review": record.request.review is not None,
                "codex.outcome": record.outcome.value if record.outcome else "",
                "codex.cause": record.cause.value if record.cause else "",
                "codex.recoveries": record.recoveries,
                "gen_ai.usage.input_tokens": record.usage.input,
                "gen_ai.usage.output_tokens": record.usage.output,
            },
            failed=failed,
        )
        # The wall clock may have jumped, and a turn that was never sent only waited.
        sent = min(max(self._sent_ns or record.sent_ns or end, begin), end)
        queue = SpanDraft("queue", span_id_of(record.id, "queue"), root.span_id, begin, sent)
        if record.sent_ns is None:
            return [root, queue]
        turn = SpanDraft("turn", span_id_of(record.id, "turn"), root.span_id, sent, end, marks=self._marks)
        turn.attributes = {"codex.thread.id": record.thread_id, "codex.turn.codex_id": record.codex_turn_id}
        turn.failed = failed
        if self._left_out:
            turn.attributes["codex.items_left_out"] = self._left_out
        return [root, queue, turn, *self._items.values()]
