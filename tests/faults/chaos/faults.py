"""What is killed, and when: drawn from the seed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from pathlib import Path

from tests.faults.chaos.service import Service

# Mean time between two faults; the times in between are exponential, so that some follow at once.
MEAN_INTERVAL_S = 0.7

FAULTS = {
    "child": 55,
    "supervisor": 20,
    "supervisor while it starts": 8,
    "supervisor and a child": 6,
    "everything": 2,
    "a shell command": 3,
    "child stopped (SIGSTOP)": 2,
    "supervisor restarted (SIGTERM)": 4,
}
"""Faults and their weights. All by SIGKILL but those that say otherwise."""


class Faults:
    """Injects faults. `mark` is what the command lines of the run's children hold."""

    def __init__(self, service: Service, mark: str, chance: random.Random) -> None:
        self._service = service
        self._mark = mark
        self._chance = chance
        self.counts: Counter[str] = Counter()

    async def run(self, seconds: float, calm_after: float) -> None:
        """Inject for `seconds`; after `calm_after` the supervisor is spared, so that one of them gets old."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        while (now := loop.time() - began) < seconds:
            await asyncio.sleep(min(self._chance.expovariate(1 / MEAN_INTERVAL_S), 5.0))
            fault = self._chance.choices(list(FAULTS), list(FAULTS.values()))[0]
            if now > calm_after and "supervisor" in fault:
                fault = "child"
            if await self._inject(fault):
                self.counts[fault] += 1

    async def _inject(self, fault: str) -> bool:
        match fault:
            case "child":
                return self._hit(children(self._mark), signal.SIGKILL)
            case "supervisor":
                return self._service.signal(signal.SIGKILL)
            case "supervisor while it starts":
                hit = self._service.signal(signal.SIGKILL)
                await asyncio.sleep(self._chance.uniform(0.0, 1.5))
                return self._service.signal(signal.SIGKILL) or hit
            case "supervisor and a child":
                hit = self._service.signal(signal.SIGKILL)
                return self._hit(children(self._mark), signal.SIGKILL) or hit
            case "everything":
                hit = self._service.signal(signal.SIGKILL)
                for pid in children(self._mark):
                    hit |= _kill(pid, signal.SIGKILL)
                return hit
            case "a shell command":
                return self._hit(shell_commands(self._mark), signal.SIGKILL)
            case "child stopped (SIGSTOP)":
                return self._hit(children(self._mark), signal.SIGSTOP)
            case _:
                return self._service.signal(signal.SIGTERM)

    def _hit(self, pids: list[int], number: signal.Signals) -> bool:
        return bool(pids) and _kill(self._chance.choice(sorted(pids)), number)


def _kill(pid: int, number: signal.Signals) -> bool:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
        return True
    return False


def children(mark: str) -> list[int]:
    """Pids of the living children: Codex processes that listen below `mark`."""
    return [pid for pid, line in _command_lines() if _is_child(pid, line, mark)]


def child_count(mark: str) -> int:
    """How many children live. By their sockets: what a child starts has its command line until it executes."""
    sockets = (line.partition("unix://")[2].split()[0] for pid, line in _command_lines() if _is_child(pid, line, mark))
    return len(set(sockets))


def _is_child(pid: int, line: str, mark: str) -> bool:
    return "app-server" in line and f"unix://{mark}" in line and _lives(pid)


def shell_commands(mark: str) -> list[int]:
    """Pids of what the children run for the model."""
    found = []
    for pid, line in _command_lines():
        if "echo ran" in line and any(mark in value for value in _environment(pid).values()):
            found.append(pid)
    return found


def processes_of(root: Path) -> dict[int, str]:
    """All living processes of a run but this one: their environment, working directory or command line says so."""
    mark = str(root)
    found = {}
    for pid, line in _command_lines():
        if pid == os.getpid() or not _lives(pid):
            continue
        try:
            cwd = str(Path(f"/proc/{pid}/cwd").readlink())
        except OSError:
            cwd = ""
        if mark in line or cwd.startswith(mark) or any(mark in value for value in _environment(pid).values()):
            found[pid] = line
    return found


def _command_lines() -> list[tuple[int, str]]:
    lines = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            with contextlib.suppress(OSError):
                raw = (process / "cmdline").read_bytes()
                lines.append((int(process.name), raw.replace(b"\0", b" ").decode(errors="replace").strip()))
    return lines


def _environment(pid: int) -> dict[str, str]:
    try:
        block = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in block.split(b"\0") if entry)
    return {name.decode(errors="replace"): value.decode(errors="replace") for name, _, value in pairs}


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in ("Z", "X")
    except OSError:
        return False
