"""Reasoning that a model wrote into its text, between `<think>` and `</think>` at the head of the answer."""

from __future__ import annotations

from typing import Final

OPEN: Final = "<think>"
CLOSE: Final = "</think>"


class InlineThinking:
    """Splits text into reasoning and answer, piece by piece. Holds at most a part of a tag; nothing of a tag leaks."""

    __slots__ = ("_held", "_state")

    def __init__(self) -> None:
        self._held = ""
        self._state = "head"

    @property
    def is_over(self) -> bool:
        """Whether all that follows is the answer, so that nobody has to ask again."""
        return self._state == "answer"

    def feed(self, text: str) -> tuple[str, str]:
        """The reasoning and the answer in `text`, and in what was held."""
        text = self._held + text
        self._held = ""
        thinking = ""
        if self._state == "head":
            begin = text.lstrip()
            if begin.startswith(OPEN):
                text = begin[len(OPEN) :]
                self._state = "thinking head"
            elif OPEN.startswith(begin):
                self._held = text
                return "", ""
            else:
                self._state = "answer"
        if self._state == "thinking head":
            text = text.lstrip("\n")
            if text:
                self._state = "thinking"
        if self._state == "thinking":
            at = text.find(CLOSE)
            if at < 0:
                keep = _tail_of_tag(text)
                self._held = text[len(text) - keep :]
                return text[: len(text) - keep], ""
            thinking = text[:at].rstrip("\n")
            text = text[at + len(CLOSE) :]
            self._state = "answer head"
        if self._state == "answer head":
            text = text.lstrip()
            if text:
                self._state = "answer"
        return thinking, text if self._state == "answer" else ""

    def end(self) -> tuple[str, str]:
        """What was held, now that nothing follows."""
        held, self._held = self._held, ""
        return (held.rstrip("\n"), "") if self._state == "thinking" else ("", held)


def _tail_of_tag(text: str) -> int:
    """How many characters at the end of `text` may be the beginning of the closing tag, or line ends before it."""
    for size in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if CLOSE.startswith(text[-size:]):
            return size + len(text[:-size]) - len(text[:-size].rstrip("\n"))
    return len(text) - len(text.rstrip("\n"))
