"""Finds tasks by id, in pages, or by the instance that wants them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from codex_control.errors import CodexError
from codex_control.task_id import task_prefix
from codex_control.v1.tasks_pb2 import (
    CountTasksRequest,
    CountTasksResponse,
    GetTaskRequest,
    GetTaskResponse,
    ListTasksRequest,
    ListTasksResponse,
    Task,
)

from codexctl.client import Client
from codexctl.session import Session
from codexctl.task_calls import call_safely

# The service's limit for one page.
_PAGE = 500

SEARCHED = 2000
"""Among how many of the newest tasks those of an instance are looked for."""


def get_task(session: Session, task_id: str) -> Task:
    """Return a task with its answer; raises `NotFound`."""
    return call_safely(session, "Tasks.Get", GetTaskRequest(id=task_id), GetTaskResponse).task


def newest_tasks(session: Session, limit: int, *, states: Sequence[str] = (), queue: str = "") -> Iterator[Task]:
    """Yield at most `limit` tasks, the newest first; `states` are the enum's names."""
    token = ""
    left = limit
    while left:
        request = ListTasksRequest(states=states, queue=queue, page_size=min(_PAGE, left), page_token=token)
        answer = call_safely(session, "Tasks.List", request, ListTasksResponse)
        yield from answer.tasks
        left -= len(answer.tasks)
        token = answer.next_page_token
        if not token:
            return


def tasks_of(session: Session, instance: str) -> Iterator[Task]:
    """Yield the tasks that were submitted for an instance, the newest first, as far as they are among the newest."""
    prefix = task_prefix(instance)
    return (task for task in newest_tasks(session, SEARCHED) if task.id.startswith(prefix))


def counts_if_known(client: Client) -> CountTasksResponse | None:
    """How many tasks there are; None where the service cannot say: its engine is away, or it is of an older version."""
    try:
        return client.call("Tasks.Count", CountTasksRequest(), CountTasksResponse)
    except CodexError:
        return None
