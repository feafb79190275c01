"""Tasks: handing over durably, the way to the first event and from the end, and what very many of them cost.

Tasks that shall not run carry a label that no worker has.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc.aio
from codex_control.task_id import new_task_id
from codex_control.v1 import tasks_pb2, tasks_pb2_grpc

from tests.bench.figures import Case, Goal
from tests.bench.load import resident_mib
from tests.bench.place import PROGRAMS, Place, since_ms
from tests.support.supervisor import RunningSupervisor

CLIENTS = 16
WARM_UP_ROUNDS = 2
NOWHERE = ("nowhere",)

_TABLE = "CREATE TABLE tasks (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, request TEXT NOT NULL)"


async def measure_submits(place: Place, rounds: int, submits: int) -> list[Case]:
    """In each round so many durable submits: by one client, by many at once, and bare, in turn."""
    limit = Case("tasks", "SQLite insert, synchronous=FULL", unit="1/s")
    one = Case("tasks", "Tasks.Submit, 1 client", unit="1/s", against=limit)
    many = Case("tasks", f"Tasks.Submit, {CLIENTS} clients", unit="1/s", against=limit)
    rival = Case("tasks", "pueue add")
    control = Case("tasks", "codexctl task submit", against=rival)
    codexctl = str(PROGRAMS / "codexctl")
    async with place.supervisor() as supervisor, _clients(supervisor) as clients, _pueue(place) as pueue:
        database = supervisor.state_dir / "bare.db"
        bare = _bare_database(database)
        try:
            for number in range(-WARM_UP_ROUNDS, rounds):
                bare_rate = _inserts(bare, submits)
                one_rate = await _submits(place, clients[:1], submits)
                many_rate = await _submits(place, clients, submits)
                control_ms, _ = place.run(codexctl, "task", "submit", "--cwd", ".", "--label", NOWHERE[0], "hello")
                pueue_ms = place.run(pueue, "add", "--stashed", "--", "true")[0] if pueue else None
                if number >= 0:
                    limit.add(bare_rate)
                    one.add(one_rate)
                    many.add(many_rate)
                    control.add(control_ms)
                    if pueue_ms is not None:
                        rival.add(pueue_ms)
        finally:
            bare.close()
    return [limit, one, many, rival, control]


async def _submits(place: Place, clients: list[tasks_pb2_grpc.TasksStub], submits: int) -> float:
    """Hand `submits` tasks over, the clients side by side; return how many a second."""
    spec = tasks_pb2.TaskSpec(prompt="hello", cwd=str(place.home.workspace), labels=NOWHERE)

    async def hand_over(client: tasks_pb2_grpc.TasksStub) -> None:
        for _ in range(submits // len(clients)):
            await client.Submit(tasks_pb2.SubmitTaskRequest(id=new_task_id(time.time_ns()), spec=spec))

    began = time.perf_counter()
    await asyncio.gather(*(hand_over(client) for client in clients))
    return submits // len(clients) * len(clients) / (time.perf_counter() - began)


def _bare_database(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, isolation_level=None)
    for pragma in ("journal_mode=WAL", "synchronous=FULL"):
        database.execute(f"PRAGMA {pragma}")
    database.execute(_TABLE)
    return database


def _inserts(database: sqlite3.Connection, inserts: int) -> float:
    """Insert rows, each in a transaction of its own; return how many a second."""
    began = time.perf_counter()
    for _ in range(inserts):
        row = (new_task_id(time.time_ns()), '{"prompt": "hello"}')
        database.execute("INSERT INTO tasks (id, request) VALUES (?, ?)", row)
    return inserts / (time.perf_counter() - began)


async def measure_ends(place: Place, rounds: int) -> list[Case]:
    """Tasks that run, one after the other: to the first event of the child, and from the end to who waits."""
    first = Case("tasks", "submit to the first event of the child")
    api = Case("tasks", "end to Tasks.Wait")
    process = Case("tasks", "end to the end of codexctl task wait")
    async with place.supervisor() as supervisor:
        tasks = supervisor.client.tasks
        for number in range(-WARM_UP_ROUNDS, rounds):
            # Two tasks: a process that starts to wait would take the processors from the child that starts.
            first_ms = await _first_event_ms(place, tasks, number)
            waited_ms, left_ms = await _end_to_waiters_ms(place, tasks, number)
            if number >= 0:
                first.add(first_ms)
                api.add(waited_ms)
                process.add(left_ms)
    return [first, api, process]


async def _first_event_ms(place: Place, tasks: tasks_pb2_grpc.TasksStub, number: int) -> float:
    began = time.perf_counter()
    request = tasks_pb2.WatchTasksRequest(tasks=[tasks_pb2.TaskPosition(id=await _submit(place, tasks, number))])
    first_ms = 0.0
    async for answer in tasks.Watch(request):
        # What the engine itself tells (accepted, attempt 1) is no sign of the child.
        if not first_ms and answer.event.WhichOneof("event") in ("progress", "item"):
            first_ms = since_ms(began)
    assert first_ms, "the task ended without an event of its child"
    return first_ms


async def _end_to_waiters_ms(place: Place, tasks: tasks_pb2_grpc.TasksStub, number: int) -> tuple[float, float]:
    task_id = await _submit(place, tasks, number)
    wait = asyncio.ensure_future(tasks.Wait(tasks_pb2.WaitTasksRequest(ids=[task_id])))
    waiting = await asyncio.create_subprocess_exec(
        *(str(PROGRAMS / "codexctl"), "task", "wait", task_id),
        env=place.environment,
        cwd=place.home.workspace,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    (ended,) = (await wait).tasks
    waited_ns = time.time_ns()
    await waiting.wait()
    left_ns = time.time_ns()
    assert ended.result.answer == f"stub: round {number}", ended
    end_ns = ended.ended_at.ToNanoseconds()
    return (waited_ns - end_ns) / 1e6, (left_ns - end_ns) / 1e6


async def _submit(place: Place, tasks: tasks_pb2_grpc.TasksStub, number: int) -> str:
    task_id = new_task_id(time.time_ns())
    spec = tasks_pb2.TaskSpec(prompt=f"round {number}", cwd=str(place.home.workspace))
    await tasks.Submit(tasks_pb2.SubmitTaskRequest(id=task_id, spec=spec))
    return task_id


async def measure_many(place: Place, ended: int, pending: int, waiting: int, starts: int) -> list[Case]:
    """Start with none and with very many tasks, in turn; then the memory with many that wait."""
    empty = Case("tasks", "start, no tasks")
    full = Case("tasks", f"start, {ended:,} ended and {pending:,} pending tasks", goal=Goal(1000))
    none = Case("tasks", "supervisor, no tasks", unit="MiB")
    many = Case("tasks", f"supervisor, {waiting:,} pending tasks", unit="MiB", against=none)
    async with place.supervisor() as supervisor:
        database = supervisor.state_dir / "tasks.db"
        marks = supervisor.state_dir / "task-files"
        none.add(resident_mib(supervisor.pid))
        clients = [supervisor.client.tasks]
        await _submits(place, clients, 1)
        task_id = new_task_id(time.time_ns())
        spec = tasks_pb2.TaskSpec(prompt="hello", cwd=str(place.home.workspace))
        await clients[0].Submit(tasks_pb2.SubmitTaskRequest(id=task_id, spec=spec))
        await clients[0].Wait(tasks_pb2.WaitTasksRequest(ids=[task_id]))
    keep = place.home.root / "few.db"
    shutil.copyfile(database, keep)
    large = place.home.root / "many.db"
    shutil.copyfile(database, large)
    _multiply(large, ended, pending)
    for number in range(-1, starts):
        for case, source in ((empty, keep), (full, large)):
            _replace(database, source)
            shutil.rmtree(marks, ignore_errors=True)
            _mark_pending(database, marks)
            began = time.perf_counter()
            async with place.supervisor() as supervisor:
                took_ms = since_ms(began)
                if number >= 0:
                    case.add(took_ms)
    _multiply(keep, 1, waiting)
    _replace(database, keep)
    shutil.rmtree(marks, ignore_errors=True)
    _mark_pending(database, marks)
    async with place.supervisor() as supervisor, _clients(supervisor) as clients:
        counted = await clients[0].Count(tasks_pb2.CountTasksRequest())
        states = {one.state: one.count for one in counted.counts}
        assert states[tasks_pb2.TASK_STATE_PENDING] == waiting, states
        many.add(resident_mib(supervisor.pid))
    return [empty, full, none, many]


def _mark_pending(database: Path, marks: Path) -> None:
    """Mark the state files of pending tasks as open, as submits do."""
    marks.mkdir(mode=0o700, exist_ok=True)
    reading = sqlite3.connect(database)
    for (task_id,) in reading.execute("SELECT id FROM tasks WHERE ended_ns IS NULL"):
        (marks / task_id).touch()
    reading.close()


def _replace(database: Path, source: Path) -> None:
    for ending in ("-wal", "-shm"):
        database.with_name(database.name + ending).unlink(missing_ok=True)
    shutil.copyfile(source, database)


def _multiply(path: Path, ended: int, pending: int) -> None:
    """Bring a database with one ended and one pending task to so many of each, with their events: rows are copied."""
    database = sqlite3.connect(path, isolation_level=None)
    columns = [row[1] for row in database.execute("PRAGMA table_info(tasks)") if row[1] not in ("number", "id")]
    names = ", ".join(columns)
    database.execute("BEGIN")
    for condition, wanted in (("ended_ns IS NOT NULL", ended), ("ended_ns IS NULL", pending)):
        (number,) = database.execute(f"SELECT number FROM tasks WHERE {condition}").fetchone()
        (last,) = database.execute("SELECT max(number) FROM tasks").fetchone()
        database.execute(
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)"
            f" INSERT INTO tasks (number, id, {names}) SELECT ? + i, 'copy-' || (? + i), {names} FROM n, tasks"
            " WHERE number = ? AND ? > 1 ORDER BY i",
            (wanted - 1, last, last, number, wanted),
        )
        database.execute(
            "INSERT INTO events (task, seq, payload) SELECT t.number, e.seq, e.payload FROM tasks t, events e"
            " WHERE t.number > ? AND e.task = ?",
            (last, number),
        )
    database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()


@asynccontextmanager
async def _clients(supervisor: RunningSupervisor) -> AsyncIterator[list[tasks_pb2_grpc.TasksStub]]:
    """Clients with a connection each."""
    options = [("grpc.use_local_subchannel_pool", 1)]
    channels = [grpc.aio.insecure_channel(f"unix:{supervisor.socket}", options=options) for _ in range(CLIENTS)]
    try:
        yield [tasks_pb2_grpc.TasksStub(channel) for channel in channels]
    finally:
        for channel in channels:
            await channel.close()


@asynccontextmanager
async def _pueue(place: Place) -> AsyncIterator[str]:
    """The path of `pueue` with its service running; empty where it is not installed."""
    program, daemon = shutil.which("pueue"), shutil.which("pueued")
    if program is None or daemon is None:
        yield ""
        return
    running = subprocess.Popen(
        [daemon], env=place.environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 10
        while subprocess.run([program, "status"], env=place.environment, capture_output=True).returncode:
            assert time.monotonic() < deadline, "pueued does not answer"
            await asyncio.sleep(0.05)
        yield program
    finally:
        running.terminate()
        running.wait()
