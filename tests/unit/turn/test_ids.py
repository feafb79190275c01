"""Ids of turns."""

from __future__ import annotations

import re

from codex_supervisor.turn.ids import new_turn_id
from hypothesis import given
from hypothesis import strategies as st

moments_ns = st.integers(0, (1 << 48) * 1_000_000 - 1)


@given(wall_ns=moments_ns)
def test_an_id_has_sixteen_characters_that_nobody_mistakes(wall_ns: int) -> None:
    assert re.fullmatch(r"[0-9a-hjkmnp-tv-z]{16}", new_turn_id(wall_ns))


@given(earlier=moments_ns, later=moments_ns)
def test_the_order_of_ids_is_the_order_of_milliseconds(earlier: int, later: int) -> None:
    if earlier // 1_000_000 != later // 1_000_000:
        assert (new_turn_id(earlier) < new_turn_id(later)) == (earlier < later)


def test_ids_of_one_moment_differ() -> None:
    assert len({new_turn_id(1_700_000_000_000_000_000) for _ in range(1000)}) == 1000


def test_a_clock_before_the_epoch_or_far_from_it_still_gives_an_id() -> None:
    assert len(new_turn_id(-1)) == len(new_turn_id(1 << 80)) == 16
