"""Reasoning that a model wrote into its text, between `<think>` and `</think>` at the head of the answer.

Some templates open it in the prompt already (DeepSeek R1, QwQ), so that the answer holds only the closing tag. Where
the endpoint is known to do so, all up to that tag is reasoning; elsewhere a closing tag alone is text like any other,
since one cannot know it before it comes.
"""

from __future__ import annotations

from typing import Final

OPEN: Final = "<think>"
CLOSE: Final = "</think>"


class InlineThinking:
    """Splits text into reasoning and answer, piece by piece. Holds at most a part of a tag; nothing of a tag leaks."""

    __slots__ = ("_held", "_opened", "_state")

    def __init__(self, opened: bool = False) -> None:
        self._held = ""
        self._state = "head"
        self._opened: list[str] | None = [] if opened else None
        """The reasoning so far, where the endpoint's template has opened it in the prompt, until it is closed."""

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
                self._state = "answer" if self._opened is None else "thinking head"
        if self._state == "thinking head":
            text = text.lstrip("\n")
            if text:
                self._state = "thinking"
        if self._state == "thinking":
            at = text.find(CLOSE)
            if at < 0:
                keep = _tail_of_tag(text)
                self._held = text[len(text) - keep :]
                thinking = text[: len(text) - keep]
                if self._opened is not None:
                    self._opened.append(thinking)
                return thinking, ""
            self._opened = None
            thinking = text[:at].rstrip("\n")
            text = text[at + len(CLOSE) :]
            self._state = "answer head"
        if self._state == "answer head":
            text = text.lstrip()
            if text:
                self._state = "answer"
        return thinking, text if self._state == "answer" else ""

    def flush(self) -> tuple[str, str]:
        """What was held, now that it cannot become a tag."""
        held, self._held = self._held, ""
        return (held.rstrip("\n"), "") if self._state == "thinking" else ("", held)

    def end(self) -> tuple[str, str]:
        """What was held, now that nothing follows.

        What was taken for reasoning only because the endpoint's template opens it, and was never closed, was the
        answer: it is said again as such, so that no answer is lost.
        """
        thinking, answer = self.flush()
        if self._opened and self._state == "thinking":
            return thinking, "".join([*self._opened, thinking])
        return thinking, answer


def _tail_of_tag(text: str) -> int:
    """How many characters at the end of `text` may be the beginning of the closing tag, or line ends before it."""
    for size in range(min(len(CLOSE) - 1, len(text)), 0, -1):
        if CLOSE.startswith(text[-size:]):
            return size + len(text[:-size]) - len(text[:-size].rstrip("\n"))
    return len(text) - len(text.rstrip("\n"))
