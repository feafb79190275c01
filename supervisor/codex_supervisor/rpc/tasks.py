"""The Tasks service: takes tasks in, shows them, and passes on what people want of them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Collection
from pathlib import Path
from typing import Any, Protocol

import grpc.aio
from codex_control.errors import BadInput
from codex_control.task_id import new_task_id
from codex_control.v1 import tasks_pb2, tasks_pb2_grpc

from codex_supervisor.config.choosing import profile
from codex_supervisor.house import House
from codex_supervisor.instance.asks import check_directory, check_prompt, checked_schema
from codex_supervisor.rpc.task_lines import event_lines
from codex_supervisor.rpc.task_messages import event_message, gap_message, request_record, state_record, task_message
from codex_supervisor.rpc.turns import page_size
from codex_supervisor.task.contract import Engine
from codex_supervisor.task.following import follow, wait
from codex_supervisor.task.records import EventKind, TaskRecord, TaskRequest, TaskState, check_id, check_request
from codex_supervisor.task.state_file import state_file
from codex_supervisor.task.worktree import check_repository

Context = grpc.aio.ServicerContext[Any, Any]

_MAX_NAMED = 500
"""Most tasks that one call names."""

_ENDS = (EventKind.COMPLETE, EventKind.ERROR)


class Intake(Protocol):
    """Who takes tasks in and keeps their state files: the manager."""

    async def submit(self, task_id: str, request: TaskRequest) -> tuple[TaskRecord, bool]:
        """See `Engine.submit`."""
        ...

    async def retry(self, task_id: str) -> TaskRecord:
        """See `Engine.retry`."""
        ...

    async def mirrored(self, task_ids: Collection[str]) -> None:
        """Return when the state files of these tasks say what the tasks are, or will not soon."""
        ...


class TasksServicer(tasks_pb2_grpc.TasksServicer):
    """Takes tasks in, shows them, and passes on what people want of them."""

    def __init__(self, engine: Engine, intake: Intake | None, house: House) -> None:
        """Without an `intake` the engine takes tasks in by itself, and there are no state files."""
        self._engine = engine
        self._intake = intake
        self._house = house

    async def Submit(self, request: tasks_pb2.SubmitTaskRequest, context: Context) -> tasks_pb2.SubmitTaskResponse:
        """See tasks.proto."""
        task_id = check_id(request.id or new_task_id(self._house.clock.wall_ns()))
        # A client that goes away in this moment leaves a task that is either not accepted or will run; asking again
        # with its id says which.
        wanted = self._checked(task_id, request_record(request.spec))
        record, existed = await (self._intake or self._engine).submit(task_id, wanted)
        return tasks_pb2.SubmitTaskResponse(task=task_message(record), existed=existed)

    def _checked(self, task_id: str, request: TaskRequest) -> TaskRequest:
        config = self._house.config
        check_prompt(request.prompt, config.tasks.prompt_limit, "tasks.prompt_limit")
        if self._engine.name == "sqlite":
            check_directory(request.cwd)
            if request.worktree and not request.after:  # the tasks before it may make the repository
                check_repository(Path(request.cwd))
        else:
            # It is looked for where the task runs, which may be another machine.
            _check_absolute("working directory", request.cwd)
        if request.state_dir:
            _check_absolute("directory for state files", request.state_dir)
        checked_schema(request.output_schema)
        profile(config, request.profile)
        return check_request(task_id, request)

    async def Get(self, request: tasks_pb2.GetTaskRequest, context: Context) -> tasks_pb2.GetTaskResponse:
        """See tasks.proto."""
        record = await self._engine.get(_named(request.id))
        message = task_message(record)
        if not message.state_file and self._house.config.tasks.state_files:
            # One that no attempt has begun has its file too; its record does not name it.
            message.state_file = str(state_file(record.request, record.id))
        return tasks_pb2.GetTaskResponse(task=message)

    async def List(self, request: tasks_pb2.ListTasksRequest, context: Context) -> tasks_pb2.ListTasksResponse:
        """See tasks.proto."""
        page = await self._engine.list_tasks(
            states=[state_record(state) for state in request.states],
            queue=request.queue,
            limit=page_size(request.page_size, 50),
            before=_page_begin(request.page_token),
        )
        token = "" if page.next_number is None else str(page.next_number)
        return tasks_pb2.ListTasksResponse(
            tasks=[task_message(record) for record in page.records], next_page_token=token
        )

    async def Watch(
        self, request: tasks_pb2.WatchTasksRequest, context: Context
    ) -> AsyncIterator[tasks_pb2.WatchTasksResponse]:
        """See tasks.proto."""
        _check_named([position.id for position in request.tasks])
        after = {position.id: position.after_seq for position in request.tasks}
        async with contextlib.aclosing(self._events(after)) as events:
            async for event in events:
                yield tasks_pb2.WatchTasksResponse(event=event)

    async def _events(self, after: dict[str, int]) -> AsyncGenerator[tasks_pb2.TaskEvent, None]:
        positions = dict(after)
        async with contextlib.aclosing(follow(self._engine, after)) as steps:  # type: ignore[type-var] # a generator
            async for step in steps:
                event = step.event
                if event is None:
                    yield gap_message(step.task_id, positions[step.task_id], step.dropped_to)
                    positions[step.task_id] = step.dropped_to
                    continue
                positions[step.task_id] = event.seq
                record = None
                if event.event.kind in _ENDS:
                    await self._mirrored((step.task_id,))
                    record = await self._engine.get(step.task_id)
                yield event_message(step.task_id, event, record)

    async def Wait(self, request: tasks_pb2.WaitTasksRequest, context: Context) -> tasks_pb2.WaitTasksResponse:
        """See tasks.proto."""
        _check_named(request.ids)
        timeout_s = max(0.0, request.timeout.ToNanoseconds() / 1e9) if request.HasField("timeout") else None
        records, timed_out = await wait(self._engine, list(request.ids), any_of_them=request.any, timeout_s=timeout_s)
        await self._mirrored([record.id for record in records if record.ended])
        return tasks_pb2.WaitTasksResponse(tasks=[task_message(record) for record in records], timed_out=timed_out)

    async def _mirrored(self, task_ids: Collection[str]) -> None:
        if self._intake is not None:
            await self._intake.mirrored(task_ids)

    async def Cancel(self, request: tasks_pb2.CancelTaskRequest, context: Context) -> tasks_pb2.CancelTaskResponse:
        """See tasks.proto."""
        record = await self._engine.cancel(_named(request.id), request.reason)
        return tasks_pb2.CancelTaskResponse(task=task_message(record))

    async def Retry(self, request: tasks_pb2.RetryTaskRequest, context: Context) -> tasks_pb2.RetryTaskResponse:
        """See tasks.proto."""
        record = await (self._intake or self._engine).retry(_named(request.id))
        return tasks_pb2.RetryTaskResponse(task=task_message(record))

    async def Logs(
        self, request: tasks_pb2.TaskLogsRequest, context: Context
    ) -> AsyncIterator[tasks_pb2.TaskLogsResponse]:
        """See tasks.proto."""
        events = self._events if request.follow else self._recorded
        async with contextlib.aclosing(events({_named(request.id): request.after_seq})) as recorded:
            async for event in recorded:
                for source, text in event_lines(event):
                    yield tasks_pb2.TaskLogsResponse(
                        seq=event.seq, at=event.at, attempt=event.attempt, source=source, text=text
                    )

    async def _recorded(self, after: dict[str, int]) -> AsyncGenerator[tasks_pb2.TaskEvent, None]:
        """Yield the events that there are of one task up to now."""
        ((task_id, position),) = after.items()
        last_seq = (await self._engine.get(task_id)).last_seq
        while position < last_seq:
            page = await self._engine.events(task_id, position)
            if page.dropped_seq > position:
                yield gap_message(task_id, position, page.dropped_seq)
                position = page.dropped_seq
            if not page.events:
                return
            for event in page.events:
                position = event.seq
                yield event_message(task_id, event)

    async def Prune(self, request: tasks_pb2.PruneTasksRequest, context: Context) -> tasks_pb2.PruneTasksResponse:
        """See tasks.proto."""
        states = [state_record(state) for state in request.states]
        alive = [state for state in states if not state.ended]
        if alive:
            raise BadInput(
                what=f"a task that is {alive[0]} cannot be forgotten",
                next_step="name states of an end: DONE, ERROR, TIMEOUT",
            )
        if request.ids:
            _check_named(request.ids)
        return tasks_pb2.PruneTasksResponse(pruned=await self._prune(request, states))

    async def _prune(self, request: tasks_pb2.PruneTasksRequest, states: Collection[TaskState]) -> int:
        older_than_s = max(0.0, request.older_than.ToNanoseconds() / 1e9)
        pruned = 0
        # In pieces: whoever else writes waits for one of them, not for all.
        while True:
            done = await self._engine.prune(
                task_ids=list(request.ids), ended_before_s=older_than_s, states=states, limit=_MAX_NAMED
            )
            pruned += done
            if request.ids or done < _MAX_NAMED:
                return pruned

    async def Count(self, request: tasks_pb2.CountTasksRequest, context: Context) -> tasks_pb2.CountTasksResponse:
        """See tasks.proto."""
        counts = await self._engine.counts()
        return tasks_pb2.CountTasksResponse(
            counts=[
                tasks_pb2.TaskStateCount(state=f"TASK_STATE_{state}", queue=queue, count=count)
                for (state, queue), count in sorted(counts.items())
            ],
            engine=self._engine.name,
        )


def _named(task_id: str) -> str:
    if not task_id:
        raise BadInput(what="no task is named", next_step="give the id that `codexctl task submit` printed")
    return task_id


def _check_named(task_ids: Collection[str]) -> None:
    if not task_ids:
        raise BadInput(what="no task is named", next_step="give the ids that `codexctl task submit` printed")
    if len(task_ids) > _MAX_NAMED:
        raise BadInput(
            what=f"{len(task_ids)} tasks are named", why=f"one call takes {_MAX_NAMED}", next_step="make several calls"
        )


def _check_absolute(what: str, path: str) -> None:
    if not Path(path).is_absolute() or "\0" in path:
        raise BadInput(what=f"the {what} {path!r} is not absolute", next_step="send an absolute path")


def _page_begin(token: str) -> int | None:
    if not token:
        return None
    if not (token.isascii() and token.isdigit() and len(token) < 19):
        raise BadInput(what="the page token is not ours", next_step="begin with the first page")
    return int(token)
