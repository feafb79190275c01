"""Waiting for conditions in tests: never for time."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")

POLL_S = 0.005


@overload
async def wait_for(condition: Callable[[], Awaitable[T]], timeout_s: float = 20.0, what: str = "") -> T: ...
@overload
async def wait_for(condition: Callable[[], T], timeout_s: float = 20.0, what: str = "") -> T: ...
async def wait_for(condition: Callable[[], Any], timeout_s: float = 20.0, what: str = "") -> Any:
    """Poll `condition` until it returns something true, and return that.

    `what` names the awaited state for the failure message: "the child is ready". An `AssertionError` inside the
    condition counts as "not yet" and is shown if the deadline passes. Raises `AssertionError`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        last: object
        try:
            result = condition()
            value = await result if inspect.isawaitable(result) else result
        except AssertionError as error:
            last = error
        else:
            if value:
                return value
            last = value
        if time.monotonic() > deadline:
            raise AssertionError(_late(what, condition, timeout_s, last))
        await asyncio.sleep(POLL_S)


def wait_for_sync(condition: Callable[[], T], timeout_s: float = 20.0, what: str = "") -> T:
    """`wait_for` for tests without an event loop."""
    deadline = time.monotonic() + timeout_s
    while True:
        last: object
        try:
            value = condition()
        except AssertionError as error:
            last = error
        else:
            if value:
                return value
            last = value
        if time.monotonic() > deadline:
            raise AssertionError(_late(what, condition, timeout_s, last))
        time.sleep(POLL_S)


def _late(what: str, condition: object, timeout_s: float, last: object) -> str:
    return f"waited {timeout_s} s in vain for: {what or condition}; the last look gave {last!r}"
