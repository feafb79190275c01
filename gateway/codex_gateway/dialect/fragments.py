"""A tool call's arguments out of fragments, also where an endpoint repeats all it has said so far (snapshots)."""

from __future__ import annotations

import msgspec


class Fragments:
    """Tells what is new in each fragment.

    Fragments are normally parts of one text. Some endpoints send the whole text so far each time. Arguments are a JSON
    object, so a fragment that begins with all that was said is a snapshot, unless a nested object may begin right there
    (`{"a":` then `{"a":1}}`): then it is held until the next one, or the end, tells.
    """

    __slots__ = ("_held", "_length", "_pieces", "_snapshots")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._held = ""
        self._snapshots = False

    @property
    def text(self) -> str:
        """All that was said."""
        return "".join(self._pieces)

    def add(self, fragment: str) -> str:
        """What `fragment` adds; "" where it adds nothing, or is held."""
        # A snapshot is at least as long as what was said: nearly every fragment is done with here.
        if self._length > len(fragment) and not self._held and not self._snapshots:
            return self._take(fragment)
        text = self.text
        if self._held:
            held, self._held = self._held, ""
            self._snapshots = fragment.startswith(held)
            return self._take(fragment[len(text) :] if self._snapshots else held + fragment)
        if not text:
            fragment = fragment.lstrip()
            return self._take("" if fragment == "null" else fragment)
        if not fragment.startswith(text):
            # A snapshot may also lag behind what was said.
            return "" if self._snapshots and text.startswith(fragment) else self._take(fragment)
        if text[:1] != "{":
            return self._take(fragment)
        if self._snapshots or not text.rstrip().endswith((":", "[", ",")):
            self._snapshots = True
            return self._take(fragment[len(text) :])
        self._held = fragment
        return ""

    def end(self) -> str:
        """What was held. It is the last: if it is JSON by itself, it was a snapshot."""
        held, self._held = self._held, ""
        if not held:
            return ""
        return self._take(held[self._length :] if _is_json(held) else held)

    def is_whole(self) -> bool:
        """Whether what was said is a whole JSON value."""
        return _is_json(self.text)

    def _take(self, new: str) -> str:
        self._pieces.append(new)
        self._length += len(new)
        return new


def _is_json(text: str) -> bool:
    try:
        msgspec.json.decode(text)
    except msgspec.MsgspecError:
        return False
    return True
