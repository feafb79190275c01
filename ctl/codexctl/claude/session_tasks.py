"""The tasks of one Claude Code session: handed over, listed, fetched, ended.

A task is the session's by its id, which begins with a mark of the session's instance: so they are found again from a
resumed session, and nothing of one session is shown in another that works in the same directory. The tasks themselves
depend on no session.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice

from codex_control.errors import NotFound
from codex_control.safe_text import one_line, strip_controls
from codex_control.v1.instances_pb2 import GetInstanceRequest, GetInstanceResponse, Instance
from codex_control.v1.tasks_pb2 import CancelTaskRequest, CancelTaskResponse, Task, TaskSpec

from codexctl.instance_ref import Named, git_root, working_directory
from codexctl.session import Session
from codexctl.task_calls import call_safely
from codexctl.task_listing import get_task, tasks_of
from codexctl.task_submit import submit
from codexctl.task_table import doing, ended_text, has_ended, standing

# What is shown in Claude Code; codexctl task list has all.
_MOST_TASKS = 20
_MOST_LINES = 20


@dataclass(frozen=True)
class Names:
    """What whoever reads our texts has at hand."""

    submit: str
    tasks: str
    result: str


FOR_PERSON = Names("/codex-task TEXT", "/codex-tasks", "/codex-result")
FOR_MODEL = Names("task_submit", "task_status", "task_result")


@dataclass(frozen=True)
class SessionTasks:
    """`find` binds the session and returns its instance; it may start the service."""

    session: Session
    find: Callable[[], Named]
    names: Names = FOR_PERSON

    def submit(self, text: str, *, profile: str = "", worktree: bool = False) -> str:
        """Hand `text` over, with the session's profile and directory, and say where it is found again."""
        from codexctl.prompt_input import read_text

        prompt = read_text(text) if text != "-" else text
        instance = self._instance()
        spec = TaskSpec(
            prompt=prompt,
            cwd=instance.settings.cwd or instance.workspace or str(git_root(working_directory())),
            profile=profile or instance.settings.profile,
            worktree=worktree,
        )
        task, _ = submit(self.session, spec, instance=instance.id)
        return (
            f"task {task.id} is accepted; it goes on in the background, also when Claude Code ends\n"
            f"how far it is: {self.names.tasks} · what came of it: {self.names.result} {task.id} · in a terminal: "
            f"codexctl task wait {task.id}"
        )

    def overview(self) -> str:
        """The session's tasks, the newest first."""
        tasks = list(islice(tasks_of(self.session, self._instance().id), _MOST_TASKS + 1))
        if not tasks:
            return f"this session has no tasks; {self.names.submit} makes one, and `codexctl task list` shows all"
        lines = [_line(task) for task in tasks[:_MOST_TASKS]]
        more = ["older ones: codexctl task list -n 500"] if len(tasks) > _MOST_TASKS else []
        return "\n".join([*lines, *more])

    def result(self, task_id: str) -> str:
        """What came of a task; of the session's latest that has ended where none is named."""
        task = get_task(self.session, task_id or self._latest())
        if not has_ended(task):
            return f"{_line(task)}\nit has not ended; wait for it in a terminal with: codexctl task wait {task.id}"
        return result_text(task)

    def show(self, task_id: str) -> str:
        """How one task is."""
        return _line(get_task(self.session, task_id))

    def cancel(self, task_id: str) -> str:
        """End a task."""
        request = CancelTaskRequest(id=task_id, reason="cancelled from Claude Code")
        task = call_safely(self.session, "Tasks.Cancel", request, CancelTaskResponse).task
        if has_ended(task):
            return f"task {task.id} {ended_text(task)}"
        return f"task {task.id} ends as soon as Codex has stopped; what it has changed stays changed"

    def _latest(self) -> str:
        instance = self._instance().id
        ended = next((task for task in tasks_of(self.session, instance) if has_ended(task)), None)
        if ended is None:
            raise NotFound(
                "no task of this session has ended yet",
                next_step=f"{self.names.tasks} shows how far they are, or name one",
            )
        return ended.id

    def _instance(self) -> Instance:
        named = self.find()
        request = GetInstanceRequest(instance=named.ref())
        try:
            return call_safely(self.session, "Instances.Get", request, GetInstanceResponse).instance
        except NotFound:
            # One that CODEX_INSTANCE names, and that nobody has asked yet.
            return Instance(id=named.value, workspace=named.value if named.kind == "workspace" else "")


def result_text(task: Task) -> str:
    """An ended task: its answer, and below it what is known about it."""
    answer = strip_controls(task.result.answer).strip("\n")
    lines = [f"— {source_line(task)} · {ended_text(task)}"]
    lines += [f"  changed: {one_line(path)}" for path in task.result.files_changed[:_MOST_LINES]]
    more = len(task.result.files_changed) - _MOST_LINES
    lines += [f"  … and {more} more"] if more > 0 else []
    if task.result.worktree:
        lines.append(f"  worktree: {one_line(task.result.worktree)}")
    return "\n".join([answer, "", *lines]) if answer else "\n".join(lines)


def source_line(task: Task) -> str:
    """Whose words an answer is, and where it is found again."""
    return f"Codex · task {task.id}"


def _line(task: Task) -> str:
    state = ended_text(task) if has_ended(task) else standing(task)
    now = "" if has_ended(task) or not doing(task) else f" · {one_line(doing(task), 80)}"
    return f"{task.id}  {one_line(state, 200)}{now}  “{one_line(task.spec.prompt, 60)}”"
