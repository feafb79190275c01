"""Three supervisors, as on three machines, work one queue: whatever one suffers, each task ends exactly once."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest
import yaml
from codex_control.errors import Exit
from codex_control.v1 import tasks_pb2
from psycopg import sql

from tests.acceptance.test_ask_with_codexctl import ctl, finish, start_ctl
from tests.faults.watching import is_running
from tests.integration.task.running import QUICK, ended, events, submit
from tests.support.fake_codex.knobs import Knobs, Stage
from tests.support.model_script import Text
from tests.support.postgresql import missing_server, programs, running_server
from tests.support.stub_model import StubModel
from tests.support.task_fleet import Auditor, Machine, auditing, machines, wait_for_empty, wait_for_tables
from tests.support.waiting import wait_for

SHORT = 60
LONG = 2

# A lease of 9 s: long enough for a machine that is busy with the children of three.
BUSY = {**QUICK, "heartbeat_interval": 3}


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[str]:
    """The DSN of a running server. Asked for by every test here, so that it is there before the search for leaks."""
    named = os.environ.get("TEST_POSTGRES_DSN", "")
    if named or programs() is None:
        yield named
        return
    with running_server() as made:
        yield made.dsn


@pytest.fixture
def dsn(server: str, request: pytest.FixtureRequest) -> Iterator[str]:
    """A database of the test's own, gone at its end."""
    where = server or missing_server()
    name = sql.Identifier(f"fleet_{os.getpid()}_{abs(hash(request.node.name))}")
    with psycopg.connect(where, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(name))
        yield psycopg.conninfo.make_conninfo(where, dbname=name.as_string().strip('"'))
        connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))


@pytest.fixture
async def fleet(dsn: str, stub_model: StubModel, real_codex: Path) -> AsyncIterator[list[Machine]]:
    """Three machines with the real Codex: for the queue `default`, the second with the label `gpu`; the third for the
    queue `night`.
    """
    day: dict[str, object] = {**QUICK, "queues": ["default"]}
    of_each = [day, {**day, "labels": ["gpu"]}, {**QUICK, "queues": ["night"]}]
    async with machines(dsn, of_each, model_url=stub_model.base_url, codex=real_codex) as made:
        await wait_for_tables(dsn)
        yield made


@pytest.fixture
def auditor(dsn: str, fleet: list[Machine]) -> Iterator[Auditor]:
    """Looks into the database of `fleet`."""
    with auditing(dsn) as made:
        yield made


async def label(machine: Machine, *labels: str) -> None:
    """Give a running machine other labels."""
    config = yaml.safe_load(machine.supervisor.config_file.read_text())
    config["tasks"]["labels"] = list(labels)
    machine.supervisor.configure(config)
    done = await ctl(machine.supervisor, "reload")
    assert done.code == Exit.OK, done.err


def queued_at(number: int) -> list[str]:
    """Every fifth task comes after the one before it."""
    return [f"T-{number - 1}"] if number % 5 == 4 else []


async def test_a_machine_dies_amid_many_tasks(dsn: str) -> None:
    async with machines(dsn, [BUSY, BUSY, BUSY]) as fleet:
        await wait_for_tables(dsn)
        with auditing(dsn) as auditor:
            await _machine_dies(fleet, auditor)


async def _machine_dies(fleet: list[Machine], auditor: Auditor) -> None:
    lost, *others = fleet
    # Its first two turns never end; on the other machines all goes well.
    lost.fake.turn_knobs(Knobs(stall_at=Stage.DELTA, starts=tuple(range(1, LONG + 1))))
    names = [f"T-{number}" for number in range(SHORT)]
    for number, name in enumerate(names):
        await submit(fleet[number % 3].supervisor, f"do {number}", name, after=queued_at(number))

    def held() -> list[str]:
        found = auditor.with_thread("w0")
        return found if len(found) == LONG else []

    long = await wait_for(held, 30, "the tasks that never end there")
    children = await lost.die()
    for name in names:
        task = await ended(others[0].supervisor, name, timeout_s=60)
        assert (task.state, task.result.answer) == (tasks_pb2.TASK_STATE_DONE, f"fake: do {name[2:]}"), task
    auditor.check_ended_once(names)
    for name in long:
        (attempt, deaths), *_ = auditor.rows(
            "SELECT (status::json ->> 'attempt')::int, (status::json ->> 'deaths')::int FROM tasks WHERE id = %s", name
        )
        assert (attempt, deaths) == (2, 1), name
        assert "tried again after: worker w0 was lost" in auditor.texts(name)
        found = await events(others[1].supervisor, name)
        (warned,) = (str(event.item.event.warning) for event in found if event.item.event.HasField("warning"))
        assert "its conversation is on w0: here the task starts anew" in warned
    assert not any(is_running(pid) for pid in children)
    before = auditor.rows("SELECT count(*), max(entry) FROM public.audit")

    # It comes back, and finds nothing that is still its own.
    await lost.supervisor.start()
    for machine in fleet:
        await wait_for_empty(machine)
    assert auditor.rows("SELECT count(*), max(entry) FROM public.audit") == before
    await submit(lost.supervisor, "again", "T-again")
    assert (await ended(others[0].supervisor, "T-again")).state == tasks_pb2.TASK_STATE_DONE
    auditor.check_ended_once([*names, "T-again"])


async def test_a_machine_dies_with_the_real_codex_and_another_one_goes_on(
    fleet: list[Machine], auditor: Auditor, stub_model: StubModel
) -> None:
    here, lost, night = fleet
    gate = stub_model.gate()
    stub_model.script(Text("half"), gate)
    stub_model.script(Text("whole"))
    await submit(lost.supervisor, "port it", labels=["gpu"])
    await gate.reached()
    assert auditor.holders() == {"T-1": "w1"}
    await wait_for(lambda: len(auditor.with_thread("w1")) == 1, what="its conversation to be known")
    children = await lost.die()
    gate.release()
    # Another machine gets what this one had.
    await label(here, "gpu")
    auditor.expire("w1")
    task = await ended(night.supervisor)
    assert (task.state, task.result.answer, task.attempt, task.deaths) == (tasks_pb2.TASK_STATE_DONE, "whole", 2, 1)
    assert stub_model.requests[-1].user_texts == ("port it",), "it has no conversation to go on with"
    lines = (await ctl(night.supervisor, "task", "logs", "T-1")).out
    assert "worker w1 was lost" in lines
    assert "its conversation is on w1: here the task starts anew" in lines
    auditor.check_ended_once(["T-1"])
    assert children
    assert not any(is_running(pid) for pid in children)
    await wait_for_empty(here)


async def test_a_machine_that_comes_back_in_time_goes_on_with_its_own_task(
    fleet: list[Machine], auditor: Auditor, stub_model: StubModel
) -> None:
    here, lost, _ = fleet
    gate = stub_model.gate()
    stub_model.script(Text("half"), gate)
    stub_model.script(Text("whole"))
    await submit(here.supervisor, "port it", labels=["gpu"])
    await gate.reached()
    await lost.die()
    gate.release()
    await lost.supervisor.start()
    task = await ended(here.supervisor)
    assert (task.state, task.result.answer, task.attempt) == (tasks_pb2.TASK_STATE_DONE, "whole", 1)
    assert "taken over after a restart of the supervisor" in auditor.texts("T-1")
    auditor.check_ended_once(["T-1"])
    await wait_for_empty(lost)


async def test_a_machine_that_slept_past_its_lease_changes_nothing(
    fleet: list[Machine], auditor: Auditor, stub_model: StubModel
) -> None:
    here, slept, night = fleet
    asleep, awake = stub_model.gate(), stub_model.gate()
    stub_model.script(Text("of the sleeper"), asleep)
    stub_model.script(awake, Text("of the other"))
    await submit(here.supervisor, "port it", labels=["gpu"])
    await asleep.reached()
    (child,) = slept.children().values()
    os.kill(slept.supervisor.pid, signal.SIGSTOP)
    try:
        await label(here, "gpu")
        auditor.expire("w1")
        await awake.reached()
        assert auditor.holders() == {"T-1": "w0"}
    finally:
        os.kill(slept.supervisor.pid, signal.SIGCONT)
    await wait_for(lambda: "task_lease_lost" in slept.supervisor.log(), what="the sleeper to hear of it")
    await wait_for(lambda: not is_running(child), what="its turn to be stopped")
    await wait_for_empty(slept)
    assert auditor.holders() == {"T-1": "w0"}
    asleep.release()
    awake.release()
    task = await ended(night.supervisor)
    assert (task.state, task.result.answer, task.attempt) == (tasks_pb2.TASK_STATE_DONE, "of the other", 2)
    assert "of the sleeper" not in str(auditor.events("T-1")[-1])
    auditor.check_ended_once(["T-1"])
    # It is a worker as before.
    await submit(here.supervisor, "next", "T-2", labels=["gpu"])
    assert (await ended(here.supervisor, "T-2")).state == tasks_pb2.TASK_STATE_DONE


async def test_a_task_on_another_machine_is_watched_waited_for_and_cancelled(
    fleet: list[Machine], auditor: Auditor, stub_model: StubModel
) -> None:
    here, gpu, night = (machine.supervisor for machine in fleet)
    gates = [stub_model.gate() for _ in range(2)]
    for gate in gates:
        stub_model.script(gate, Text("from afar"))
    done = await ctl(here, "task", "submit", "--id", "far", "--cwd", gpu.client.cwd, "--label", "gpu", "do it")
    assert (done.code, done.out) == (Exit.OK, "far\n"), done.err
    await gates[0].reached()
    waiting, watching = await start_ctl(night, "task", "wait", "far"), await start_ctl(here, "task", "watch", "far")
    shown = (await ctl(night, "task", "show", "far", "--json")).values[0]
    assert (shown["state"], shown["worker"]) == ("running", "w1"), shown
    gates[0].release()
    waited, watched = await finish(waiting), await finish(watching)
    assert waited.code == watched.code == Exit.OK, (waited, watched)
    assert waited.out.startswith("far DONE in ")
    assert (await ctl(here, "task", "result", "far")).out == "from afar\n"

    # A cancelled one: the turn stops there.
    done = await ctl(night, "task", "submit", "--id", "off", "--cwd", gpu.client.cwd, "--label", "gpu", "do it")
    assert done.code == Exit.OK, done.err
    await gates[1].reached()
    (child,) = fleet[1].children().values()
    assert (await ctl(here, "task", "cancel", "off")).code == Exit.OK
    assert (await ctl(night, "task", "wait", "off")).code == Exit.CANCELLED
    assert not is_running(child)
    auditor.check_ended_once(["far", "off"])
    await wait_for_empty(fleet[1])


async def test_queues_and_labels_say_where_a_task_runs(fleet: list[Machine], auditor: Auditor) -> None:
    here, gpu, night = (machine.supervisor for machine in fleet)
    done = await ctl(here, "task", "submit", "--id", "T-night", "--cwd", ".", "--queue", "night", "by night")
    assert done.code == Exit.OK, done.err
    await submit(night, "by day", "T-day")
    await submit(night, "with a gpu", "T-gpu", labels=["gpu"])
    await submit(gpu, "nowhere", "T-nowhere", queue="night", labels=["gpu", "tpu"])
    names = ["T-night", "T-day", "T-gpu"]
    await asyncio.gather(*(ended(here, name) for name in names))

    def ran_on(name: str) -> str:
        (claimed,) = (text for text in auditor.texts(name) if text.startswith("attempt 1 on "))
        return claimed.removeprefix("attempt 1 on ")

    assert ran_on("T-gpu") == "w1"
    assert ran_on("T-day") in ("w0", "w1")
    assert ran_on("T-night") == "w2"
    shown = await ctl(here, "task", "list", "--queue", "night", "--state", "pending", "--json")
    assert [task["id"] for task in shown.values] == ["T-nowhere"], "nobody has all of its labels"
    assert (await ctl(night, "task", "cancel", "T-nowhere")).code == Exit.OK
    auditor.check_ended_once([*names, "T-nowhere"])
