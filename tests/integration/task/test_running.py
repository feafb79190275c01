"""Tasks that run in a real supervisor, with the stand-in for Codex where it is enough."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import jsonschema
import pytest
from codex_control.v1 import admin_pb2, history_pb2, instances_pb2, tasks_pb2
from codex_supervisor.task.state_file import SCHEMA_FILE
from google.protobuf.duration_pb2 import Duration

from tests.integration.task.running import QUICK, ended, events, get, mirrored, said, state_file, submit
from tests.support.codex_home import CodexHome
from tests.support.fake_codex.knobs import Knobs, Stage
from tests.support.fake_codex.place import FakeCodex
from tests.support.model_script import Command, Patch, Plan, Text
from tests.support.repository import make_repository
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, supervisor_of
from tests.support.waiting import wait_for

DONE, ERROR, PENDING, RUNNING = (
    tasks_pb2.TASK_STATE_DONE,
    tasks_pb2.TASK_STATE_ERROR,
    tasks_pb2.TASK_STATE_PENDING,
    tasks_pb2.TASK_STATE_RUNNING,
)


@pytest.fixture
async def faked(
    codex_home: CodexHome, short_runtime_dir: Path, fake_codex: FakeCodex
) -> AsyncIterator[RunningSupervisor]:
    """A supervisor of the stand-in."""
    settings = {"codex": {"binary": str(fake_codex.binary)}, "tasks": QUICK}
    async with supervisor_of(codex_home, short_runtime_dir, settings) as made:
        yield made


@pytest.fixture
async def real(codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path) -> AsyncIterator[RunningSupervisor]:
    """A supervisor of the real Codex."""
    settings = {"codex": {"binary": str(real_codex)}, "tasks": QUICK}
    async with supervisor_of(codex_home, short_runtime_dir, settings) as made:
        yield made


async def wait_for_state(
    supervisor: RunningSupervisor, state: tasks_pb2.TaskState, task_id: str = "T-1"
) -> tasks_pb2.Task:
    async def there() -> tasks_pb2.Task | None:
        task = await get(supervisor, task_id)
        return task if task.state == state else None

    found = await wait_for(there, what=f"task {task_id} to be {tasks_pb2.TaskState.Name(state)}")
    assert found is not None
    return found


async def wait_for_outcome(supervisor: RunningSupervisor, outcome: str, task_id: str) -> None:
    await wait_for(lambda: mirrored(supervisor, task_id).get("outcome") == outcome, what="the state file to say so")


async def instances(supervisor: RunningSupervisor, *, tasks: bool) -> list[instances_pb2.Instance]:
    request = instances_pb2.ListInstancesRequest(include_tasks=tasks)
    return list((await supervisor.client.instances.List(request)).instances)


async def cancel(supervisor: RunningSupervisor, task_id: str = "T-1") -> None:
    await supervisor.client.tasks.Cancel(tasks_pb2.CancelTaskRequest(id=task_id), timeout=20)


async def test_what_codex_does_becomes_progress_files_and_items(real: RunningSupervisor, stub_model: StubModel) -> None:
    stub_model.script(Plan((("look", "in_progress"), ("write", "pending"))))
    stub_model.script(Command("echo looked"))
    stub_model.script(Patch("*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"))
    stub_model.script(Text('{"summary": "well done", "testsRun": 3, "testsPassed": 2}'))
    await submit(real, "do it", output_schema='{"type": "object"}', timeout=Duration(seconds=60))
    task = await ended(real)
    assert (task.state, task.outcome, task.error) == (DONE, tasks_pb2.TASK_OUTCOME_COMPLETED, "")
    result = task.result
    assert list(result.files_changed) == ["new.txt"]
    assert (result.summary, result.tests_run, result.tests_passed) == ("well done", 3, 2)
    assert result.usage.input > 0
    assert "+hello" in Path(result.diff_path).read_text()
    found = await events(real)
    kinds = said(found)
    for kind in ("item:plan", "item:command", "item:file", "item:message", "progress"):
        assert kind in kinds, kinds
    assert "item:text" not in kinds, "deltas are not recorded one by one"
    output = [event.item.event.command.output_tail for event in found if event.item.event.HasField("command")]
    assert "looked" in output[-1]
    texts = [event.progress.text for event in found if event.HasField("progress")]
    assert texts[-1] == "plan 1/2 look: changed new.txt", "the last progress is not lost"
    await wait_for(lambda: mirrored(real)["status"] == "DONE", what="the state file to say so")
    mirror = mirrored(real)
    jsonschema.Draft7Validator(json.loads(SCHEMA_FILE.read_text())).validate(mirror)
    assert mirror["result"] == {
        "filesChanged": ["new.txt"],
        "testsRun": 3,
        "testsPassed": 2,
        "summary": "well done",
        "usage": mirror["result"]["usage"],
        "diffPath": result.diff_path,
    }


async def test_a_worktree_outside_of_a_repository_is_refused_when_it_is_handed_over(
    faked: RunningSupervisor, tmp_path: Path
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await submit(faked, "do it", worktree=True, cwd=str(tmp_path))
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert f"{tmp_path} is in no git repository" in (refused.value.details() or "")


async def test_a_task_has_a_worktree_of_its_own(real: RunningSupervisor, stub_model: StubModel, tmp_path: Path) -> None:
    repository = tmp_path / "repo"
    repository.mkdir()
    make_repository(repository)
    (repository / "not-added").touch()
    stub_model.script(Patch("*** Begin Patch\n*** Add File: new.txt\n+hello\n*** End Patch"))
    stub_model.script(Text("done"))
    await submit(real, "do it", worktree=True, cwd=str(repository))
    task = await ended(real)
    tree = real.state_dir / "worktrees/T-1"
    assert (task.state, task.result.branch, task.result.worktree) == (DONE, "codex/T-1", str(tree)), task
    assert (tree / "new.txt").read_text() == "hello\n"
    assert list(task.result.files_changed) == ["new.txt"]
    assert not (repository / "new.txt").exists()
    warnings = [
        event.item.event.warning.message  # type: ignore[attr-defined]
        for event in await events(real)
        if event.item.event.HasField("warning")
    ]
    assert warnings == ["the worktree has the last commit: a file changed or not added since then, left out"]
    assert (repository / ".codex/tasks/T-1.json").exists()
    await real.client.tasks.Prune(tasks_pb2.PruneTasksRequest(ids=["T-1"]), timeout=20)
    await submit(real, "do nothing", "T-2", worktree=True, cwd=str(repository))
    await ended(real, "T-2")
    await real.client.tasks.Prune(tasks_pb2.PruneTasksRequest(ids=["T-2"]), timeout=20)
    await real.restart()
    assert (tree / "new.txt").exists(), "work is never removed"


@pytest.mark.parametrize("prepared", ["no repository", "no directory"])
async def test_what_a_task_needs_is_missing(faked: RunningSupervisor, tmp_path: Path, prepared: str) -> None:
    cwd = tmp_path / "w"
    cwd.mkdir()
    (cwd / ".git").write_text("gitdir: /nowhere\n")
    await submit(faked, "first")
    await submit(faked, "do it", "T-2", worktree=True, cwd=str(cwd), after=["T-1"], state_dir=str(tmp_path / "s"))
    if prepared == "no directory":
        (cwd / ".git").unlink()
        cwd.rmdir()
    task = await ended(faked, "T-2")
    assert (task.state, task.outcome, task.attempt) == (ERROR, tasks_pb2.TASK_OUTCOME_SETUP, 1)
    expected = "is in no git repository" if prepared == "no repository" else "there is no directory"
    assert expected in task.error
    file = tmp_path / "s/T-2.json"
    await wait_for(lambda: json.loads(file.read_text()).get("error") == task.error, what="the state file to say so")


async def test_concurrency_is_bounded_and_priority_counts(faked: RunningSupervisor, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(stall_at=Stage.DELTA))
    for number in range(3):
        await submit(faked, "wait", f"T-{number}")
    await submit(faked, "urgent", "urgent", priority=5)
    await wait_for_state(faked, RUNNING, "T-0")
    await wait_for_state(faked, RUNNING, "T-1")
    assert (await get(faked, "urgent")).state == PENDING, "two run at once"
    await cancel(faked, "T-0")
    await wait_for_state(faked, RUNNING, "urgent")
    assert (await get(faked, "T-2")).state == PENDING
    for name in ("T-1", "T-2", "urgent"):
        await cancel(faked, name)
    await ended(faked, "urgent")


async def test_an_instance_of_a_task_is_no_sessions(faked: RunningSupervisor, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(stall_at=Stage.DELTA))
    await submit(faked, "wait")
    await wait_for(lambda: fake_codex.starts == 1)
    assert await instances(faked, tasks=False) == []
    (shown,) = await instances(faked, tasks=True)
    assert (shown.id, shown.task_id) == ("task-T-1-1", "T-1")
    assert shown.settings.approval_policy == instances_pb2.APPROVAL_POLICY_DENY
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await faked.client.ask("me too", shown.id)
    assert "belongs to task T-1" in (raised.value.details() or "")
    await cancel(faked)
    await ended(faked)

    async def gone() -> bool:
        return await instances(faked, tasks=True) == []

    await wait_for(gone, what="its instance to be forgotten")

    async def forgotten() -> bool:
        history = await faked.client.history.Page(history_pb2.PageRequest())
        return not history.entries

    await wait_for(forgotten, what="its turn to be forgotten")


async def test_a_time_limit_holds_over_all_attempts(faked: RunningSupervisor, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(stall_at=Stage.DELTA))
    await submit(faked, "wait", timeout=Duration(nanos=700_000_000))
    task = await ended(faked)
    assert (task.state, task.outcome) == (tasks_pb2.TASK_STATE_TIMEOUT, tasks_pb2.TASK_OUTCOME_TIMED_OUT)
    assert mirrored(faked)["status"] == "TIMEOUT"


async def test_a_failure_that_may_pass_is_tried_again(faked: RunningSupervisor, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(turn_error="serverOverloaded", starts=(1,)))
    await submit(faked, "try")
    task = await ended(faked)
    assert (task.state, task.attempt, task.failures) == (DONE, 2, 1)
    assert task.result.answer.endswith("try"), "it is told what to do once more"


async def test_a_failure_that_stays_is_not(faked: RunningSupervisor, fake_codex: FakeCodex) -> None:
    fake_codex.turn_knobs(Knobs(turn_error="unauthorized"))
    await submit(faked, "try")
    task = await ended(faked)
    assert (task.outcome, task.attempt) == (tasks_pb2.TASK_OUTCOME_AUTH, 1)
    fake_codex.turn_knobs(Knobs())
    await faked.client.tasks.Retry(tasks_pb2.RetryTaskRequest(id="T-1"), timeout=20)
    task = await ended(faked)
    assert (task.state, task.attempt) == (DONE, 2)
    assert mirrored(faked)["status"] == "DONE"


async def test_the_state_file_is_there_when_the_task_is_accepted(
    faked: RunningSupervisor, fake_codex: FakeCodex
) -> None:
    fake_codex.turn_knobs(Knobs(stall_at=Stage.DELTA))
    for name in ("T-1", "T-2", "T-3"):
        await submit(faked, "wait", name)
        assert mirrored(faked, name)["status"] in ("PENDING", "RUNNING")
    assert mirrored(faked, "T-3")["status"] == "PENDING"
    for name in ("T-3", "T-2", "T-1"):
        await cancel(faked, name)
        await ended(faked, name)
        await wait_for_outcome(faked, "cancelled", name)


async def test_whoever_is_told_of_an_end_finds_it_in_the_state_file(
    faked: RunningSupervisor, fake_codex: FakeCodex
) -> None:
    fake_codex.turn_knobs(Knobs(command=""))
    names = [f"T-{number}" for number in range(12)]
    for name in names:
        await submit(faked, "hello", name)
    request = tasks_pb2.WatchTasksRequest(tasks=[tasks_pb2.TaskPosition(id=name) for name in names])
    told = []
    async for answer in faked.client.tasks.Watch(request, timeout=60):
        if answer.event.WhichOneof("event") == "complete":
            assert mirrored(faked, answer.event.task_id)["status"] == "DONE"
            told.append(answer.event.task_id)
    assert sorted(told) == sorted(names)


async def test_a_draining_supervisor_begins_no_task(faked: RunningSupervisor) -> None:
    await faked.client.admin.Drain(admin_pb2.DrainRequest(), timeout=20)
    await submit(faked, "wait")
    assert (await get(faked)).state == PENDING
    await faked.client.admin.Drain(admin_pb2.DrainRequest(resume=True), timeout=20)
    assert (await ended(faked)).state == DONE


async def test_a_new_program_takes_the_running_tasks_over(real: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Text("first half, "), gate.step, Text("second half"))
    await submit(real, "outlive it")
    await gate.reached()
    before = (await real.client.admin.Version(admin_pb2.VersionRequest())).started_at
    await real.client.admin.Reload(admin_pb2.ReloadRequest(exec=True), timeout=20)

    async def replaced() -> bool:
        try:
            version = await real.client.admin.Version(admin_pb2.VersionRequest(), timeout=5, wait_for_ready=True)
        except grpc.aio.AioRpcError:
            return False
        return bool(version.started_at != before)

    await wait_for(replaced, 20, "the new program")
    gate.release()
    task = await ended(real)
    assert (task.state, task.attempt, task.result.answer) == (DONE, 1, "first half, second half")
    assert stub_model.received == 1


async def test_approvals_are_denied(real: RunningSupervisor, stub_model: StubModel) -> None:
    stub_model.script(
        Command("touch /denied", {"sandbox_permissions": "require_escalated", "justification": "because"})
    )
    stub_model.script(Text("denied, so be it"))
    await submit(real, "ask for leave")
    task = await ended(real)
    assert (task.state, task.result.answer) == (DONE, "denied, so be it")
    found = [event.item.event for event in await events(real) if event.HasField("item")]
    assert any(event.HasField("approval") for event in found)
    assert not Path("/denied").exists()


async def test_what_can_be_seen_from_outside(faked: RunningSupervisor) -> None:
    await submit(faked, "do it")
    await ended(faked)
    url = (await faked.client.admin.Version(admin_pb2.VersionRequest())).metrics_url

    def page() -> str:
        with urllib.request.urlopen(url, timeout=5) as reply:
            return str(reply.read().decode())

    async def counted() -> bool:
        return 'codex_supervisor_tasks{state="DONE"} 1.0' in await asyncio.to_thread(page)

    await wait_for(counted, 15, "the tasks to be counted")
    shown = await asyncio.to_thread(page)
    assert 'codex_supervisor_task_ends_total{outcome="completed"} 1.0' in shown
    assert "codex_supervisor_task_start_seconds_count 1.0" in shown
    assert "codex_supervisor_task_run_seconds_count 1.0" in shown


async def test_without_state_files(codex_home: CodexHome, short_runtime_dir: Path, fake_codex: FakeCodex) -> None:
    settings = {"codex": {"binary": str(fake_codex.binary)}, "tasks": {**QUICK, "state_files": False}}
    async with supervisor_of(codex_home, short_runtime_dir, settings) as made:
        await submit(made, "do it")
        task = await ended(made)
        assert (task.state, task.state_file) == (DONE, "")
        assert not state_file(made).parent.exists()


async def test_where_tasks_cannot_be_kept_asks_go_on(
    codex_home: CodexHome, short_runtime_dir: Path, fake_codex: FakeCodex
) -> None:
    settings = {
        "codex": {"binary": str(fake_codex.binary)},
        "tasks": {"engine": "postgresql", "dsn_env": "NO_SUCH_VARIABLE"},
    }
    async with supervisor_of(codex_home, short_runtime_dir, settings) as made:
        assert (await made.client.ask("anybody?")).answer == "fake: anybody?"
        version = await made.client.admin.Version(admin_pb2.VersionRequest())
        assert any("NO_SUCH_VARIABLE" in sentence for sentence in version.degraded)
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await get(made)
        assert "NO_SUCH_VARIABLE" in (raised.value.details() or "")
