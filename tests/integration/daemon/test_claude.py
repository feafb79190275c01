"""Claude Code sessions and their instances, with real processes in Claude Code's place and the real Codex."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from codex_control.task_id import new_task_id
from codex_control.v1 import claude_pb2, history_pb2, instances_pb2, outcome_pb2, tasks_pb2, turns_pb2
from codex_supervisor.claude.leases import MAX_LEASES

from tests.integration.daemon.talking import is_error
from tests.support.codex_home import CodexHome
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref, supervisor_of
from tests.support.waiting import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

GRACE_S = 0.5
DAEMON_SETTINGS = {"claude": {"grace": GRACE_S}}

HIBERNATED = instances_pb2.INSTANCE_STATE_HIBERNATED
READY = instances_pb2.INSTANCE_STATE_READY
CLEAR = claude_pb2.SESSION_SOURCE_CLEAR
RESUME = claude_pb2.SESSION_SOURCE_RESUME
STARTUP = claude_pb2.SESSION_SOURCE_STARTUP


@contextlib.asynccontextmanager
async def claude_process() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process in the place of Claude Code."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", "import signal; signal.pause()")
    try:
        yield process
    finally:
        await end(process)


async def end(process: asyncio.subprocess.Process, number: signal.Signals = signal.SIGKILL) -> None:
    """End a process, and return when it is gone."""
    if process.returncode is None:
        process.send_signal(number)
    await process.wait()


def new_session() -> str:
    """An id as Claude Code makes them."""
    return str(uuid.uuid4())


async def bind(
    client: Client, session: str, pid: int, source: claude_pb2.SessionSource = STARTUP, **more: Any
) -> claude_pb2.BindResponse:
    """Bind a session, as the plugin's SessionStart hook does."""
    process = instances_pb2.ClaudeProcess(pid=pid, start_time=more.pop("start_time", 0))
    request = claude_pb2.BindRequest(session_id=session, process=process, source=source, **{"cwd": client.cwd, **more})
    return await client.claude.Bind(request, timeout=10)  # type: ignore[no-any-return]


async def ask(client: Client, session: str, prompt: str) -> turns_pb2.Turn:
    """Ask as a session."""
    request = client.request(prompt)
    request.instance.CopyFrom(of_session(session))
    turn: turns_pb2.Turn = [answer.event async for answer in client.turns.Ask(request)][-1].ended.turn
    return turn


def of_session(session: str) -> instances_pb2.InstanceRef:
    """Name an instance by one of its sessions."""
    return instances_pb2.InstanceRef(claude_session=session)


async def sessions(client: Client) -> list[claude_pb2.ClaudeSession]:
    """The bound sessions."""
    return list((await client.claude.Sessions(claude_pb2.SessionsRequest())).sessions)


async def test_a_bound_session_has_an_instance_of_its_own(client: Client) -> None:
    session = new_session()
    async with claude_process() as claude:
        bound = await bind(client, session, claude.pid)
        assert bound.created
        instance = bound.instance
        assert instance.id == f"claude-{session[:8]}"
        assert instance.claude_session == session
        assert instance.settings.cwd == client.cwd
        assert instance.state == instances_pb2.INSTANCE_STATE_STOPPED, "a bind starts nothing"
        assert bound.process.pid == claude.pid
        again = await bind(client, session, claude.pid, start_time=bound.process.start_time)
        assert not again.created
        assert again.process == bound.process
        for reference in (
            of_session(session),
            instances_pb2.InstanceRef(claude_process=bound.process),
            instances_pb2.InstanceRef(claude_process=instances_pb2.ClaudeProcess(pid=claude.pid)),
        ):
            got = await client.instances.Get(instances_pb2.GetInstanceRequest(instance=reference))
            assert got.instance.id == instance.id
        mine = [each for each in await sessions(client) if each.session_id == session]
        assert [(each.instance, each.process, each.HasField("gone_at")) for each in mine] == [
            (instance.id, bound.process, False)
        ]


async def test_two_sessions_in_one_directory_see_nothing_of_each_other(client: Client, model: StubModel) -> None:
    red, blue = new_session(), new_session()
    async with claude_process() as one, claude_process() as two:
        first, second = await bind(client, red, one.pid), await bind(client, blue, two.pid)
        assert first.instance.id != second.instance.id
        red_turn = await ask(client, red, "the red secret")
        blue_turn = await ask(client, blue, "the blue secret")
        assert red_turn.thread_id != blue_turn.thread_id
        assert model.requests[-1].user_texts[-1] == "the blue secret"
        assert "the red secret" not in model.requests[-1].user_texts
        for session, other in ((red, "blue"), (blue, "red")):
            page = await client.history.Page(history_pb2.PageRequest(instance=of_session(session)))
            assert [other in entry.prompt for entry in page.entries] == [False]


async def test_ids_that_begin_alike_are_two_instances(client: Client) -> None:
    same = uuid.uuid4().hex[:8]
    async with claude_process() as one, claude_process() as two:
        first = await bind(client, f"{same}-one", one.pid)
        second = await bind(client, f"{same}-two", two.pid)
        assert [first.instance.id, second.instance.id] == [f"claude-{same}", f"claude-{same}-2"]


async def test_clear_keeps_the_instance_and_its_thread(client: Client) -> None:
    before, after = new_session(), new_session()
    async with claude_process() as claude:
        bound = await bind(client, before, claude.pid)
        turn = await ask(client, before, "before the clear")
        ended = claude_pb2.EndRequest(session_id=before, reason=claude_pb2.SESSION_END_REASON_CLEAR)
        await client.claude.End(ended)
        cleared = await bind(client, after, claude.pid, CLEAR)
        assert not cleared.created
        assert cleared.instance.id == bound.instance.id
        assert cleared.instance.claude_session == after
        for session in (before, after):
            assert (await ask(client, session, "after the clear")).thread_id == turn.thread_id


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_the_child_hibernates_after_the_grace_and_a_resume_finds_the_thread(
    client: Client, daemon: RunningSupervisor, number: signal.Signals
) -> None:
    session = new_session()
    async with claude_process() as claude:
        bound = await bind(client, session, claude.pid)
        name = bound.instance.id
        turn = await ask(client, session, "remember this")
        await end(claude, number)
        gone_at = time.monotonic()
        [left] = [each for each in await wait_until_gone(client, session) if each.session_id == session]
        assert left.instance == name
        await client.wait_for_state(HIBERNATED, name)
        assert time.monotonic() - gone_at > GRACE_S * 0.8
    await wait_for(lambda: has_no_lease(client, session), what="the lease to be forgotten")
    async with claude_process() as next_claude:
        resumed = await bind(client, session, next_claude.pid, RESUME)
        assert (resumed.instance.id, resumed.created) == (name, False)
        assert (await ask(client, session, "again")).thread_id == turn.thread_id
        page = await client.history.Page(history_pb2.PageRequest(instance=of_session(session)))
        assert [entry.prompt for entry in page.entries] == ["again", "remember this"]


async def wait_until_gone(client: Client, session: str) -> list[claude_pb2.ClaudeSession]:
    """Wait until the end of the session's process was seen."""

    async def seen() -> list[claude_pb2.ClaudeSession]:
        return [each for each in await sessions(client) if each.session_id == session and each.HasField("gone_at")]

    found = await wait_for(seen, 10, "the end of the process to be seen")
    assert found is not None
    return found


async def has_no_lease(client: Client, session: str) -> bool:
    """Whether nothing is known of a process that shows the session."""
    return all(each.session_id != session for each in await sessions(client))


async def test_a_resume_within_the_grace_keeps_the_child(client: Client) -> None:
    session = new_session()
    async with claude_process() as first:
        name = (await bind(client, session, first.pid)).instance.id
        await client.instances.Start(instances_pb2.StartRequest(instance=of_session(session)))
        child = (await client.instance(name)).child.pid
        await end(first)
        await wait_until_gone(client, session)
        async with claude_process() as second:
            await bind(client, session, second.pid, RESUME)
            await asyncio.sleep(GRACE_S * 1.5)  # the grace would have passed: that it does nothing is what is tested
            instance = await client.instance(name)
            assert (instance.state, instance.child.pid) == (READY, child)


async def test_a_running_turn_finishes_first(client: Client, model: StubModel) -> None:
    session = new_session()
    gate = model.gate()
    model.script(Text("said "), gate.step, Text("in the end"))
    async with claude_process() as claude:
        name = (await bind(client, session, claude.pid)).instance.id
        turn = asyncio.ensure_future(ask(client, session, "take your time"))
        await gate.reached()
        await end(claude)
        await wait_until_gone(client, session)
        await asyncio.sleep(GRACE_S * 1.5)  # past the grace: that it waits is what is tested
        assert (await client.instance(name)).state == instances_pb2.INSTANCE_STATE_BUSY
        gate.release()
        ended = await turn
    assert (ended.outcome, ended.answer) == (outcome_pb2.OUTCOME_COMPLETED, "said in the end")
    await client.wait_for_state(HIBERNATED, name)
    found = await client.turns.Get(turns_pb2.GetTurnRequest(turn_id=ended.id))
    assert found.turn.answer == "said in the end"


async def test_an_end_is_one_quick_call_and_ends_nothing(client: Client) -> None:
    session = new_session()
    async with claude_process() as claude:
        name = (await bind(client, session, claude.pid)).instance.id
        await client.instances.Start(instances_pb2.StartRequest(instance=of_session(session)))
        began = time.monotonic()
        for known in (session, "nobody-knows-it"):
            reason = claude_pb2.SESSION_END_REASON_PROMPT_INPUT_EXIT
            await client.claude.End(claude_pb2.EndRequest(session_id=known, reason=reason), timeout=1)
        assert time.monotonic() - began < 0.5, "all SessionEnd hooks together have 1.5 s"
        await asyncio.sleep(GRACE_S * 1.5)  # a lease that the message had ended would have passed its grace
        assert (await client.instance(name)).state == READY


async def test_what_cannot_be_bound(client: Client) -> None:
    session = new_session()
    async with claude_process() as claude:
        known = len(await sessions(client))
        for wrong in ("", "a b", "x" * 129, "../../etc"):
            async with is_error("INVALID_ARGUMENT"):
                await bind(client, wrong, claude.pid)
        async with is_error("INVALID_ARGUMENT"):
            await bind(client, session, claude.pid, cwd="not/absolute")
        async with is_error("INVALID_ARGUMENT"):
            await client.claude.Bind(claude_pb2.BindRequest(session_id=session))
        async with is_error("FAILED_PRECONDITION") as refusal:
            await bind(client, session, claude.pid, start_time=1)
        assert "used again" in refusal.why
        await end(claude)
        for pid in (claude.pid, 0, -1):
            async with is_error("NOT_FOUND"):
                await bind(client, session, pid)
    async with is_error("NOT_FOUND"):
        await client.instances.Get(instances_pb2.GetInstanceRequest(instance=of_session(session)))
    process = instances_pb2.ClaudeProcess(pid=claude.pid)
    async with is_error("NOT_FOUND") as refusal:
        start = instances_pb2.StartRequest(instance=instances_pb2.InstanceRef(claude_process=process), cwd=client.cwd)
        await client.instances.Start(start)
    assert "plugin" in refusal.next_step
    assert len(await sessions(client)) == known


async def test_a_deleted_instance_is_made_anew_for_its_process(client: Client) -> None:
    session = new_session()
    async with claude_process() as claude:
        first = await bind(client, session, claude.pid)
        await client.instances.Delete(instances_pb2.DeleteInstanceRequest(instance=ref(first.instance.id)))
        assert await has_no_lease(client, session)
        second = await bind(client, session, claude.pid)
        assert second.created


async def test_leases_outlive_the_supervisor(codex_home: CodexHome, short_runtime_dir: Path, real_codex: Path) -> None:
    settings = {"codex": {"binary": str(real_codex)}, "claude": {"grace": 1.0}}
    stays, goes, cleared = new_session(), new_session(), new_session()
    async with (
        supervisor_of(codex_home, short_runtime_dir, settings) as supervisor,
        claude_process() as staying,
        claude_process() as going,
    ):
        kept = (await bind(supervisor.client, stays, staying.pid)).instance.id
        lost = (await bind(supervisor.client, goes, going.pid)).instance.id
        for session in (stays, goes):
            await supervisor.client.instances.Start(instances_pb2.StartRequest(instance=of_session(session)))
        await bind(supervisor.client, cleared, staying.pid, CLEAR)
        await supervisor.kill()
        await end(going)
        await supervisor.start()
        client = supervisor.client
        # The children were adopted; the one whose Claude Code went meanwhile gets its grace from now on.
        await client.wait_for_state(HIBERNATED, lost)
        assert (await client.instance(kept)).state == READY
        for session in (stays, cleared):
            found = await client.instances.Get(instances_pb2.GetInstanceRequest(instance=of_session(session)))
            assert found.instance.id == kept
        await end(staying)
        await client.wait_for_state(HIBERNATED, kept)


async def test_status_files_count_the_tasks_of_the_session_that_run(
    daemon: RunningSupervisor, client: Client, model: StubModel
) -> None:
    folder = daemon.runtime_dir / "codex-supervisor/status"
    session, other = new_session(), new_session()

    def tasks_of(name: str) -> int:
        file = folder / f"{name}.json"
        assert file.exists()
        count: int = json.loads(file.read_text())["tasks"]
        return count

    async with claude_process() as claude, claude_process() as second:
        name = (await bind(client, session, claude.pid)).instance.id
        await bind(client, other, second.pid)
        gate = model.gate()
        model.script(gate, Text("done"))
        spec = tasks_pb2.TaskSpec(prompt="x", cwd=client.cwd)
        task_id = new_task_id(1, name)
        await client.tasks.Submit(tasks_pb2.SubmitTaskRequest(id=task_id, spec=spec))
        await gate.reached()
        await wait_for(lambda: tasks_of(session) == 1, what="the running task in the file")
        await wait_for(lambda: tasks_of(other) == 0, what="the file of the other session")
        gate.release()
        await client.tasks.Wait(tasks_pb2.WaitTasksRequest(ids=[task_id]), timeout=20)
        await wait_for(lambda: tasks_of(session) == 0, what="the end of the task in the file")


async def test_status_files_follow_the_instances(daemon: RunningSupervisor, client: Client, model: StubModel) -> None:
    folder = daemon.runtime_dir / "codex-supervisor/status"
    session = new_session()

    def told() -> dict[str, Any]:
        found: dict[str, Any] = json.loads((folder / f"{session}.json").read_text())
        return found

    async with claude_process() as claude:
        bound = await bind(client, session, claude.pid)
        await wait_for(lambda: (folder / f"{session}.json").exists(), what="the status file")
        name = bound.instance.id
        assert told() == {
            "instance": name,
            "state": "stopped",
            "profile": "default",
            "turn": "",
            "queued": 0,
            "tasks": 0,
        }
        assert (folder / f"{session}.json").stat().st_mode & 0o777 == 0o600
        gate = model.gate()
        model.script(gate, Text("done"))
        asked = asyncio.create_task(client.ask("something", name))
        await gate.reached()
        await wait_for(lambda: told()["state"] == "busy", what="the running turn in the file")
        assert told()["turn"]
        gate.release()
        assert (await asked).id
        await wait_for(lambda: told()["state"] == "ready", what="the end of the turn in the file")
        # /clear: the file is the one of the session that is shown.
        cleared = new_session()
        await bind(client, cleared, claude.pid, CLEAR)
        await wait_for(lambda: (folder / f"{cleared}.json").exists(), what="the file of the new session")
        await wait_for(lambda: not (folder / f"{session}.json").exists(), what="the end of the old one")
    await wait_for(lambda: not list(folder.iterdir()), what="no file once Claude Code is gone")


async def test_leases_are_bounded_and_a_gone_process_makes_room(client: Client) -> None:
    async with contextlib.AsyncExitStack() as stack:
        sleepers = [await stack.enter_async_context(sleeper()) for _ in range(MAX_LEASES)]
        held = sum(not each.HasField("gone_at") for each in await sessions(client))
        for process in sleepers[: MAX_LEASES - held]:
            await bind(client, new_session(), process.pid)
        one_more = await stack.enter_async_context(sleeper())
        session = new_session()
        async with is_error("RESOURCE_EXHAUSTED"):
            await bind(client, session, one_more.pid)
        async with is_error("NOT_FOUND"):
            await client.instances.Get(instances_pb2.GetInstanceRequest(instance=of_session(session)))
        await bind(client, new_session(), sleepers[0].pid, CLEAR)  # a known process takes no new room
        await end(sleepers[0])

        async def bound() -> bool:
            async with is_error("RESOURCE_EXHAUSTED", optional=True) as refusal:
                await bind(client, session, one_more.pid)
            return not refusal.status

        await wait_for(bound, what="room for one more")


@contextlib.asynccontextmanager
async def sleeper() -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that costs little."""
    process = await asyncio.create_subprocess_exec("sleep", "600")
    try:
        yield process
    finally:
        await end(process)


async def test_an_instance_that_was_never_used_is_forgotten(client: Client, model: StubModel) -> None:
    unused, used, set_up = new_session(), new_session(), new_session()
    async with claude_process() as one, claude_process() as two, claude_process() as three:
        await bind(client, unused, one.pid)
        await bind(client, used, two.pid)
        await ask(client, used, "something")
        await bind(client, set_up, three.pid)
        await client.instances.Configure(
            instances_pb2.ConfigureRequest(instance=of_session(set_up), profile="high"), timeout=10
        )

    async def forgotten() -> bool:
        try:
            await client.instances.Get(instances_pb2.GetInstanceRequest(instance=of_session(unused)))
        except grpc.aio.AioRpcError as error:
            return error.code() is grpc.StatusCode.NOT_FOUND
        return False

    await wait_for(forgotten, 10, "the unused instance to be forgotten")
    await client.wait_for_state(HIBERNATED, f"claude-{used[:8]}")

    async def left() -> bool:
        return not any(each.session_id == set_up for each in await sessions(client))

    await wait_for(left, 10, "the end of the other graces")
    for session in (used, set_up):
        await client.instances.Get(instances_pb2.GetInstanceRequest(instance=of_session(session)))
    async with claude_process() as again:
        bound = await bind(client, unused, again.pid, RESUME)
        assert bound.created, "a session that is resumed gets a new one"
        assert bound.instance.id == f"claude-{unused[:8]}"
