"""Tasks as a person has them: `codexctl task`, the service, the real Codex, and a stub model that answers."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import jsonschema
import pytest
from codex_control.errors import Exit
from codex_supervisor.task.state_file import SCHEMA_FILE

from tests.acceptance.test_ask_with_codexctl import Done, ctl, finish, start_ctl
from tests.support.codex_home import REPOSITORY, CodexHome
from tests.support.model_script import Command, Patch, Stall, Status, Text
from tests.support.repository import make_repository
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor, supervisor_of

EXAMPLE = REPOSITORY / "docs" / "examples" / "wait_for_task.sh"
ADD_FILE = "*** Begin Patch\n*** Add File: new.txt\n+one line\n*** End Patch\n"


@pytest.fixture
async def supervisor(
    codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path, stub_model: StubModel
) -> AsyncIterator[RunningSupervisor]:
    """A running service that runs one task at a time and tries none again unless the task says so."""
    settings = {"codex": {"binary": str(real_codex)}, "tasks": {"concurrency": 1, "retries": 0, "backoff_initial": 0}}
    async with supervisor_of(codex_home, short_runtime_dir, settings) as made:
        yield made


async def submit(supervisor: RunningSupervisor, *arguments: str) -> str:
    """Submit a task, and return its id."""
    # The test homes are in a repository, whose root would be taken otherwise.
    done = await ctl(supervisor, "task", "submit", "--cwd", ".", *arguments)
    assert done.code == Exit.OK, done.err
    return done.out.strip()


def state_file(supervisor: RunningSupervisor, task_id: str) -> Path:
    """Where the task mirrors itself."""
    return supervisor.home.workspace / ".codex" / "tasks" / f"{task_id}.json"


async def shell(supervisor: RunningSupervisor, task_id: str) -> asyncio.subprocess.Process:
    """Start the shell example on the task's state file."""
    pipe = asyncio.subprocess.PIPE
    return await asyncio.create_subprocess_exec(
        *(str(EXAMPLE), str(state_file(supervisor, task_id))),
        env={"PATH": os.environ["PATH"]},
        stdin=pipe,
        stdout=pipe,
        stderr=pipe,
    )


async def test_work_is_handed_over_followed_and_fetched(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    gate = stub_model.gate()
    stub_model.script(Patch(ADD_FILE))
    stub_model.script(gate, Text("The file is **there**."))
    task_id = await submit(supervisor, "add a file")
    schema = json.loads(SCHEMA_FILE.read_bytes())
    jsonschema.validate(json.loads(state_file(supervisor, task_id).read_bytes()), schema)
    waiting, watching = await start_ctl(supervisor, "task", "wait", task_id), await shell(supervisor, task_id)
    await gate.reached()
    listed = await ctl(supervisor, "task", "list", "--state", "running", "--json")
    assert [task["id"] for task in listed.values] == [task_id]
    status = await ctl(supervisor, "status")
    assert "tasks: 1 running, 0 pending, 0 ended (sqlite)" in status.out
    assert task_id not in status.out, "what runs for tasks is no session's"
    assert task_id in (await ctl(supervisor, "status", "--all")).out
    gate.release()
    waited, watched = await finish(waiting), await finish(watching)
    assert waited.code == Exit.OK
    assert waited.out.startswith(f"{task_id} DONE in ")
    state = json.loads(state_file(supervisor, task_id).read_bytes())
    assert state["result"]["filesChanged"] == ["new.txt"]
    assert "1 file changed" in waited.out
    assert watched.code == Exit.OK
    assert watched.out.splitlines()[-1].startswith("DONE")
    result = await ctl(supervisor, "task", "result", task_id)
    assert (result.code, result.out) == (Exit.OK, "The file is **there**.\n")
    assert "changed: new.txt" in result.err
    assert (supervisor.home.workspace / "new.txt").read_text() == "one line\n"
    jsonschema.validate(state, schema)
    assert state["status"] == "DONE"


async def test_exit_codes_say_how_it_ended(
    supervisor: RunningSupervisor, stub_model: StubModel, codex_home: CodexHome
) -> None:
    codex_home.configure(stub_model.base_url, provider="request_max_retries = 0\nstream_max_retries = 0")
    stub_model.script(Status(401))
    failed = await submit(supervisor, "fail")
    child = await submit(supervisor, "--after", failed, "never begun")
    done = await ctl(supervisor, "task", "wait", failed, child)
    assert done.code == Exit.FAILED
    assert f"{failed} ERROR (auth)" in done.out
    assert f"{child} ERROR (parent failed)" in done.out
    stub_model.script(Stall())
    late = await submit(supervisor, "--timeout", "1s", "take your time")
    assert (await ctl(supervisor, "task", "wait", late)).code == Exit.TIMED_OUT
    stub_model.script(Stall())
    unwanted = await submit(supervisor, "go on for ever")
    await stub_model.wait_for_requests(3)
    early = await ctl(supervisor, "task", "wait", "--timeout", "0.1s", unwanted)
    assert early.code == Exit.NOT_ENDED
    assert (await ctl(supervisor, "task", "cancel", unwanted)).code == Exit.OK
    assert (await ctl(supervisor, "task", "wait", unwanted)).code == Exit.CANCELLED
    assert (await ctl(supervisor, "task", "result", unwanted)).code == Exit.CANCELLED
    by_file = await finish(await shell(supervisor, unwanted))
    assert by_file.code == Exit.CANCELLED


async def test_a_task_that_failed_is_tried_again_on_its_own_thread(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    stub_model.script(Text("half"), Stall())
    task_id = await submit(supervisor, "--timeout", "1s", "port it")
    assert (await ctl(supervisor, "task", "wait", task_id)).code == Exit.TIMED_OUT
    before = (await ctl(supervisor, "task", "show", task_id, "--json")).values[0]
    assert (await ctl(supervisor, "task", "retry", task_id)).code == Exit.OK
    assert (await ctl(supervisor, "task", "wait", task_id)).code == Exit.OK
    after = (await ctl(supervisor, "task", "show", task_id, "--json")).values[0]
    assert after["thread_id"] == before["thread_id"] != ""
    assert stub_model.requests[-1].user_texts[0] == "port it"
    assert "Do not start over" in stub_model.requests[-1].user_texts[-1]


async def test_watching_outlives_the_service_and_misses_nothing(
    supervisor: RunningSupervisor, stub_model: StubModel
) -> None:
    gate = stub_model.gate()
    stub_model.script(Command("echo before"))
    stub_model.script(gate, Text("after"))
    task_id = await submit(supervisor, "hello")
    watching = await start_ctl(supervisor, "task", "watch", "--json", task_id)
    waiting = await start_ctl(supervisor, "task", "wait", task_id)
    await gate.reached()
    os.kill(supervisor.pid, signal.SIGKILL)
    await supervisor.restart()
    gate.release()
    watched, waited = await finish(watching), await finish(waiting)
    assert (watched.code, waited.code) == (Exit.OK, Exit.OK)
    assert waited.out.startswith(f"{task_id} DONE")
    numbers = [event["seq"] for event in watched.values]
    assert numbers == list(range(1, len(numbers) + 1))
    ran = [
        event["item"]["event"]["command"]["status"]
        for event in watched.values
        if event["event"] == "item" and event["item"]["event"]["event"] == "command"
    ]
    # The beginning of the command may have been on its way when the service died; Codex tells only its end later.
    assert ran in (["inProgress", "completed"], ["completed"])
    assert [event["event"] for event in watched.values if event["event"] in ("complete", "error")] == ["complete"]
    assert stub_model.received == 2


async def test_a_worktree_keeps_the_changes_apart(supervisor: RunningSupervisor, stub_model: StubModel) -> None:
    assert shutil.which("git")
    make_repository(supervisor.home.workspace)
    stub_model.script(Patch(ADD_FILE))
    stub_model.script(Text("done"))
    task_id = await submit(supervisor, "--worktree", "add a file")
    done: Done = await ctl(supervisor, "task", "wait", task_id, "--json")
    assert done.code == Exit.OK, done
    result = done.values[0]["result"]
    assert not (supervisor.home.workspace / "new.txt").exists()
    assert (Path(result["worktree"]) / "new.txt").read_text() == "one line\n"
    assert task_id in result["branch"]
    shown = await ctl(supervisor, "task", "show", task_id)
    assert result["branch"] in shown.out
