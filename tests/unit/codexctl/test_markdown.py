"""Which part of a growing answer is final."""

from __future__ import annotations

from codexctl.view.markdown import GrowingText, split_final
from hypothesis import given
from hypothesis import strategies as st

BLOCKS = [
    "# Title",
    "A paragraph\nof two lines.",
    "- one\n- two",
    "```py\nx = 1\n\ny = 2\n```",
    "| a | b |\n|---|---|\n| 1 | 2 |",
]


def test_the_last_block_is_open() -> None:
    assert split_final("First.\n\nSecond") == ("First.\n\n", "Second")
    assert split_final("Only one") == ("", "Only one")
    assert split_final("") == ("", "")


def test_an_open_fence_is_one_block() -> None:
    text = "Text\n\n```\na\n\nb\n"
    assert split_final(text) == ("Text\n\n", "```\na\n\nb\n")


@given(st.lists(st.sampled_from(BLOCKS), min_size=1, max_size=6), st.data())
def test_nothing_is_lost_or_doubled_however_it_is_cut(blocks: list[str], data: st.DataObject) -> None:
    whole = "\n\n".join(blocks)
    growing, shown, position = GrowingText(), "", 0
    while position < len(whole):
        step = data.draw(st.integers(1, 30))
        growing.append(whole[position : position + step])
        position += step
        shown += growing.take_final()
        assert shown + growing.open_text == whole[:position]
        assert growing.whole == whole[:position]
    assert growing.complete(whole)
    assert shown + growing.take_all() == whole


def test_a_whole_text_takes_the_place_of_the_pieces() -> None:
    growing = GrowingText()
    growing.append("First.\n\nSecond")
    growing.take_final()
    assert growing.complete("First.\n\nSecond, longer.")
    assert growing.take_all() == "Second, longer."


def test_a_text_that_differs_from_what_was_shown_is_shown_again() -> None:
    growing = GrowingText()
    growing.append("First.\n\nSecond")
    growing.take_final()
    assert not growing.complete("Other.")
    assert growing.take_all() == "Other."
