"""The end of a process is heard of, of our own children and of others."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import threading

from codex_supervisor.child.exitwatch import ExitStatus, ProcessHandle, wait_for_exit


def started(*command: str) -> int:
    """Start an own child that nobody else reaps."""
    process = subprocess.Popen(command, start_new_session=True)
    process.returncode = 0
    return process.pid


async def test_exit_codes_and_signals() -> None:
    assert await wait_for_exit(started("sh", "-c", "exit 7")) == ExitStatus(code=7)
    pid = started("sleep", "300")
    os.kill(pid, signal.SIGKILL)
    status = await wait_for_exit(pid)
    assert status == ExitStatus(signal=9)
    assert str(status) == "killed by SIGKILL"


async def test_no_thread_for_each() -> None:
    threads = threading.active_count()
    pids = [started("sleep", "300") for _ in range(5)]
    async with asyncio.TaskGroup() as group:
        waits = [group.create_task(wait_for_exit(pid)) for pid in pids]
        await asyncio.sleep(0)
        assert threading.active_count() == threads
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
    assert [wait.result().signal for wait in waits] == [15] * 5


async def test_a_process_that_is_not_our_child() -> None:
    # The shell ends at once, its child goes to another parent.
    shell = await asyncio.create_subprocess_exec(
        *("sh", "-c", "sleep 300 > /dev/null & echo $!"), stdout=asyncio.subprocess.PIPE
    )
    out, _ = await shell.communicate()
    handle = ProcessHandle.open(int(out))
    assert handle is not None
    ended: asyncio.Future[ExitStatus] = asyncio.get_running_loop().create_future()
    handle.on_exit(ended.set_result)
    assert handle.signal(signal.SIGKILL)
    assert await asyncio.wait_for(ended, 5) == ExitStatus()
    assert "ended in an unknown way" in repr(handle)
    handle.close()


async def test_no_process_at_all() -> None:
    pid = started("true")
    await wait_for_exit(pid)
    assert ProcessHandle.open(pid) is None
    assert await wait_for_exit(pid) == ExitStatus()


async def test_a_held_process_is_not_mistaken_after_its_end() -> None:
    pid = started("sleep", "300")
    handle = ProcessHandle.open(pid)
    assert handle is not None
    os.kill(pid, signal.SIGKILL)
    await wait_for_exit(pid)
    assert not handle.signal(signal.SIGTERM)
    handle.close()
    assert not handle.signal(signal.SIGTERM)


async def test_a_cancelled_wait_leaves_nothing() -> None:
    pid = started("sleep", "300")
    try:
        async with asyncio.timeout(0.01):
            await wait_for_exit(pid)
    except TimeoutError:
        os.kill(pid, signal.SIGKILL)
    assert (await wait_for_exit(pid)).signal == 9
