"""What the fault tests share: asking in the background, and looking at processes from outside."""

from __future__ import annotations

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from codex_control.v1 import turns_pb2

from tests.support.supervisor import RunningSupervisor, ref
from tests.support.waiting import wait_for


@dataclass
class Asked:
    """An ask or a review whose events are collected while the test does something else."""

    request: turns_pb2.AskRequest | turns_pb2.ReviewRequest
    events: list[turns_pb2.TurnEvent] = field(default_factory=list)
    task: asyncio.Task[None] | None = None

    def kinds(self) -> list[str]:
        """The kinds of the events so far."""
        return [event.WhichOneof("event") or "" for event in self.events]

    async def reached(self, kind: str, timeout_s: float = 20.0) -> turns_pb2.TurnEvent:
        """Wait for the first event of this kind."""

        def first() -> turns_pb2.TurnEvent | None:
            return next((event for event in self.events if event.WhichOneof("event") == kind), None)

        found = await wait_for(first, timeout_s, f"an event {kind}; there are {self.kinds()}")
        assert found is not None
        return found

    async def turn(self, timeout_s: float = 40.0) -> turns_pb2.Turn:
        """Wait for the end, and return the record."""
        assert self.task is not None
        await asyncio.wait_for(asyncio.shield(self.task), timeout_s)
        assert self.kinds().count("ended") == 1, self.kinds()
        return self.events[-1].ended.turn

    def reports(self) -> list[turns_pb2.RecoveryReport]:
        """The recovery reports so far."""
        return [event.recovery for event in self.events if event.HasField("recovery")]


@asynccontextmanager
async def asking(
    supervisor: RunningSupervisor, prompt: str, instance: str = "main", **more: object
) -> AsyncIterator[Asked]:
    """Ask, and collect the events while the block runs."""
    request = supervisor.client.request(prompt, instance, **more)
    async with _collecting(Asked(request), supervisor.client.turns.Ask(request)) as asked:
        yield asked


@asynccontextmanager
async def reviewing(supervisor: RunningSupervisor) -> AsyncIterator[Asked]:
    """Have the working tree reviewed, and collect the events while the block runs."""
    client = supervisor.client
    request = turns_pb2.ReviewRequest(instance=ref("main"), request_id=str(uuid.uuid4()), cwd=client.cwd, focus="locks")
    async with _collecting(Asked(request), client.turns.Review(request)) as asked:
        yield asked


@asynccontextmanager
async def _collecting(asked: Asked, call: AsyncIterable[Any]) -> AsyncIterator[Asked]:
    async def collect() -> None:
        async for answer in call:
            asked.events.append(answer.event)

    asked.task = asyncio.create_task(collect())
    try:
        yield asked
    finally:
        asked.task.cancel()
        await asyncio.gather(asked.task, return_exceptions=True)


async def recorded_turn(supervisor: RunningSupervisor, turn: str) -> turns_pb2.Turn:
    """The record of a turn, by its id or its request's, once it has ended."""
    request = turns_pb2.AttachRequest(turn_id=turn)
    events = [answer.event async for answer in supervisor.client.turns.Attach(request, timeout=40)]
    assert [event.HasField("ended") for event in events].count(True) == 1
    found: turns_pb2.Turn = events[-1].ended.turn
    return found


async def wait_for_rollout(supervisor: RunningSupervisor, thread: str, text: str) -> None:
    """Wait until Codex has written `text` into the file of a thread."""
    rollouts = supervisor.home.codex_home / "sessions"
    await wait_for(
        lambda: any(text in path.read_text() for path in rollouts.rglob(f"*{thread}*.jsonl")),
        what=f"Codex to have written {text!r}",
    )


async def child_pid(supervisor: RunningSupervisor, instance: str = "main") -> int:
    """The pid of the instance's child."""
    return (await supervisor.client.instance(instance)).child.pid


async def kill_child(supervisor: RunningSupervisor, instance: str = "main") -> int:
    """SIGKILL the instance's child; return its pid."""
    pid = await child_pid(supervisor, instance)
    assert pid > 0, "it has no child"
    os.kill(pid, signal.SIGKILL)
    return pid


def is_running(pid: int) -> bool:
    """Whether a process runs: a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except FileNotFoundError:
        return False


def processes_with(argument: str) -> list[int]:
    """Pids of processes whose command line holds this text; not this process."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if argument in line and is_running(int(entry.name)):
            found.append(int(entry.name))
    return found
