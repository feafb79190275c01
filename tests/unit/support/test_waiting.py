"""Waiting for conditions."""

from __future__ import annotations

import pytest

from tests.support.waiting import wait_for, wait_for_sync


async def test_polls_until_it_is_true() -> None:
    values = iter([None, "", "found"])
    assert await wait_for(lambda: next(values)) == "found"
    values = iter([None, "", "found"])
    assert wait_for_sync(lambda: next(values)) == "found"


async def test_awaits_and_takes_assertions_for_not_yet() -> None:
    looks: list[int] = []

    async def condition() -> int:
        looks.append(1)
        assert len(looks) == 3, "too early"
        return len(looks)

    assert await wait_for(condition) == 3


async def test_says_what_it_waited_for() -> None:
    def never() -> bool:
        raise AssertionError("still 7")

    with pytest.raises(AssertionError, match=r"in vain for: the tide; the last look gave .*still 7"):
        await wait_for(never, 0.01, "the tide")
    with pytest.raises(AssertionError, match=r"in vain for: the tide; the last look gave 0"):
        wait_for_sync(lambda: 0, 0.01, "the tide")


async def test_other_errors_pass() -> None:
    with pytest.raises(ZeroDivisionError):
        await wait_for(lambda: 1 // 0)
    with pytest.raises(ZeroDivisionError):
        wait_for_sync(lambda: 1 // 0)
