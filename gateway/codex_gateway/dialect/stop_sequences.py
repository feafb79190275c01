"""Stop sequences cut by the gateway, for endpoints that cannot be told any (Responses)."""

from __future__ import annotations


class Cutter:
    """Passes text on up to the first stop sequence. Holds only what may be the beginning of one."""

    __slots__ = ("_held", "_stops", "found")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""
        self.found: str | None = None
        """The stop sequence that was found."""

    def feed(self, text: str) -> str:
        """What may be said of `text` and of what was held."""
        if self.found is not None:
            return ""
        text = self._held + text
        first = min(
            ((at, -len(stop), stop) for stop in self._stops if (at := text.find(stop)) >= 0),
            default=None,
        )
        # An earlier beginning of another stop sequence has to be waited for.
        keep_from = min((self._begins_at(text, stop) for stop in self._stops), default=len(text))
        if first is not None and first[0] <= keep_from:
            self.found = first[2]
            self._held = ""
            return text[: first[0]]
        self._held = text[keep_from:]
        return text[:keep_from]

    def end(self) -> str:
        """What was held, now that nothing follows."""
        held, self._held = self._held, ""
        first = min(((at, -len(stop), stop) for stop in self._stops if (at := held.find(stop)) >= 0), default=None)
        if first is None:
            return held
        self.found = first[2]
        return held[: first[0]]

    @staticmethod
    def _begins_at(text: str, stop: str) -> int:
        """Where the longest end of `text` begins that is a beginning of `stop`."""
        for size in range(min(len(stop) - 1, len(text)), 0, -1):
            if stop.startswith(text[-size:]):
                return len(text) - size
        return len(text)
