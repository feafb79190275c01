"""The events of tasks, over lost connections and restarts of the service: nothing missed, nothing twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping

from codex_control.errors import StoreUnavailable
from codex_control.v1.tasks_pb2 import Task, TaskEvent, TaskPosition, WatchTasksRequest, WatchTasksResponse

from codexctl.client import Client, Stream
from codexctl.failures import decode, is_lost_connection, lost_text
from codexctl.feed import RECONNECT_LIMIT_S, LinkBack, LinkLost, Reconnecting
from codexctl.light_grpc import grpc

_STORE_RETRY_S = 0.5

TaskFeedItem = TaskEvent | LinkLost | LinkBack


class TaskFeed:
    """Iterate to get the events of tasks, each task's from past its sequence number in `after`, until all have ended.

    `connect` takes whether the service may be started and returns a client, or raises `ServiceUnavailable`. The
    iteration raises the `CodexError` that the service answered with.
    """

    def __init__(
        self, connect: Callable[[bool], Client], after: Mapping[str, int], *, limit_s: float = RECONNECT_LIMIT_S
    ) -> None:
        self._connect = connect
        self._positions = dict(after)
        self._reconnecting = Reconnecting(connect, limit_s)
        self._stream: Stream[WatchTasksResponse] | None = None
        self._left = False

    @property
    def open_ids(self) -> tuple[str, ...]:
        """The tasks that have not ended."""
        return tuple(self._positions)

    def leave(self) -> None:
        """End the iteration, from any thread."""
        self._left = True
        if self._stream is not None:
            self._stream.cancel()

    def __iter__(self) -> Iterator[TaskFeedItem]:
        client = self._connect(True)
        lost_at: float | None = None
        while self._positions and not self._left:
            try:
                for event in self._events(client):
                    if lost_at is not None:
                        lost_at = None
                        yield LinkBack()
                    yield event
            except grpc.RpcError as error:
                if self._left:
                    return
                known = decode(error)
                if isinstance(known, StoreUnavailable):
                    # Its database is away, or a service that was just started has not reached it yet.
                    time.sleep(_STORE_RETRY_S)
                elif not is_lost_connection(error):
                    raise known from error
                why = lost_text(error)
            else:
                return
            if lost_at is None:
                lost_at = time.monotonic()
                yield LinkLost(why)
            client.close()
            hint = f"`codexctl task wait {' '.join(self._positions)}` goes on when the service runs again"
            client = self._reconnecting.again(lost_at, why, hint)

    def _events(self, client: Client) -> Iterator[TaskEvent]:
        positions = [TaskPosition(id=name, after_seq=seq) for name, seq in self._positions.items()]
        self._stream = client.stream("Tasks.Watch", WatchTasksRequest(tasks=positions), WatchTasksResponse)
        for response in self._stream:
            event = response.event
            if event.seq > self._positions.get(event.task_id, event.seq):
                if ended_task(event) is not None:
                    del self._positions[event.task_id]
                else:
                    self._positions[event.task_id] = event.seq
                yield event


def ended_task(event: TaskEvent) -> Task | None:
    """The record that an event brings where it is the end of the task; None also for an end before a retry."""
    match event.WhichOneof("event"):
        case "complete":
            task = event.complete.task
        case "error":
            task = event.error.task
        case _:
            return None
    return task if task.last_seq == event.seq else None
