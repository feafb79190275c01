"""What the tests of running tasks share: handing work over, and what came of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from codex_control.v1 import tasks_pb2
from google.protobuf.duration_pb2 import Duration

from tests.support.supervisor import RunningSupervisor

QUICK = {"heartbeat_interval": 0.3, "stall_after": 20, "backoff_initial": 0.05, "backoff_max": 0.1}
"""Settings of tasks for tests: nothing waits for long."""


async def submit(supervisor: RunningSupervisor, prompt: str, task_id: str = "T-1", **spec: Any) -> tasks_pb2.Task:
    """Hand a task over."""
    given = {"cwd": supervisor.client.cwd, **spec}
    request = tasks_pb2.SubmitTaskRequest(id=task_id, spec=tasks_pb2.TaskSpec(prompt=prompt, **given))
    reply: tasks_pb2.SubmitTaskResponse = await supervisor.client.tasks.Submit(request, timeout=20)
    return reply.task


async def get(supervisor: RunningSupervisor, task_id: str = "T-1") -> tasks_pb2.Task:
    """How a task stands."""
    reply: tasks_pb2.GetTaskResponse = await supervisor.client.tasks.Get(
        tasks_pb2.GetTaskRequest(id=task_id), timeout=20
    )
    return reply.task


async def ended(supervisor: RunningSupervisor, task_id: str = "T-1", timeout_s: int = 40) -> tasks_pb2.Task:
    """Wait for its end. Who is told of it finds it in the state file too."""
    request = tasks_pb2.WaitTasksRequest(ids=[task_id], timeout=Duration(seconds=timeout_s))
    reply: tasks_pb2.WaitTasksResponse = await supervisor.client.tasks.Wait(request, timeout=timeout_s + 10)
    assert not reply.timed_out, f"not ended: {reply.tasks}"
    (task,) = reply.tasks
    if state_file(supervisor, task_id).exists():
        assert mirrored(supervisor, task_id)["status"] == tasks_pb2.TaskState.Name(task.state).removeprefix(
            "TASK_STATE_"
        )
    return task


async def events(supervisor: RunningSupervisor, task_id: str = "T-1", after_seq: int = 0) -> list[tasks_pb2.TaskEvent]:
    """All events of a task up to its end."""
    request = tasks_pb2.WatchTasksRequest(tasks=[tasks_pb2.TaskPosition(id=task_id, after_seq=after_seq)])
    return [answer.event async for answer in supervisor.client.tasks.Watch(request, timeout=40)]


def said(found: list[tasks_pb2.TaskEvent]) -> list[str]:
    """What kinds of events they are, in order; of items the kind of item."""
    kinds = []
    for event in found:
        kind = event.WhichOneof("event") or ""
        kinds.append(f"item:{event.item.event.WhichOneof('event')}" if kind == "item" else kind)
    return kinds


def state_file(supervisor: RunningSupervisor, task_id: str = "T-1") -> Path:
    """Where the task's state file is."""
    return Path(supervisor.client.cwd) / ".codex" / "tasks" / f"{task_id}.json"


def mirrored(supervisor: RunningSupervisor, task_id: str = "T-1") -> dict[str, Any]:
    """What the task's state file says."""
    said: dict[str, Any] = json.loads(state_file(supervisor, task_id).read_text())
    return said
