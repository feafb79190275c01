"""The Tasks service of a running supervisor: what it refuses, pages, waits, streams."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from codex_control.v1 import tasks_pb2 as tpb
from google.protobuf.duration_pb2 import Duration

from tests.integration.daemon.talking import is_error
from tests.support.model_script import Command, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAEMON_SETTINGS = {"tasks": {"concurrency": 1, "prompt_limit": 1000}}
NO_TIME = Duration()


def spec(client: Client, prompt: str = "x", *, runs: bool = False, **more: object) -> tpb.TaskSpec:
    """A task that no worker takes, unless it `runs`."""
    labels = () if runs else ("nowhere",)
    return tpb.TaskSpec(**{"prompt": prompt, "cwd": client.cwd, "labels": labels, **more})  # type: ignore[arg-type]


async def submit(client: Client, task_id: str, prompt: str = "x", *, runs: bool = False, **more: object) -> tpb.Task:
    request = tpb.SubmitTaskRequest(id=task_id, spec=spec(client, prompt, runs=runs, **more))
    answer: tpb.SubmitTaskResponse = await client.tasks.Submit(request)
    return answer.task


@pytest.mark.parametrize(
    ("given", "status", "said"),
    [
        ({"prompt": ""}, "INVALID_ARGUMENT", "the prompt is empty"),
        ({"prompt": "\0"}, "INVALID_ARGUMENT", "NUL"),
        ({"prompt": "x" * 1001}, "RESOURCE_EXHAUSTED", "the limit is 1,000 (tasks.prompt_limit)"),
        ({"cwd": ""}, "INVALID_ARGUMENT", "not absolute"),
        ({"cwd": "here"}, "INVALID_ARGUMENT", "not absolute"),
        ({"cwd": "/no/such"}, "INVALID_ARGUMENT", "there is no directory"),
        ({"state_dir": "here"}, "INVALID_ARGUMENT", "not absolute"),
        ({"output_schema": "{"}, "INVALID_ARGUMENT", "not JSON"),
        ({"output_schema": "[]"}, "INVALID_ARGUMENT", "not a JSON object"),
        ({"profile": "hihg"}, "NOT_FOUND", "high"),
        ({"after": ["refused"]}, "INVALID_ARGUMENT", "comes after itself"),
        ({"after": ["no-such"]}, "NOT_FOUND", "no-such"),
        ({"priority": 1001}, "INVALID_ARGUMENT", "priority 1001"),
        ({"retries": -1}, "INVALID_ARGUMENT", "number of retries"),
        ({"timeout": Duration()}, "INVALID_ARGUMENT", "more than 0 s"),
        ({"queue": "a b"}, "INVALID_ARGUMENT", "no name of a queue"),
        ({"labels": [""]}, "INVALID_ARGUMENT", "no name of a label"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_submit_refuses(client: Client, given: dict[str, Any], status: str, said: str) -> None:
    async with is_error(status) as refusal:
        await submit(client, "refused", **given)
    assert said in refusal.message
    async with is_error("NOT_FOUND"):
        await client.tasks.Get(tpb.GetTaskRequest(id="refused"))


@pytest.mark.parametrize("task_id", ["../x", "x" * 65, ".x", "a b"])
async def test_submit_refuses_ids(client: Client, task_id: str) -> None:
    async with is_error("INVALID_ARGUMENT"):
        await submit(client, task_id)


async def test_the_same_id_is_the_same_task(client: Client) -> None:
    request = tpb.SubmitTaskRequest(id="same", spec=spec(client, retries=0))
    answers = await asyncio.gather(*(client.tasks.Submit(request) for _ in range(8)))
    assert sorted(answer.existed for answer in answers) == [False, *[True] * 7]
    # Absent is not 0: that is another request.
    for other in (spec(client, "y", retries=0), spec(client)):
        async with is_error("ALREADY_EXISTS") as refusal:
            await client.tasks.Submit(tpb.SubmitTaskRequest(id="same", spec=other))
        assert refusal.next_step


async def test_the_service_makes_an_id(client: Client) -> None:
    task = await submit(client, "")
    assert len(task.id) == 16
    found = (await client.tasks.Get(tpb.GetTaskRequest(id=task.id))).task
    assert (found.id, found.spec) == (task.id, task.spec)


async def test_lists_come_in_pages(client: Client) -> None:
    for number in range(5):
        await submit(client, f"page-{number}", queue="pages")
    request = tpb.ListTasksRequest(queue="pages", page_size=2)
    seen = []
    while True:
        page = await client.tasks.List(request)
        seen += [task.id for task in page.tasks]
        if not page.next_page_token:
            break
        request.page_token = page.next_page_token
    assert seen == [f"page-{number}" for number in (4, 3, 2, 1, 0)]
    for wrong in (tpb.ListTasksRequest(page_size=501), tpb.ListTasksRequest(page_token="x")):
        async with is_error("INVALID_ARGUMENT"):
            await client.tasks.List(wrong)
    async with is_error("INVALID_ARGUMENT"):
        await client.tasks.List(tpb.ListTasksRequest(states=[99]))  # type: ignore[list-item] # from a newer client


async def test_wait_without_time_says_how_they_stand(client: Client) -> None:
    names = ["stand-1", "stand-2"]
    for name in names:
        await submit(client, name)
    request = tpb.WaitTasksRequest(ids=names, timeout=NO_TIME)
    request.timeout.SetInParent()
    answer = await client.tasks.Wait(request)
    assert answer.timed_out
    assert [task.id for task in answer.tasks] == names
    await client.tasks.Cancel(tpb.CancelTaskRequest(id="stand-2", reason="enough"))
    answer = await client.tasks.Wait(tpb.WaitTasksRequest(ids=names, any=True))
    assert not answer.timed_out
    assert [task.state for task in answer.tasks] == [tpb.TASK_STATE_PENDING, tpb.TASK_STATE_ERROR]
    assert answer.tasks[1].error == "enough"


@pytest.mark.parametrize("number", [0, 501])
async def test_calls_name_1_to_500_tasks(client: Client, number: int) -> None:
    names = [f"n-{one}" for one in range(number)]
    async with is_error("INVALID_ARGUMENT"):
        await client.tasks.Wait(tpb.WaitTasksRequest(ids=names))
    async with is_error("INVALID_ARGUMENT"):
        positions = [tpb.TaskPosition(id=name) for name in names]
        await client.tasks.Watch(tpb.WatchTasksRequest(tasks=positions)).read()


async def test_wait_returns_at_the_end_and_watch_tells_all(client: Client, model: StubModel) -> None:
    model.script(Command("echo hello"))
    gate = model.gate()
    model.script(gate, Text("done"))
    await submit(client, "runs", runs=True)
    wait = asyncio.ensure_future(client.tasks.Wait(tpb.WaitTasksRequest(ids=["runs"])))
    await gate.reached()
    assert not wait.done()
    gate.release()
    (ended,) = (await asyncio.wait_for(wait, 20)).tasks
    assert (ended.state, ended.outcome) == (tpb.TASK_STATE_DONE, tpb.TASK_OUTCOME_COMPLETED)
    assert ended.result.answer == "done"

    async def events(after_seq: int) -> list[tpb.TaskEvent]:
        positions = [tpb.TaskPosition(id="runs", after_seq=after_seq)]
        stream = client.tasks.Watch(tpb.WatchTasksRequest(tasks=positions))
        return [answer.event async for answer in stream]

    told = await events(0)
    kinds = [event.WhichOneof("event") for event in told]
    assert kinds[:2] == ["changed", "changed"]
    assert {"progress", "item"} <= set(kinds)
    assert kinds[-1] == "complete"
    assert told[-1].complete.task == ended
    assert [event.seq for event in told] == list(range(1, len(told) + 1))
    assert await events(3) == told[3:], "from a sequence number on"
    logs = [line async for line in client.tasks.Logs(tpb.TaskLogsRequest(id="runs"))]
    assert ("output", "hello") in {(line.source, line.text) for line in logs}
    assert logs[-1].text == "DONE: completed"


async def test_a_watcher_that_leaves_is_forgotten(client: Client) -> None:
    await submit(client, "left")
    stream = client.tasks.Watch(tpb.WatchTasksRequest(tasks=[tpb.TaskPosition(id="left")]))
    assert (await stream.read()).event.changed.state == tpb.TASK_STATE_PENDING
    stream.cancel()
    with pytest.raises((asyncio.CancelledError, grpc.aio.AioRpcError)):
        await stream.read()
    cancelled = await client.tasks.Cancel(tpb.CancelTaskRequest(id="left"))
    assert cancelled.task.outcome == tpb.TASK_OUTCOME_CANCELLED


async def test_counts_and_prune(client: Client) -> None:
    await submit(client, "old", queue="prune")
    await submit(client, "young", queue="prune")
    await client.tasks.Cancel(tpb.CancelTaskRequest(id="old"))
    counted = await client.tasks.Count(tpb.CountTasksRequest())
    of_queue = {one.state: one.count for one in counted.counts if one.queue == "prune"}
    assert of_queue == {tpb.TASK_STATE_PENDING: 1, tpb.TASK_STATE_ERROR: 1}
    assert counted.engine == "sqlite"
    async with is_error("FAILED_PRECONDITION"):
        await client.tasks.Prune(tpb.PruneTasksRequest(ids=["young"]))
    async with is_error("INVALID_ARGUMENT"):
        await client.tasks.Prune(tpb.PruneTasksRequest(states=[tpb.TASK_STATE_RUNNING]))
    assert (await client.tasks.Prune(tpb.PruneTasksRequest(ids=["old"]))).pruned == 1
    async with is_error("NOT_FOUND"):
        await client.tasks.Get(tpb.GetTaskRequest(id="old"))


async def test_an_unwritable_place_for_the_state_file_costs_the_file_alone(
    client: Client, daemon: RunningSupervisor, model: StubModel
) -> None:
    blocked = Path(client.cwd) / "a-file"
    blocked.write_text("")
    await submit(client, "mirrorless", runs=True, state_dir=str(blocked))
    (ended,) = (await client.tasks.Wait(tpb.WaitTasksRequest(ids=["mirrorless"]), timeout=20)).tasks
    assert ended.state == tpb.TASK_STATE_DONE
    assert "a-file" in ended.state_file_error
