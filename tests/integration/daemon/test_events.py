"""What a person sees of the supervisor's decisions, as they are made."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from codex_control.v1 import admin_pb2, instances_pb2, outcome_pb2

from tests.faults.watching import asking, kill_child
from tests.integration.daemon.talking import is_error
from tests.support.model_script import Text
from tests.support.stub_model import StubModel
from tests.support.supervisor import Client, RunningSupervisor, ref
from tests.support.waiting import wait_for

pytestmark = pytest.mark.asyncio(loop_scope="module")

DAEMON_SETTINGS = {"turns": {"queue_limit": 1}}


@dataclass
class Followed:
    """The lines of a `codexctl events -f` that runs."""

    lines: list[str] = field(default_factory=list)

    async def reached(self, pattern: str) -> str:
        """Wait for the first line that matches."""

        def first() -> str | None:
            return next((line for line in self.lines if re.search(pattern, line)), None)

        found = await wait_for(first, 20, f"a line {pattern!r}; there are {self.lines}")
        assert found is not None
        return found


@asynccontextmanager
async def following(daemon: RunningSupervisor, *arguments: str) -> AsyncIterator[Followed]:
    """Run `codexctl events -f` in a process of its own while the block runs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "codexctl", "events", "--follow", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env=daemon.environment | {"CODEXCTL_NO_START": "1"},
    )
    followed = Followed()

    async def collect() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            followed.lines.append(line.decode().rstrip("\n"))

    reading = asyncio.create_task(collect())
    try:
        yield followed
    finally:
        process.terminate()
        await asyncio.wait_for(process.wait(), 20)
        await reading


async def events_of(client: Client, name: str = "") -> list[admin_pb2.EventsResponse]:
    request = admin_pb2.EventsRequest(instance=ref(name) if name else None, tail=1000)
    return [event async for event in client.admin.Events(request)]


async def test_an_ask_a_kill_and_a_stop_are_seen_as_lines(
    daemon: RunningSupervisor, client: Client, model: StubModel, name: str
) -> None:
    gate = model.gate()
    model.script(Text("half, "), gate.step, Text("never sent"))
    model.script(Text("the whole answer"))
    await client.instances.Start(instances_pb2.StartRequest(instance=ref(name), cwd=client.cwd))
    async with following(daemon, "-i", name) as followed:
        await followed.reached("starting -> ready: the child is ready$")
        async with asking(daemon, "a long question", name) as asked:
            await asked.reached("text")
            await kill_child(daemon, name)
            turn = await asked.turn()
        gate.release()
        assert turn.outcome == outcome_pb2.OUTCOME_COMPLETED
        await client.instances.Stop(instances_pb2.StopRequest(instance=ref(name)), timeout=20)
        await followed.reached("stopping -> stopped")

    assert all(re.match(rf"\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d (\[\w+\] )?{name}: ", line) for line in followed.lines)
    told = [re.sub(rf"^\S+ \S+ (\[\w+\] )?{name}: ", r"\1", line) for line in followed.lines]
    expected = [
        r"stopped -> starting: somebody wants it up; child 1 is started",
        r"starting -> ready: the child is ready",
        rf"ready -> busy: a turn was accepted; turn {turn.id} runs",
        rf"busy -> (backoff|starting): the child died \(.*SIGKILL.*\); .* and carries turn {turn.id} on",
        rf"starting -> busy: the child is ready; turn {turn.id} runs",
        rf"\[warning\] turn {turn.id}: the child died .*; it goes on from what the thread kept \(0 commands, 0 .*",
        rf"turn {turn.id} completed after [\d.]+ s",
        r"busy -> ready: the turn is over",
        r"ready -> stopping: somebody wants it down; the child is ended, then it stays down",
        r"stopping -> stopped: everything that the child had started is gone",
    ]
    seen = iter(told)
    for pattern in expected:
        assert any(re.fullmatch(pattern, line) for line in seen), f"{pattern!r} is not in its place in {told}"


async def test_a_refused_turn_a_reload_and_a_drain_are_events(
    daemon: RunningSupervisor, client: Client, model: StubModel, name: str
) -> None:
    gate = model.gate()
    model.script(gate.step, Text("one"))
    model.script(Text("two"))
    async with asking(daemon, "one", name) as one:
        await one.reached("started")
        async with asking(daemon, "two", name) as two:
            await two.reached("accepted")
            async with is_error("RESOURCE_EXHAUSTED"):
                await client.ask("three", name)
            gate.release()
            await one.turn()
            await two.turn()
    (refused,) = [event for event in await events_of(client, name) if event.event == "queue_full"]
    assert refused.sentence == "a turn was refused: 1 wait already (turns.queue_limit)"
    assert (refused.instance, refused.level, dict(refused.fields)) == (name, "info", {"limit": "1"})

    await client.admin.Reload(admin_pb2.ReloadRequest())
    await client.admin.Drain(admin_pb2.DrainRequest())
    await client.admin.Drain(admin_pb2.DrainRequest(resume=True))
    own = [event for event in await events_of(client) if not event.instance]
    assert [event.event for event in own][-3:] == ["reloaded", "drain_began", "drain_ended"]
    assert own[0].event == "ready"
    assert all(event.sentence and event.at.seconds for event in own)


async def test_the_tail_counts_events_and_not_other_records(client: Client, name: str) -> None:
    await client.ask("hello", name)
    request = admin_pb2.EventsRequest(instance=ref(name), tail=2)
    last = [event async for event in client.admin.Events(request)]
    assert [event.event for event in last] == ["turn_ended", "state_changed"]
    assert last == (await events_of(client, name))[-2:]


async def test_json_has_the_record_beside_the_sentence(daemon: RunningSupervisor, client: Client, name: str) -> None:
    turn = await client.ask("hello", name)
    async with following(daemon, "-i", name, "--json") as followed:
        line = await followed.reached("turn_ended")
    event = json.loads(line)
    assert event["fields"]["turn"] == turn.id
    assert event["fields"]["outcome"] == "completed"
    assert event["sentence"].startswith(f"turn {turn.id} completed after ")


async def test_events_of_an_unknown_instance_are_refused(client: Client) -> None:
    async with is_error("NOT_FOUND"):
        await events_of(client, "nobody")
