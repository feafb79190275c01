"""Ids of tasks: short, in order of time, and telling whose."""

from __future__ import annotations

from codex_control.task_id import new_task_id, task_prefix
from codex_supervisor.task.records import check_id
from hypothesis import given
from hypothesis import strategies as st

TIMES = st.integers(0, 2**62)


@given(TIMES, st.text(max_size=200))
def test_an_id_may_be_submitted_and_tells_whose_it_is(wall_ns: int, instance: str) -> None:
    made = new_task_id(wall_ns, instance)
    assert check_id(made) == made
    assert len(made) == (23 if instance else 16)
    if instance:
        assert made.startswith(task_prefix(instance))


@given(TIMES, TIMES)
def test_later_ones_sort_behind(one: int, other: int) -> None:
    if one // 1_000_000 < other // 1_000_000:
        assert new_task_id(one) < new_task_id(other)


def test_no_two_are_the_same() -> None:
    assert len({new_task_id(0, "main") for _ in range(1000)}) == 1000


def test_two_instances_differ() -> None:
    assert task_prefix("claude-1") != task_prefix("claude-2")
