"""The leak checks find what they are for."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys

import pytest

from tests.support import leaks
from tests.support.codex_home import REPOSITORY
from tests.support.leaks import assert_no_tasks_left, assert_nothing_left, child_processes, open_files


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leaks, "SETTLE_TIMEOUT_S", 0.05)


def test_finds_an_open_file() -> None:
    before = open_files(), child_processes()
    descriptor = os.open(os.devnull, os.O_RDONLY)
    with pytest.raises(AssertionError, match=rf"open files left behind.*{descriptor} -> /dev/null"):
        assert_nothing_left(*before)
    os.close(descriptor)
    assert_nothing_left(*before)


@pytest.mark.skipif(sys.platform != "linux", reason="eventfd is Linux's")
def test_a_poller_that_grpc_closes_excuses_no_open_file() -> None:
    poller = os.eventfd(0)
    before = open_files(), child_processes()
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(poller)
    with pytest.raises(AssertionError, match="open files left behind"):
        assert_nothing_left(*before)
    os.close(descriptor)
    assert_nothing_left(*before)


def test_finds_a_child_and_a_zombie() -> None:
    before = open_files(), child_processes()
    process = subprocess.Popen([sys.executable, "-S", "-c", "input()"], stdin=subprocess.PIPE)
    with pytest.raises(AssertionError, match=rf"child processes left behind.*{process.pid} "):
        assert_nothing_left(*before)
    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    with pytest.raises(AssertionError, match=rf"child processes left behind.*{process.pid} "):
        assert_nothing_left(*before)
    process.communicate()
    assert_nothing_left(*before)


async def test_finds_a_task() -> None:
    before = asyncio.all_tasks()
    task = asyncio.get_running_loop().create_task(asyncio.Event().wait(), name="forgotten")
    with pytest.raises(AssertionError, match=r"tasks left behind.*forgotten"):
        await assert_no_tasks_left(before)
    task.cancel()
    await assert_no_tasks_left(before)


LEAKING = """
import asyncio, os
from tests.support import leaks

leaks.SETTLE_TIMEOUT_S = 0.05

def test_file():
    os.open(os.devnull, os.O_RDONLY)

async def test_task():
    global task  # a reference, so that the collector does not warn
    task = asyncio.get_running_loop().create_task(asyncio.Event().wait())
"""


def test_is_on_by_default() -> None:
    # Inside tests/, where the conftest.py is; the name is no test's, so that nobody collects it.
    file = REPOSITORY / "tests" / "unit" / "support" / f"leaking_{os.getpid()}.py"
    file.write_text(LEAKING)
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
            cwd=REPOSITORY,
            capture_output=True,
            text=True,
            timeout=60,
        )
    finally:
        file.unlink()
    assert "2 passed, 2 errors" in run.stdout, run.stdout
    assert "open files left behind" in run.stdout
    assert "asyncio tasks left behind" in run.stdout
