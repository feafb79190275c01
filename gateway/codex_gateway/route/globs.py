"""Globs for models, paths and values: `*` for any text, `?` for one character; all else stands for itself."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable


@functools.lru_cache(maxsize=4096)
def _matcher(glob: str) -> Callable[[str], bool]:
    if "*" not in glob and "?" not in glob:
        return glob.__eq__
    # Runs of `*` are one, and each is lazy up to the next fixed text: no pattern takes more than quadratic time.
    parts = re.sub(r"\*+", "*", glob).split("*")
    first, *rest = (re.escape(part).replace(r"\?", ".") for part in parts)
    # An atomic group never gives back what it took: the leftmost place of each fixed text is as good as any.
    inner = "".join(f"(?>.*?{part})" for part in rest[:-1])
    pattern = re.compile(rf"(?s:{first}{inner}" + (rf".*{rest[-1]}" if rest else "") + ")")
    return lambda text: pattern.fullmatch(text) is not None


def matches(glob: str, text: str) -> bool:
    """Whether `glob` fits the whole of `text`; case counts."""
    return _matcher(glob)(text)


def matches_any(globs: tuple[str, ...], text: str) -> bool:
    """Whether one of `globs` fits."""
    return any(_matcher(glob)(text) for glob in globs)
