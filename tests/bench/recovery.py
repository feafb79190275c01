"""How soon a turn goes on after a death: of the child, against bare Codex, and of the supervisor."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from contextlib import AsyncExitStack

from codex_control.v1 import instances_pb2, turns_pb2

from tests.bench.figures import Case, Goal
from tests.bench.place import BareCodex, Place, since_ms
from tests.support.model_script import Text
from tests.support.supervisor import RunningSupervisor, ref

ADOPTED_CHILDREN = 5


async def measure_recovery(place: Place, supervisor: RunningSupervisor, rounds: int) -> list[Case]:
    """From the SIGKILL in mid-turn until the model is asked again, each time in a conversation of its own.

    So each death is the instance's first: later ones within a minute wait on purpose.
    """
    limit = Case("recovery", "bare Codex: spawn, initialize, resume, turn/start")
    recovery = Case("recovery", "supervised", against=limit, goal=Goal(1.3))
    for number in range(-1, rounds):
        samples = ((limit, await _bare_ms(place)), (recovery, await _supervised_ms(place, supervisor)))
        if number >= 0:
            for case, sample in samples:
                case.add(sample)
    return [limit, recovery]


async def _bare_ms(place: Place) -> float:
    async with AsyncExitStack() as stack:
        first = BareCodex(place)
        stack.callback(first.kill)
        await first.start(stack)
        thread = await first.thread()
        await first.turn_ms(thread, "hello")
        held, again = await _script_two_halves(place)
        await first.client.request("turn/start", {"threadId": thread, "input": [{"type": "text", "text": "go"}]})
        await place.stub.wait_for_gate(held)
        second = BareCodex(place)
        stack.callback(second.kill)
        asked_again = await _listening(place, again)
        began = time.perf_counter()
        # The thread's one writer is gone when its process is.
        await first.killed()
        await second.start(stack)
        await second.client.request(
            "thread/resume",
            {
                "threadId": thread,
                "excludeTurns": True,
                "cwd": str(place.home.workspace),
                "approvalPolicy": "on-request",
                "sandbox": "workspace-write",
            },
        )
        await second.client.request("turn/start", {"threadId": thread, "input": []})
        await asked_again
        took_ms = since_ms(began)
        await place.stub.release(again)
        await second.client.wait_for_message("turn/completed")
        return took_ms


async def _supervised_ms(place: Place, supervisor: RunningSupervisor) -> float:
    name = f"death-{uuid.uuid4().hex[:8]}"
    await supervisor.client.ask("hello", name)
    held, again = await _script_two_halves(place)
    events: list[turns_pb2.TurnEvent] = []

    async def ask() -> None:
        events.extend(await supervisor.client.events("go", name))

    loop = asyncio.get_running_loop()
    asking = loop.create_task(ask())
    await place.stub.wait_for_gate(held)
    child = (await supervisor.client.instance(name)).child
    asked_again = await _listening(place, again)
    began = time.perf_counter()
    os.kill(child.pid, signal.SIGKILL)
    await asked_again
    took_ms = since_ms(began)
    await place.stub.release(again)
    await asking
    turn = events[-1].ended.turn
    assert turn.answer == "the second half", turn
    assert turn.recoveries == 1, turn
    await supervisor.client.instances.Stop(instances_pb2.StopRequest(instance=ref(name)))
    return took_ms


async def _script_two_halves(place: Place) -> tuple[str, str]:
    """The next request is held in mid-stream, the one after it is held too and then answered."""
    held, again = place.stub.gate(f"held-{uuid.uuid4().hex}"), place.stub.gate(f"again-{uuid.uuid4().hex}")
    await place.stub.script(Text("the first half"), held)
    await place.stub.script(again, Text("the second half"))
    return held.name, again.name


async def _listening(place: Place, gate: str) -> asyncio.Task[None]:
    """Start to wait for a request at `gate`."""
    task = asyncio.get_running_loop().create_task(place.stub.wait_for_gate(gate))
    # The wait's own connection is made before the clock runs.
    await asyncio.sleep(0.02)
    return task


async def measure_adoption(place: Place, rounds: int) -> list[Case]:
    """From the SIGKILL of the supervisor until its successor, started at once, has adopted all and answers an ask."""
    answers = Case("adoption", f"supervisor killed, {ADOPTED_CHILDREN} children adopted, calls answered")
    asks = Case("adoption", "… and the first ask answered")
    async with place.supervisor() as supervisor:
        names = [f"adopted-{number}" for number in range(ADOPTED_CHILDREN)]
        await asyncio.gather(*(supervisor.client.ask("hello", name) for name in names))
        pids = [await _pid(supervisor, name) for name in names]
        for number in range(-1, rounds):
            began = time.perf_counter()
            await supervisor.restart()
            answers_ms = since_ms(began)
            turn = await supervisor.client.ask(f"round {number}", names[0])
            asks_ms = since_ms(began)
            assert turn.answer == f"stub: round {number}", turn
            assert [await _pid(supervisor, name) for name in names] == pids, "not every child was adopted"
            if number >= 0:
                answers.add(answers_ms)
                asks.add(asks_ms)
    return [answers, asks]


async def _pid(supervisor: RunningSupervisor, name: str) -> int:
    return (await supervisor.client.instance(name)).child.pid
