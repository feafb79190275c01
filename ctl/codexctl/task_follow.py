"""Follows tasks to their ends: events to a view, Ctrl-C leaves, the tasks go on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import Protocol

from codex_control.errors import Exit, NotEnded
from codex_control.v1.tasks_pb2 import Task, TaskEvent, WaitTasksRequest, WaitTasksResponse

from codexctl.feed import LinkBack, LinkLost
from codexctl.output import say
from codexctl.session import Session
from codexctl.task_calls import call_safely
from codexctl.task_feed import TaskFeed, TaskFeedItem, ended_task
from codexctl.task_table import exit_code, has_ended, worst_exit


class TaskView(Protocol):
    """What tasks are shown on."""

    tick_s: float | None
    """How often `paint` is to be called; None for never."""

    def begin(self, tasks: Sequence[Task]) -> None:
        """Take the tasks as they stand."""
        ...

    def show(self, event: TaskEvent) -> None:
        """Show one event."""
        ...

    def notice(self, line: str) -> None:
        """Tell what is not about a task."""
        ...

    def paint(self) -> None:
        """Bring the screen up to date."""
        ...

    def close(self) -> None:
        """Leave the screen as it shall stay."""
        ...


def standing_now(session: Session, task_ids: Sequence[str]) -> list[Task]:
    """The records of the tasks, each once; raises `NotFound` where one is unknown."""
    request = WaitTasksRequest(ids=dict.fromkeys(task_ids))
    request.timeout.SetInParent()  # no time: as they stand now
    return list(call_safely(session, "Tasks.Wait", request, WaitTasksResponse).tasks)


def wait_for_tasks(
    session: Session, tasks: Sequence[Task], *, any_of_them: bool = False, timeout_s: float | None = None
) -> int:
    """Wait until all, or `any_of_them`, have ended, and show it; return the exit code of what ended.

    Raises `NotEnded` where the time is over first. Ctrl-C leaves with `Exit.DETACHED`.
    """
    view: TaskView
    if session.json or not sys.stdout.isatty():
        from codexctl.view.tasks_plain import WaitLines

        view = WaitLines(as_json=session.json)
    else:
        from codexctl.view.tasks_terminal import TasksTerminal

        view = TasksTerminal(details=False)
    after = {task.id: task.last_seq for task in tasks if not has_ended(task)}
    return _follow(session, tasks, after, view, any_of_them=any_of_them, timeout_s=timeout_s)


def watch_tasks(session: Session, tasks: Sequence[Task], after_seq: int) -> int:
    """Show the events of `tasks` from past `after_seq` until all have ended; return the exit code of their ends."""
    view: TaskView
    if session.json or not sys.stdout.isatty():
        from codexctl.view.tasks_plain import WatchLines

        view = WatchLines(as_json=session.json)
    else:
        from codexctl.view.tasks_terminal import TasksTerminal

        view = TasksTerminal(details=True)
    return _follow(session, tasks, {task.id: after_seq for task in tasks}, view)


def _follow(
    session: Session,
    tasks: Sequence[Task],
    after: dict[str, int],
    view: TaskView,
    *,
    any_of_them: bool = False,
    timeout_s: float | None = None,
) -> int:
    known = {task.id: task for task in tasks}
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    feed = TaskFeed(lambda start: session.client(start=start), after)
    try:
        view.begin(tasks)
        ended = [task for task in tasks if has_ended(task)]
        if after and not (any_of_them and ended):
            for task in _ends(feed, view, deadline_s):
                known[task.id] = task
                if any_of_them:
                    ended.append(task)
                    break
    except KeyboardInterrupt:
        view.close()
        open_ids = [task.id for task in known.values() if not has_ended(task)]
        say(f"left; what has not ended goes on · wait again with: codexctl task wait {' '.join(open_ids)}")
        return Exit.DETACHED
    finally:
        feed.leave()
        view.close()
    if any_of_them:
        return exit_code(ended[0])
    return worst_exit(known.values())


def _ends(feed: TaskFeed, view: TaskView, deadline_s: float | None) -> Iterator[Task]:
    """Show what `feed` brings, and yield each task that has ended; raises `NotEnded` past the deadline."""
    inbox: SimpleQueue[TaskFeedItem | BaseException | None] = SimpleQueue()
    threading.Thread(target=_pump, args=(feed, inbox), daemon=True).start()
    while True:
        left_s = None if deadline_s is None else deadline_s - time.monotonic()
        if left_s is not None and left_s <= 0:
            raise NotEnded(
                "the time to wait is over, and the tasks go on",
                next_step=f"wait again with `codexctl task wait {' '.join(feed.open_ids)}`",
            )
        try:
            item = inbox.get(timeout=min((one for one in (left_s, view.tick_s) if one is not None), default=None))
        except Empty:
            view.paint()
            continue
        match item:
            case None:
                return
            case BaseException():
                raise item
            case LinkLost(why):
                view.notice(f"the connection to the service was lost, trying again: {why}")
            case LinkBack():
                view.notice("the connection is back")
            case TaskEvent():
                view.show(item)
                if (task := ended_task(item)) is not None:
                    yield task


def _pump(feed: TaskFeed, inbox: SimpleQueue[TaskFeedItem | BaseException | None]) -> None:
    try:
        for item in feed:
            inbox.put(item)
        inbox.put(None)
    except Exception as error:  # it is raised again in the main thread
        inbox.put(error)
