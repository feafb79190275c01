"""Splits a growing Markdown text into blocks that nothing can change any more and the one that still grows."""

from __future__ import annotations

from markdown_it import MarkdownIt

# What rich's own renderer enables.
_PARSER = MarkdownIt().enable("strikethrough").enable("table")


def split_final(text: str) -> tuple[str, str]:
    """`(final, open)`, together `text`: the last top-level block is open, since what follows may still belong to it."""
    starts = [token.map[0] for token in _PARSER.parse(text) if token.level == 0 and token.map and token.nesting >= 0]
    if len(starts) < 2:
        return "", text
    lines = text.splitlines(keepends=True)
    return "".join(lines[: starts[-1]]), "".join(lines[starts[-1] :])


class GrowingText:
    """The text of one message: what was shown for good, and what may still change.

    `append` takes deltas, `complete` the whole text; `take_final` returns Markdown that can be printed for good.
    """

    def __init__(self) -> None:
        self._open = ""
        self._shown = ""

    @property
    def open_text(self) -> str:
        """What has not been shown for good."""
        return self._open

    @property
    def whole(self) -> str:
        """All of it."""
        return self._shown + self._open

    def append(self, delta: str) -> None:
        """Add a piece."""
        self._open += delta

    def complete(self, text: str) -> bool:
        """Put the whole text in the place of the pieces; False where something else was shown for good before."""
        fits = text.startswith(self._shown)
        self._open = text[len(self._shown) :] if fits else text
        if not fits:
            self._shown = ""
        return fits

    def take_final(self) -> str:
        """The blocks that became final since the last call; they count as shown from now on."""
        final, self._open = split_final(self._open)
        self._shown += final
        return final

    def take_all(self) -> str:
        """What is not shown yet; it counts as shown from now on."""
        rest, self._open = self._open, ""
        self._shown += rest
        return rest
