"""What is killed, and when: drawn from the seed."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

import grpc
import grpc.aio
from codex_control.v1 import admin_pb2, admin_pb2_grpc, instances_pb2, instances_pb2_grpc

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
    "supervisor's program replaced": 4,
    "child restarted by a person": 4,
}
"""Faults and their weights. All by SIGKILL but those that say otherwise."""

_CALL_TIMEOUT_S = 5.0


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
            case "supervisor's program replaced":
                return await self._call(_replace_program)
            case "child restarted by a person":
                return await self._call(self._restart_child)
            case _:
                return self._service.signal(signal.SIGTERM)

    async def _call(self, act: Callable[[grpc.aio.Channel], Awaitable[None]]) -> bool:
        options = [("grpc.use_local_subchannel_pool", 1)]
        async with grpc.aio.insecure_channel(f"unix:{self._service.socket}", options=options) as channel:
            try:
                await act(channel)
            except grpc.aio.AioRpcError as error:
                # It was away, or it was killed over it.
                return error.code() not in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.NOT_FOUND)
        return True

    async def _restart_child(self, channel: grpc.aio.Channel) -> None:
        instances = instances_pb2_grpc.InstancesStub(channel)
        listed = await instances.List(instances_pb2.ListInstancesRequest(), timeout=_CALL_TIMEOUT_S)
        names = sorted(instance.id for instance in listed.instances)
        if names:
            ref = instances_pb2.InstanceRef(id=self._chance.choice(names))
            await instances.Restart(instances_pb2.RestartRequest(instance=ref, force=True), timeout=_CALL_TIMEOUT_S)

    def _hit(self, pids: list[int], number: signal.Signals) -> bool:
        return bool(pids) and _kill(self._chance.choice(sorted(pids)), number)


async def _replace_program(channel: grpc.aio.Channel) -> None:
    await admin_pb2_grpc.AdminStub(channel).Reload(admin_pb2.ReloadRequest(exec=True), timeout=_CALL_TIMEOUT_S)


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
