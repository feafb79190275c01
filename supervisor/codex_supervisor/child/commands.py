"""Whether a command that a turn started still runs."""

from __future__ import annotations

import asyncio

from codex_supervisor.child.processes import environment_of, list_processes
from codex_supervisor.child.spawn import ChildProcess
from codex_supervisor.child.tree import THREAD_VARIABLE, Marks, cgroup_pids, members


async def command_lives(process: ChildProcess, thread_id: str) -> bool:
    """Return whether a process of the child's tree, other than the child, is a shell command of the thread.

    Codex gives its shell commands the thread's id in their environment; an MCP server, which runs as long as the child
    does, has none. Takes some 15 microseconds for each process of the machine, in a thread.
    """
    return await asyncio.to_thread(_look, process, thread_id)


def _look(process: ChildProcess, thread_id: str) -> bool:
    marks = Marks(
        token=process.token,
        thread_ids=frozenset({thread_id}),
        child=(process.pid, process.start_time),
        since=process.start_time,
    )
    found = members(list_processes(), marks, in_cgroup=cgroup_pids(process.cgroup))
    return any(
        member.pid != process.pid and (environment_of(member.pid) or {}).get(THREAD_VARIABLE) == thread_id
        for member in found
    )
