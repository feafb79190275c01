"""Server-sent events: an incremental reader (bytes in any pieces -> events) and a writer.

The reader knows the grammar of the HTML standard's event streams as far as model APIs use it: lines that end with LF,
CRLF or CR, also where a read splits CR from LF or one character's bytes; comments; `data` in several lines; a byte
order mark. It differs in one point, on purpose: `finish` gives a last event that lacks its blank line, because
endpoints close so.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

MAX_EVENT_BYTES: Final = 32 * 1024 * 1024
"""Largest event by default. Codex's own messages reach 10 MB, and `response.completed` repeats a whole answer."""

_BOM = b"\xef\xbb\xbf"


class EventTooLarge(Exception):
    """An upstream's event is larger than the bound."""


class Event(NamedTuple):
    """One event: its name (empty where the stream gave none) and its data, not yet decoded."""

    name: str
    data: bytes


class SseReader:
    """Cuts a stream into events. Holds at most one unfinished event of `max_event_bytes`."""

    __slots__ = ("_after_cr", "_at_start", "_held", "_max_event_bytes", "_scanned")

    def __init__(self, max_event_bytes: int = MAX_EVENT_BYTES) -> None:
        self._held = bytearray()
        self._scanned = 0
        self._after_cr = False
        self._at_start = True
        self._max_event_bytes = max_event_bytes

    def __repr__(self) -> str:
        return f"<SseReader held={len(self._held)} bytes>"

    def feed(self, data: bytes) -> list[Event]:
        """The events that `data` completes. Raises `EventTooLarge`."""
        if not data:
            return []
        if self._after_cr or b"\r" in data:
            data = self._with_lf(data)
        held = self._held
        if held:
            held += data
            if held.find(b"\n\n", self._scanned) < 0:
                return self._hold_on()
            data = bytes(held)
        elif b"\n\n" not in data:
            held += data
            return self._hold_on()
        if self._at_start:
            self._at_start = False
            data = data.removeprefix(_BOM)
        blocks = data.split(b"\n\n")
        rest = blocks.pop()
        held[:] = rest
        self._scanned = max(0, len(rest) - 1)
        events: list[Event] = []
        for block in blocks:
            if len(block) > self._max_event_bytes:
                raise EventTooLarge(f"an event of {len(block)} bytes; the bound is {self._max_event_bytes}")
            event = _parse(block)
            if event is not None:
                events.append(event)
        if rest:
            self._hold_on()
        return events

    def finish(self) -> list[Event]:
        """The stream has ended: its last event, if the blank line behind it is missing."""
        block = bytes(self._held)
        if self._at_start:
            block = block.removeprefix(_BOM)
        self._held.clear()
        self._scanned = 0
        event = _parse(block)
        return [] if event is None else [event]

    def _hold_on(self) -> list[Event]:
        size = len(self._held)
        self._scanned = max(0, size - 1)
        if size > self._max_event_bytes:
            raise EventTooLarge(f"an event of more than {self._max_event_bytes} bytes")
        return []

    def _with_lf(self, data: bytes) -> bytes:
        # A CR at the end of a read already ends its line; the LF that may open the next read belongs to it.
        if self._after_cr and data[:1] == b"\n":
            data = data[1:]
            if not data:
                self._after_cr = False
                return data
        self._after_cr = data[-1:] == b"\r"
        return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")


def _parse(block: bytes) -> Event | None:
    """The event of one block of lines, or None where it has no data (comments, an id alone)."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return Event("", block[6:])
    if block.startswith(b"event: "):
        line, _, value = block.partition(b"\n")
        if value.startswith(b"data: ") and b"\n" not in value:
            return Event(line[7:].decode("utf-8", "replace"), value[6:])
    name = ""
    data: bytes | None = None
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            data = value if data is None else data + b"\n" + value
        elif line.startswith(b"event:"):
            name = line[6:].decode("utf-8", "replace").removeprefix(" ")
        elif line == b"data":
            data = b"" if data is None else data + b"\n"
    return None if data is None else Event(name, data)


_encode = msgspec.json.Encoder().encode


def event_bytes(payload: object, name: str = "") -> bytes:
    """One event with `payload` as JSON, named where `name` is given."""
    if name:
        return b"event: %b\ndata: %b\n\n" % (name.encode(), _encode(payload))
    return b"data: %b\n\n" % _encode(payload)


def comment_bytes(text: str) -> bytes:
    """A comment line: keeps a connection alive and means nothing."""
    return b": %b\n\n" % text.replace("\r", " ").replace("\n", " ").encode()
