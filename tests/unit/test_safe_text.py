"""What reaches a terminal cannot steer it."""

from __future__ import annotations

import pytest
from codex_control.safe_text import bytes_text, duration_text, make_visible, one_line, strip_controls
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("plain", "plain"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07text", "text"),
        ("\x1b]52;c;aGk=\x1b\\text", "text"),
        ("\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x9b31mred", "red"),
        ("\x1bPq#0\x1b\\x", "x"),
        ("\x1b]0;never closed", "0;never closed"),
        ("a\rb\x08c\x00", "abc"),
        ("line\r\nnext\ttab", "line\nnext\ttab"),
        ("\x1bcreset", "reset"),
        ("ümlaut 漢字 🎉", "ümlaut 漢字 🎉"),
    ],
)
def test_escape_sequences_are_gone(raw: str, clean: str) -> None:
    assert strip_controls(raw) == clean


@given(st.text(alphabet=st.sampled_from("\x1b[]P\\m;0\x07\x9b\x9d\x9cab\n\t\r\x00"), max_size=60))
def test_no_control_character_is_left(text: str) -> None:
    assert all(letter.isprintable() or letter in "\n\t" for letter in strip_controls(text))


def test_what_a_person_allows_shows_what_is_hidden() -> None:
    assert make_visible("rm \u202e x\x1b[2K\x08") == "rm \\u202e x\\x1b[2K\\x08"


def test_one_line_is_cut_to_its_width() -> None:
    assert one_line("a\n  b\tc", 80) == "a b c"
    assert one_line("x" * 20, 10) == "x" * 9 + "…"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.42, "0.4 s"),
        (3, "3 s"),
        (3.0, "3.0 s"),
        (12.9, "12 s"),
        (185, "3 min 5 s"),
        (7500, "2 h 5 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_durations_are_told_in_two_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_an_unknown_size_is_a_dash() -> None:
    assert (bytes_text(0), bytes_text(150 << 20)) == ("-", "150 MiB")
