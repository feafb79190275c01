"""Globs."""

from __future__ import annotations

import time

import pytest
from codex_gateway.route.globs import matches, matches_any
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("glob", "text", "fits"),
    [
        ("claude-*", "claude-opus-4", True),
        ("claude-*", "Claude-opus-4", False),
        ("*haiku*", "claude-3-haiku", True),
        ("gpt-?", "gpt-5", True),
        ("gpt-?", "gpt-5.1", False),
        ("gpt-5", "gpt-5", True),
        ("gpt-5.", "gpt-55", False),
        ("[ab]", "a", False),
        ("[ab]", "[ab]", True),
        ("*", "", True),
        ("a**b", "a\nb", True),
        ("*a*b*", "xbxa", False),
        ("a*a", "a", False),
    ],
)
def test_globs_fit_whole_texts(glob: str, text: str, fits: bool) -> None:
    assert matches(glob, text) is fits
    assert matches_any(("never", glob), text) is fits


def _slowly(glob: str, text: str) -> bool:
    """The meaning, by the book."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(_slowly(glob[1:], text[cut:]) for cut in range(len(text) + 1))
    return bool(text) and glob[0] in ("?", text[0]) and _slowly(glob[1:], text[1:])


@given(glob=st.text(alphabet="ab*?", max_size=8), text=st.text(alphabet="ab\n", max_size=10))
def test_globs_mean_what_the_book_says(glob: str, text: str) -> None:
    assert matches(glob, text) is _slowly(glob, text)


def test_no_glob_takes_long() -> None:
    began = time.perf_counter()
    assert not matches("*a" * 50 + "b", "a" * 20_000)
    assert time.perf_counter() - began < 2
