"""Hands a task over, so that it is there exactly once."""

from __future__ import annotations

import time

from codex_control.task_id import new_task_id
from codex_control.v1.tasks_pb2 import SubmitTaskRequest, SubmitTaskResponse, Task, TaskSpec

from codexctl.session import Session
from codexctl.task_calls import call_safely


def submit(session: Session, spec: TaskSpec, *, task_id: str = "", instance: str = "") -> tuple[Task, bool]:
    """Submit a task; return its record, and whether it was there before.

    Without `task_id` the id is made here, so that an answer that was lost leads to the same task; `instance` is the id
    of the instance that it is found by.
    """
    request = SubmitTaskRequest(id=task_id or new_task_id(time.time_ns(), instance), spec=spec)
    next_step = f"`codexctl task show {request.id}` says whether it was accepted; submitting with that --id is safe"
    answer = call_safely(session, "Tasks.Submit", request, SubmitTaskResponse, next_step=next_step)
    # What we asked for ourselves, over a lost connection, is no news.
    return answer.task, answer.existed and bool(task_id)
