"""Orphans that become ours are reaped, and no status is taken from who waits for it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from codex_supervisor.child.orphans import OrphanReaper, become_subreaper, our_children

from tests.support.waiting import wait_for

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux has subreapers")


@pytest.fixture
def subreaper() -> Iterator[None]:
    assert become_subreaper()
    yield
    ctypes.CDLL(None).prctl(36, 0, 0, 0, 0)


@pytest.fixture
async def orphan(subreaper: None) -> int:
    """A process whose parent has ended, so that it became ours."""
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-c", "sleep 300 > /dev/null & echo $!"), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await shell.communicate()
    pid = int(out)
    await wait_for(lambda: pid in our_children(), what="the orphan to be ours")
    return pid


async def test_an_orphan_is_reaped(orphan: int) -> None:
    reaper = OrphanReaper(lambda pid: False, grace_s=0.02)
    reaper.start()
    try:
        os.kill(orphan, signal.SIGKILL)
        await wait_for(lambda: orphan not in our_children(), what="the orphan to be reaped")
        assert reaper.reaped_total == 1
    finally:
        reaper.close()


async def test_what_is_waited_for_is_left_alone(orphan: int) -> None:
    with subprocess.Popen(["sh", "-c", "exit 7"]) as own:
        reaper = OrphanReaper(lambda pid: pid == own.pid, grace_s=0.02)
        reaper.start()
        try:
            os.kill(orphan, signal.SIGKILL)
            await wait_for(lambda: orphan not in our_children(), what="the orphan to be reaped")
        finally:
            reaper.close()
        assert own.wait() == 7


async def test_a_quick_waiter_is_never_robbed(subreaper: None) -> None:
    reaper = OrphanReaper(lambda pid: False, grace_s=5.0)
    reaper.start()
    try:
        for code in range(20):
            process = await asyncio.create_subprocess_exec("sh", "-c", f"exit {code}")
            assert await process.wait() == code
        assert reaper.reaped_total == 0
    finally:
        reaper.close()
