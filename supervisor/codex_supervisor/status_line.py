"""The line about the service that `systemctl status` shows."""

from __future__ import annotations

import asyncio

from codex_control.service.notify import Notifier

from codex_supervisor.degraded import Degraded
from codex_supervisor.instance.fleet import Fleet
from codex_supervisor.task.manager import TaskManager

# Between two looks at whether the line is still true.
_INTERVAL_S = 1.0


def status_line(fleet: Fleet, tasks: TaskManager | None, degraded: Degraded) -> str:
    """Count what there is, and name what does not work."""
    states = fleet.states()
    instances, tasks_running = sum(states.values()), tasks.running if tasks is not None else 0
    awake = sum(states.get(name, 0) for name in ("starting", "ready", "busy", "stopping"))
    restarts = sum(shell.core.restarts for shell in fleet.shells.values())
    line = (
        f"{instances} instances, {awake} awake; {fleet.running_turns()} turns running; "
        + (f"{tasks_running} of them for tasks; " if tasks_running else "")
        + f"{restarts} restarts"
    )
    return f"{line}; degraded: {', '.join(degraded.names)}" if degraded else line


async def keep_status_line(notifier: Notifier, fleet: Fleet, tasks: TaskManager | None, degraded: Degraded) -> None:
    """Tell the service manager the line whenever it has changed; runs until it is cancelled."""
    shown = ""
    while True:
        line = status_line(fleet, tasks, degraded)
        if line != shown:
            notifier.status(line)
            shown = line
        await fleet.news.next().wait()
        # A busy fleet changes many times a second; nobody reads that fast.
        await asyncio.sleep(_INTERVAL_S)
