"""One run of the chaos: the model, the supervisor, the clients and the faults, and then the audit."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc.aio
import yaml
from codex_control.v1 import instances_pb2, instances_pb2_grpc

from tests.faults.chaos.clients import MANNERS, WEIGHTS, Asked, Client
from tests.faults.chaos.faults import Faults, child_count, processes_of
from tests.faults.chaos.questions import random_question
from tests.faults.chaos.service import Service
from tests.support.codex_home import REPOSITORY, CodexHome, codex_home_below, short_private_dir

INSTANCES = 5
CLIENTS = 8
# From here on, as a part of the time, the supervisor is spared: the audit wants one that has seen much.
CALM_AFTER = 0.75
SAMPLE_INTERVAL_S = 0.1
SETTLE_LIMIT_S = 5.0

# gRPC's core opens and closes these by itself.
_POLLERS = ("anon_inode:[eventpoll]", "anon_inode:[eventfd]")

# Deaths are the order of the day here: nothing may be given up for their number. The rest is as users have it, but
# that probes come soon enough to find a stopped child within the run, and that nothing is pruned before the audit.
_SETTINGS: dict[str, object] = {
    "metrics": {"port": 0},
    "instances": {
        "restart_burst": 1000,
        "restart_refill": 1,
        "backoff_initial": 0.02,
        "backoff_max": 0.5,
        "probe_interval": 1,
        "probe_timeout": 1,
        "probe_misses": 2,
        # So that instances fall asleep and are woken all the time.
        "idle_after": 1,
    },
    # Codex's sandbox would end with each command what it left; without it, that is the supervisor's.
    "profiles": {"open": {"sandbox": "danger-full-access"}},
    "defaults": {"profile": "open"},
    "turns": {"max_recoveries": 100, "queue_limit": 1000},
    "history": {"entries_per_instance": 1_000_000, "events_kept": 100_000},
    "log": {"file_limit": "256 MiB"},
}


@dataclass
class Evidence:
    """All that the audit judges by."""

    home: CodexHome
    asked: list[Asked] = field(default_factory=list)
    faults: Counter[str] = field(default_factory=Counter)
    supervisor_starts: int = 0
    supervisor_exits: list[int] = field(default_factory=list)
    back_after_s: list[float] = field(default_factory=list)
    most_children: int = 0
    files_of_the_last: Counter[str] = field(default_factory=Counter)
    files_of_a_fresh_one: Counter[str] = field(default_factory=Counter)
    memory_of_the_last_bytes: int = 0
    orphans: dict[int, str] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    """What went wrong in the harness's own dealings with the service."""

    @property
    def state_dir(self) -> Path:
        """Where the store is."""
        return self.home.home / ".local/state/codex-supervisor"

    @property
    def log(self) -> Path:
        """What the supervisors said, all of them."""
        return self.home.root / "serve.log"


@contextlib.asynccontextmanager
async def evidence_of(seconds: float, seed: int, codex: Path) -> AsyncIterator[Evidence]:
    """Run the chaos for `seconds` and yield what is to be judged; its files go when the block ends."""
    with codex_home_below() as home, short_private_dir() as runtime_dir:
        async with _model() as port:
            home.configure(f"http://127.0.0.1:{port}/v1")
            evidence = Evidence(home)
            settings = {**_SETTINGS, "codex": {"binary": str(codex)}}
            config = home.home / ".config/codex-supervisor/config.yaml"
            config.parent.mkdir(parents=True)
            config.write_text(yaml.safe_dump(settings))
            # For a tree other than the installed one.
            path = {name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ}
            service = Service(
                home.environment(runtime_dir, **path), runtime_dir / "codex-supervisor" / "control.sock", evidence.log
            )
            try:
                await _run(evidence, service, runtime_dir, seconds, seed)
            except Exception as error:
                evidence.broken.append(f"{type(error).__name__}: {error}")
                await service.abandon()
            evidence.supervisor_starts = service.starts
            evidence.supervisor_exits = service.ended
            evidence.back_after_s = service.back_after_s
        yield evidence


async def _run(evidence: Evidence, service: Service, runtime_dir: Path, seconds: float, seed: int) -> None:
    chance = random.Random(seed)
    await service.start()
    until = time.monotonic() + seconds
    numbers = iter(range(1, 1_000_000))

    async def client(own_chance: random.Random) -> None:
        one = Client(service.socket, str(evidence.home.workspace), own_chance)
        while time.monotonic() < until:
            question = random_question(next(numbers), own_chance)
            manner = own_chance.choices(MANNERS, WEIGHTS)[0]
            asked = Asked(question, f"chaos-{own_chance.randrange(INSTANCES)}", manner)
            evidence.asked.append(asked)
            await one.ask(asked)

    async def count_children() -> None:
        while True:
            evidence.most_children = max(evidence.most_children, child_count(str(runtime_dir)))
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    faults = Faults(service, str(runtime_dir), random.Random(chance.random()))
    counting = asyncio.get_running_loop().create_task(count_children())
    clients = [client(random.Random(chance.random())) for _ in range(CLIENTS)]
    try:
        # When the faults are over the clients still wait for their last outcomes.
        await asyncio.gather(faults.run(seconds, CALM_AFTER * seconds), *clients)
    finally:
        counting.cancel()
        evidence.faults = faults.counts
    await service.ready()
    await _look_for_leaks(evidence, service)
    code = await service.stop()
    if code != 0:
        evidence.broken.append(f"the last supervisor ended with {code}")
    evidence.orphans = processes_of(evidence.home.root) | processes_of(runtime_dir)


async def _look_for_leaks(evidence: Evidence, service: Service) -> None:
    """Take the open files of the last supervisor and of a fresh one, both without a child and without a caller."""
    await _stop_all(service)
    # Our own channels hold their connections until the collector comes by.
    gc.collect()
    last = service.pid
    assert last is not None, "the last supervisor is gone"
    evidence.memory_of_the_last_bytes = _memory_bytes(last)
    evidence.files_of_the_last = await _settled_files(last)
    service.signal(signal.SIGTERM)
    await service.ready()
    assert service.pid is not None, "the fresh supervisor is gone"
    evidence.files_of_a_fresh_one = await _settled_files(service.pid)


async def _stop_all(service: Service) -> None:
    async with grpc.aio.insecure_channel(f"unix:{service.socket}") as channel:
        instances = instances_pb2_grpc.InstancesStub(channel)
        listed = await instances.List(instances_pb2.ListInstancesRequest(), timeout=10)
        for instance in listed.instances:
            ref = instances_pb2.InstanceRef(id=instance.id)
            await instances.Stop(instances_pb2.StopRequest(instance=ref), timeout=30)


async def _settled_files(pid: int) -> Counter[str]:
    """The kinds of open files of a process, once their number stands still: closing goes through other threads."""
    deadline = time.monotonic() + SETTLE_LIMIT_S
    files, same = _files(pid), 0
    while same < 10 and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        now = _files(pid)
        files, same = now, same + 1 if now == files else 0
    return files


def _files(pid: int) -> Counter[str]:
    kinds: Counter[str] = Counter()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(OSError):
            target = str(entry.readlink())
            if target not in _POLLERS:
                kinds[target.partition("[")[0] if target.startswith(("socket:", "pipe:")) else target] += 1
    return kinds


def _memory_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS"))


@contextlib.asynccontextmanager
async def _model() -> AsyncIterator[int]:
    """The model's process; yields its port."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.faults.chaos.model",
        cwd=REPOSITORY,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        # It complains of every reader that was killed.
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield int(await asyncio.wait_for(process.stdout.readline(), 30))
    finally:
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 10)
