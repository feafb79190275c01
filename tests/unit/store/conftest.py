"""Fixtures for the tests of the store."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def thread_leak_check() -> Iterator[None]:
    """Every test ends the threads that it started, also where opening failed."""
    before = set(threading.enumerate())
    yield
    left = [thread.name for thread in threading.enumerate() if thread not in before and thread.is_alive()]
    assert not left
