"""Messages' stream: neutral events -> SSE events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from codex_gateway.dialect.answer_ids import messages_id
from codex_gateway.dialect.malformed import INCOMPLETE
from codex_gateway.dialect.messages.blocks import (
    result_block,
    sealed_signature,
    search_results,
    write_start,
)
from codex_gateway.dialect.messages.errors import write_error
from codex_gateway.dialect.messages.stop import write_stop
from codex_gateway.dialect.messages.usage import write_usage
from codex_gateway.dialect.neutral import (
    Dialect,
    Failed,
    Finished,
    PartEnded,
    PartStarted,
    Ping,
    RefusalDelta,
    SignatureDelta,
    Started,
    TextDelta,
    Thinking,
    ThinkingDelta,
    ToolArguments,
    Usage,
    UsageSeen,
    WebSearchCall,
)
from codex_gateway.dialect.sse import event_bytes

if TYPE_CHECKING:
    from codex_gateway.dialect.facts import WayBack
    from codex_gateway.dialect.neutral import Event, JsonObject


_encode = msgspec.json.Encoder().encode


class MessagesWriter:
    """Neutral events in, SSE events out. One block is open at a time: what belongs to others waits."""

    def __init__(self, way_back: WayBack, created_s: int, answer_id: str) -> None:  # noqa: ARG002 (all writers take them)
        self._way_back = way_back
        self._id = answer_id
        self._started = False
        self._usage = Usage()
        self._open: int | None = None
        self._next_block = 0
        self._waiting: dict[int, list[Event]] = {}
        """Events of parts that began while another was open, by part, in the order in which they began."""
        self._thoughts: dict[int, Thinking] = {}
        self._searches: dict[int, WebSearchCall] = {}
        self._unwritten: dict[str, Any] | None = None
        """The open block's start, where it was not written yet."""
        self._skipped: set[int] = set()
        self._refusal: list[str] = []
        self.is_over = False

    def write(self, event: Event) -> bytes:
        """The SSE events of one neutral event; often none."""
        if self.is_over:
            return b""
        kind = type(event)
        if kind is TextDelta and event.index == self._open:  # type: ignore[union-attr]
            return _TEXT % (self._next_block, _encode(event.text))  # type: ignore[union-attr]
        if kind is UsageSeen:
            self._usage = event.usage  # type: ignore[union-attr]
            return b""
        if kind is Failed:
            return self._fail(event)  # type: ignore[arg-type]
        start = b"" if self._started else self._start(event if kind is Started else Started())  # type: ignore[arg-type]
        if kind is Started:
            return start
        if kind is Ping:
            return start + PING
        if kind is Finished:
            return start + self._finish(event)  # type: ignore[arg-type]
        return start + self._of_part(event)

    def keep_alive(self) -> bytes:
        """A ping."""
        return PING

    def _start(self, event: Started) -> bytes:
        self._started = True
        message: JsonObject = {
            "id": messages_id(event.id or self._id),
            "type": "message",
            "role": "assistant",
            "model": self._way_back.model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": write_usage(self._usage),
        }
        return _event("message_start", {"message": message})

    def _of_part(self, event: Any) -> bytes:
        index = event.index
        if index in self._skipped:
            return b""
        if index == self._open:
            written = self._of_open(event)
            return written if self._open is not None else written + self._go_on()
        if index in self._waiting:
            self._waiting[index].append(event)
            return b""
        if not isinstance(event, PartStarted):
            return b""
        if self._open is not None:
            self._waiting[index] = [event]
            return b""
        return self._open_block(event)

    def _go_on(self) -> bytes:
        """A block has ended: write what waited, up to a block that is not whole."""
        written = b""
        while self._open is None and self._waiting:
            index = next(iter(self._waiting))
            for event in self._waiting.pop(index):
                written += self._open_block(event) if isinstance(event, PartStarted) else self._of_open(event)
        return written

    def _open_block(self, event: PartStarted) -> bytes:
        block = write_start(event.part, self._way_back)
        if block is None:
            self._skipped.add(event.index)
            return b""
        self._open = event.index
        if isinstance(event.part, Thinking):
            self._thoughts[event.index] = event.part
            if event.part.origin is not Dialect.MESSAGES:
                # Whether it has a text is not known yet. Without one, it is redacted thinking, or nothing.
                self._unwritten = block
                return b""
        elif isinstance(event.part, WebSearchCall):
            self._searches[event.index] = event.part
        return _event("content_block_start", {"index": self._next_block, "content_block": block})

    def _of_open(self, event: Any) -> bytes:
        if self._open is None:
            return b""
        match event:
            case ToolArguments():
                return _ARGUMENTS % (self._next_block, _encode(event.fragment))
            case TextDelta():
                return _TEXT % (self._next_block, _encode(event.text))
            case ThinkingDelta():
                if self._unwritten is not None:
                    begin = _event("content_block_start", {"index": self._next_block, "content_block": self._unwritten})
                    self._unwritten = None
                    return begin + _THINKING % (self._next_block, _encode(event.text))
                return _THINKING % (self._next_block, _encode(event.text))
            case SignatureDelta():
                part = self._thoughts[event.index]
                self._thoughts[event.index] = msgspec.structs.replace(
                    part, signature=part.signature + event.signature, encrypted_content=event.encrypted_content
                )
            case RefusalDelta():
                self._refusal.append(event.text)
                return _TEXT % (self._next_block, _encode(event.text))
            case PartEnded():
                return self._close_block(event)
            case _:
                pass
        return b""

    def _close_block(self, event: PartEnded) -> bytes:
        written = b""
        if thought := self._thoughts.pop(event.index, None):
            signature = sealed_signature(thought, self._way_back)
            if self._unwritten is not None:
                self._unwritten = None
                self._open = None
                if not signature:
                    return b""
                redacted = {"type": "redacted_thinking", "data": signature}
                begin = _event("content_block_start", {"index": self._next_block, "content_block": redacted})
                return begin + self._stop()
            if signature:
                written = self._delta({"type": "signature_delta", "signature": signature})
        search = self._searches.pop(event.index, None)
        if search is not None:
            if isinstance(event.part, WebSearchCall):
                search = event.part
            query = _encode({"query": search.query}).decode()
            written = self._delta({"type": "input_json_delta", "partial_json": query})
        written += self._stop()
        if search is not None and self._way_back.upstream is Dialect.RESPONSES:
            # There the call holds its sources; here the results are a block of their own, which may not be missing.
            block = result_block(search_results(search))
            written += _event("content_block_start", {"index": self._next_block, "content_block": block})
            written += self._stop()
        self._open = None
        return written

    def _delta(self, delta: dict[str, Any]) -> bytes:
        return _event("content_block_delta", {"index": self._next_block, "delta": delta})

    def _stop(self) -> bytes:
        self._next_block += 1
        return _event("content_block_stop", {"index": self._next_block - 1})

    def _close_all(self) -> bytes:
        """Close what is open, so that the client can keep it. What only waited was never seen."""
        self._waiting.clear()
        return b"" if self._open is None or self._unwritten is not None else self._stop()

    def _finish(self, event: Finished) -> bytes:
        told = write_stop(event, "".join(self._refusal))
        if told is None:
            return self._fail(Failed(INCOMPLETE))
        self.is_over = True
        return (
            self._close_all()
            + _event("message_delta", {"delta": told, "usage": write_usage(self._usage)})
            + _event("message_stop", {})
        )

    def _fail(self, event: Failed) -> bytes:
        self.is_over = True
        return self._close_all() + event_bytes(write_error(event.error), "error")


def _event(name: str, payload: dict[str, Any]) -> bytes:
    return event_bytes({"type": name, **payload}, name)


PING: Final = b'event: ping\ndata: {"type":"ping"}\n\n'
_DELTA: Final = b'event: content_block_delta\ndata: {"type":"content_block_delta","index":%d,"delta":'
_TEXT: Final = _DELTA + b'{"type":"text_delta","text":%b}}\n\n'
_THINKING: Final = _DELTA + b'{"type":"thinking_delta","thinking":%b}}\n\n'
_ARGUMENTS: Final = _DELTA + b'{"type":"input_json_delta","partial_json":%b}}\n\n'
