"""The life of instances through the API: named, started, stopped, restarted, watched, deleted."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest
from codex_control.v1 import instances_pb2, outcome_pb2, turns_pb2

from tests.integration.daemon.talking import is_error
from tests.support.model_script import Stall, Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref
from tests.support.waiting import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

READY = instances_pb2.INSTANCE_STATE_READY
BUSY = instances_pb2.INSTANCE_STATE_BUSY
STOPPED = instances_pb2.INSTANCE_STATE_STOPPED


def app_servers(daemon: RunningSupervisor) -> list[int]:
    """The app-servers that live as children of the supervisor."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            command = (entry / "cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            continue
        if parent == daemon.pid and b"app-server" in command:
            found.append(int(entry.name))
    return found


async def start(client: Client, name: str, **more: Any) -> instances_pb2.Instance:
    """Start an instance."""
    request = instances_pb2.StartRequest(instance=ref(name), cwd=client.cwd, **more)
    return (await client.instances.Start(request, timeout=20)).instance  # type: ignore[no-any-return]


async def stop(client: Client, name: str, *, force: bool = False) -> instances_pb2.Instance:
    """Stop an instance."""
    request = instances_pb2.StopRequest(instance=ref(name), force=force)
    return (await client.instances.Stop(request, timeout=20)).instance  # type: ignore[no-any-return]


async def restart(client: Client, name: str, *, force: bool = False) -> instances_pb2.Instance:
    """Restart an instance."""
    request = instances_pb2.RestartRequest(instance=ref(name), force=force)
    return (await client.instances.Restart(request, timeout=20)).instance  # type: ignore[no-any-return]


async def test_start_stop_and_restart(client: Client, name: str, daemon: RunningSupervisor) -> None:
    started = await start(client, name)
    assert started.state == READY
    assert started.child.pid in app_servers(daemon)
    assert started.child.codex_version
    assert (await start(client, name)).child.pid == started.child.pid, "what runs is not started again"

    again = await restart(client, name)
    assert again.state == READY
    assert again.child.pid != started.child.pid
    assert started.child.pid not in app_servers(daemon)
    assert again.restarts == 0, "a wish is no failure"

    stopped = await stop(client, name)
    assert stopped.state == STOPPED
    assert not stopped.HasField("child")
    assert not (set(app_servers(daemon)) & {again.child.pid, started.child.pid})
    assert (await stop(client, name)).state == STOPPED


async def test_a_stop_waits_for_the_turn_and_force_does_not(client: Client, model: StubModel, name: str) -> None:
    gate = model.gate()
    model.script(gate, Text("finished"))
    asked = asyncio.ensure_future(client.ask("long", name))
    await gate.reached()
    stopping = asyncio.ensure_future(stop(client, name))
    await wait_for(lambda: has_detail(client, name, "after this turn"), what="the stop to be noted")
    assert not stopping.done()
    gate.release()
    assert (await asked).answer == "finished"
    assert (await stopping).state == STOPPED

    model.script(Text("part"), Stall())
    asked = asyncio.ensure_future(client.ask("longer", name))
    await client.wait_for_state(BUSY, name)
    assert (await stop(client, name, force=True)).state == STOPPED
    turn = await asked
    assert (turn.outcome, turn.cause) == (outcome_pb2.OUTCOME_CANCELLED, outcome_pb2.CAUSE_USER)


async def has_detail(client: Client, name: str, text: str) -> bool:
    """Whether the instance says this about its state."""
    return text in (await client.instance(name)).detail


async def test_a_forced_restart_carries_the_turn_on(client: Client, model: StubModel, name: str) -> None:
    model.script(Text("lost "), Stall())
    asked = asyncio.ensure_future(client.ask("go on", name))
    request = await model.wait_for_requests(model.received + 1)
    assert request.last_user_text == "go on"
    model.script(Text("kept"))
    await restart(client, name, force=True)
    turn = await asked
    assert (turn.outcome, turn.answer, turn.recoveries) == (outcome_pb2.OUTCOME_COMPLETED, "kept", 1)


async def test_the_last_of_a_hundred_wishes_at_once_wins(client: Client, name: str, daemon: RunningSupervisor) -> None:
    await start(client, name)
    others = set(app_servers(daemon))
    chance = random.Random(7)
    most = 0

    async def count() -> None:
        nonlocal most
        while True:
            most = max(most, len(set(app_servers(daemon)) - others) + 1)
            await asyncio.sleep(0.02)

    def wish(kind: str, name: str) -> Any:
        match kind:
            case "start":
                return client.instances.Start(instances_pb2.StartRequest(instance=ref(name)), timeout=20)
            case "stop":
                return client.instances.Stop(instances_pb2.StopRequest(instance=ref(name)), timeout=20)
            case _:
                return client.instances.Restart(instances_pb2.RestartRequest(instance=ref(name)), timeout=20)

    async def all_are_heard() -> None:
        # gRPC keeps the order of the calls of one method, not of several: so the last of each method is awaited.
        for kind in kinds_of_wishes:
            async with is_error("INVALID_ARGUMENT"):
                await wish(kind, "")

    kinds_of_wishes = ("start", "stop", "restart")

    counting = asyncio.ensure_future(count())
    try:
        for last, state in (("stop", STOPPED), ("start", READY)):
            calls = [wish(chance.choice(kinds_of_wishes), name) for _ in range(49)]
            await all_are_heard()
            final = wish(last, name)
            for call in calls:
                # A wish is fulfilled, or it says that a later one took its place.
                async with is_error("FAILED_PRECONDITION", optional=True) as refusal:
                    await call
                assert not refusal.status or "overtaken" in refusal.what
            assert (await final).instance.state == state
            assert (await client.instance(name)).state == state
    finally:
        counting.cancel()
    # The old one and the new one of a restart may be seen at the same look, never more.
    assert most <= 2
    assert len(app_servers(daemon)) == len(others)


async def test_a_workspace_and_a_session_name_an_instance(client: Client, daemon: RunningSupervisor) -> None:
    first, second = daemon.home.root / "a" / "project", daemon.home.root / "b" / "project"
    for directory in (first, second):
        directory.mkdir(parents=True)
    made = []
    for directory in (first, second, first):
        where = instances_pb2.InstanceRef(workspace=str(directory))
        request = client.request("hello", cwd="")
        request.instance.CopyFrom(where)
        made.append([answer.event async for answer in client.turns.Ask(request)][-1].ended.turn)
    assert [turn.instance for turn in made] == ["project", "project-2", "project"]
    assert [turn.cwd for turn in made] == [str(first), str(second), str(first)]
    got = await client.instances.Get(
        instances_pb2.GetInstanceRequest(instance=instances_pb2.InstanceRef(workspace=str(second)))
    )
    assert (got.instance.id, got.instance.workspace) == ("project-2", str(second))

    session = instances_pb2.InstanceRef(claude_session="abc-123")
    await client.instances.Start(instances_pb2.StartRequest(instance=session, cwd=client.cwd), timeout=20)
    found = (await client.instances.Get(instances_pb2.GetInstanceRequest(instance=session))).instance
    assert (found.id, found.claude_session) == ("claude-abc-123", "abc-123")
    for name in ("project", "project-2", "claude-abc-123"):
        await client.instances.Delete(instances_pb2.DeleteInstanceRequest(instance=ref(name)), timeout=20)


async def test_a_fallback_directory_is_for_an_instance_that_has_none(
    client: Client, name: str, daemon: RunningSupervisor
) -> None:
    first, second = daemon.home.root / "first", daemon.home.root / "second"
    for directory in (first, second):
        directory.mkdir()
    made = [await client.ask("hello", name, cwd="", fallback_cwd=str(where)) for where in (first, second)]
    assert [turn.cwd for turn in made] == [str(first), str(first)], "a new instance keeps to it"
    there = await client.ask("hello", name, cwd=client.cwd, fallback_cwd=str(second))
    assert there.cwd == client.cwd


async def test_two_asks_at_once_make_one_instance(client: Client, name: str, daemon: RunningSupervisor) -> None:
    before = len(app_servers(daemon))
    turns = await asyncio.gather(client.ask("one", name), client.ask("two", name))
    assert len({turn.thread_id for turn in turns}) == 1
    assert len(app_servers(daemon)) == before + 1


async def test_watching_shows_the_states_as_they_come_and_the_end(client: Client, model: StubModel, name: str) -> None:
    await client.instances.Configure(instances_pb2.ConfigureRequest(instance=ref(name), cwd=client.cwd))
    seen: list[str] = []
    everybody: list[tuple[str, bool]] = []

    async def watch() -> None:
        request = instances_pb2.WatchInstancesRequest(instance=ref(name))
        async for change in client.instances.Watch(request):
            state = instances_pb2.InstanceState.Name(change.instance.state).removeprefix("INSTANCE_STATE_")
            seen.append("DELETED" if change.deleted else state)

    async def watch_all() -> None:
        async for change in client.instances.Watch(instances_pb2.WatchInstancesRequest()):
            everybody.append((change.instance.id, change.deleted))
            if change.deleted:
                return

    watching, watching_all = asyncio.ensure_future(watch()), asyncio.ensure_future(watch_all())
    await wait_for(lambda: seen, what="the present state")
    gate = model.gate()
    model.script(gate, Text("done"))
    asked = asyncio.ensure_future(client.ask("hello", name))
    await gate.reached()
    await wait_for(lambda: seen[-1] == "BUSY")
    gate.release()
    await asked
    await client.instances.Delete(instances_pb2.DeleteInstanceRequest(instance=ref(name)), timeout=20)
    await asyncio.wait_for(watching, 10)
    await asyncio.wait_for(watching_all, 10)
    assert seen[0] == "STOPPED"
    assert "BUSY" in seen
    assert seen[-1] == "DELETED"
    assert everybody[-1] == (name, True)


async def test_deleting_forgets_everything_and_leaves_no_process(
    client: Client, model: StubModel, name: str, daemon: RunningSupervisor
) -> None:
    others = app_servers(daemon)
    turn = await client.ask("hello", name)
    gate = model.gate()
    model.script(gate, Text("never seen"))
    asked = asyncio.ensure_future(client.ask("long", name))
    await gate.reached()
    async with is_error("FAILED_PRECONDITION") as refusal:
        await client.instances.Delete(instances_pb2.DeleteInstanceRequest(instance=ref(name)), timeout=20)
    assert "--force" in refusal.next_step
    delete = instances_pb2.DeleteInstanceRequest(instance=ref(name), force=True)
    more = [asyncio.ensure_future(client.ask(f"more {number}", name)) for number in range(5)]
    await client.instances.Delete(delete, timeout=20)
    assert (await asked).outcome == outcome_pb2.OUTCOME_CANCELLED
    # An ask that came at the same moment was refused, was cancelled, or made the instance anew: it is not hanging.
    await asyncio.wait_for(asyncio.gather(*more, return_exceptions=True), 20)
    async with is_error("NOT_FOUND", optional=True):
        await client.instances.Delete(delete, timeout=20)
    async with is_error("NOT_FOUND"):
        await client.turns.Get(turns_pb2.GetTurnRequest(turn_id=turn.id))
    assert app_servers(daemon) == others


async def test_instances_that_do_not_exist_or_have_no_name(client: Client, name: str) -> None:
    await start(client, name)
    for missing, status in (
        (ref(name + "x"), "NOT_FOUND"),
        (ref("../../etc/passwd"), "INVALID_ARGUMENT"),
        (ref(""), "INVALID_ARGUMENT"),
        (ref("a" * 65), "INVALID_ARGUMENT"),
        (instances_pb2.InstanceRef(), "INVALID_ARGUMENT"),
        (instances_pb2.InstanceRef(workspace="relative"), "INVALID_ARGUMENT"),
        (instances_pb2.InstanceRef(workspace="/no/such"), "NOT_FOUND"),
        (instances_pb2.InstanceRef(claude_session="nobody"), "NOT_FOUND"),
    ):
        for call in (
            client.instances.Get(instances_pb2.GetInstanceRequest(instance=missing)),
            client.instances.Stop(instances_pb2.StopRequest(instance=missing)),
            client.instances.Restart(instances_pb2.RestartRequest(instance=missing)),
            client.instances.Delete(instances_pb2.DeleteInstanceRequest(instance=missing)),
        ):
            async with is_error(status) as refusal:
                await call
        if missing.id == name + "x":
            assert repr(name) in refusal.next_step or name in refusal.next_step, "the nearest name is given"
