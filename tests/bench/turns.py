"""A turn straight on the app-server, through the supervisor, and as a whole process, against `codex exec`."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial

from tests.bench.figures import Case, Goal
from tests.bench.place import PROGRAMS, Place, since_ms
from tests.support.supervisor import RunningSupervisor

WARM_UP_ROUNDS = 3


async def measure_turns(place: Place, supervisor: RunningSupervisor, rounds: int) -> list[Case]:
    """Take turns: one of each kind in every round, all warm but `codex exec`, which cannot be."""
    limit = Case("ask", "turn on the app-server")
    ask = Case("ask", "Turns.Ask", against=limit, goal=Goal(1.10))
    execute = Case("process", "codex exec")
    control = Case("process", "codexctl ask", against=execute, goal=Goal(0.8, stretch=0.6))
    codexctl = str(PROGRAMS / "codexctl")
    exec_command = (str(place.codex), "exec", "--skip-git-repo-check", "-s", "workspace-write")
    async with place.app_server() as bare:
        thread = await bare.thread()
        for number in range(-WARM_UP_ROUNDS, rounds):
            prompt = f"round {number}"
            turns: list[tuple[Case, Callable[[], Awaitable[float]]]] = [
                (limit, partial(bare.turn_ms, thread, prompt)),
                (ask, partial(_ask_ms, supervisor, prompt)),
                (control, partial(_program_ms, place, prompt, codexctl, "ask", "-i", "bench")),
                (execute, partial(_program_ms, place, prompt, *exec_command)),
            ]
            # Who comes after whom changes from round to round: a process that has just ended leaves cold caches.
            first = number % len(turns)
            for case, turn_ms in turns[first:] + turns[:first]:
                took_ms = await turn_ms()
                if number >= 0:
                    case.add(took_ms)
    return [limit, ask, execute, control]


async def _ask_ms(supervisor: RunningSupervisor, prompt: str) -> float:
    request = supervisor.client.request(prompt, "warm")
    began = time.perf_counter()
    took_ms = 0.0
    answer = ""
    async for response in supervisor.client.turns.Ask(request):
        if response.event.WhichOneof("event") == "ended":
            # As with the app-server, whose turn ends with its last message: the answer is there.
            took_ms = since_ms(began)
            answer = response.event.ended.turn.answer
    assert answer == f"stub: {prompt}", answer
    return took_ms


async def _program_ms(place: Place, prompt: str, *words: str) -> float:
    took_ms, output = place.run(*words, prompt)
    assert output.strip() == f"stub: {prompt}", output
    return took_ms
