"""The PostgreSQL of the tasks goes away, is full, or lets nobody in: nothing ends twice, and all else goes on."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import psycopg
import pytest
from codex_control.errors import Exit
from codex_control.v1 import admin_pb2, outcome_pb2, tasks_pb2
from codex_supervisor.task.postgresql_engine import DEFAULT_SCHEMA

from tests.acceptance.test_ask_with_codexctl import Done, ctl, finish, start_ctl
from tests.integration.task.running import QUICK, ended, submit
from tests.support.model_script import Text
from tests.support.postgresql import PostgresqlServer, missing_server, programs, running_server
from tests.support.stub_model import StubModel
from tests.support.supervisor import RunningSupervisor
from tests.support.task_fleet import Machine, auditing, machines, wait_for_tables
from tests.support.waiting import wait_for

PASSWORD = "s3cret-of-the-database"


@pytest.fixture
def server() -> Iterator[PostgresqlServer]:
    """A server that the test may stop."""
    if programs() is None:
        missing_server()
    with running_server() as made:
        yield made


async def page(supervisor: RunningSupervisor, path: str) -> tuple[int, str]:
    """Status and text of a page beside the metrics."""
    version = await supervisor.client.admin.Version(admin_pb2.VersionRequest(), timeout=20)
    url = version.metrics_url.removesuffix("/metrics") + path

    def fetch() -> tuple[int, str]:
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    return await asyncio.to_thread(fetch)


async def degraded(supervisor: RunningSupervisor) -> str:
    """What `codexctl status` says does not work."""
    status = await ctl(supervisor, "status")
    assert status.code == Exit.OK, status.err
    return "\n".join(line for line in status.out.splitlines() if line.startswith("degraded"))


async def wait_for_degraded(supervisor: RunningSupervisor) -> str:
    """Wait until `codexctl status` says that something does not work."""
    return await wait_for(lambda: degraded(supervisor), 20, "the status to say what does not work")


async def wait_for_mended(supervisor: RunningSupervisor) -> None:
    """Wait until `codexctl status` has nothing to complain of."""

    async def mended() -> bool:
        return await degraded(supervisor) == ""

    await wait_for(mended, 20, "the status to have nothing to complain of")


async def test_the_database_goes_away_and_comes_back(
    server: PostgresqlServer, stub_model: StubModel, real_codex: Path
) -> None:
    gates = [stub_model.gate() for _ in range(3)]
    for number, gate in enumerate(gates):
        stub_model.script(gate, Text(f"answer {number}"), when=f"^task {number}$")
    async with machines(server.dsn, [QUICK, QUICK], model_url=stub_model.base_url, codex=real_codex) as fleet:
        await wait_for_tables(server.dsn)
        with auditing(server.dsn) as auditor:
            for number, gate in enumerate(gates):
                await submit(fleet[number % 2].supervisor, f"task {number}", f"T-{number}")
                await gate.reached()
            assert sorted(auditor.holders()) == ["T-0", "T-1", "T-2"]
        one, other = (machine.supervisor for machine in fleet)
        waiting = await start_ctl(one, "task", "wait", "T-0", "T-1", "T-2")
        assert waiting.stderr is not None
        assert b"T-" in await asyncio.wait_for(waiting.stderr.readline(), 20), "it follows"
        server.stop()
        # One of the turns ends while nobody can write it.
        gates[0].release()
        found = await wait_for_degraded(one)
        assert "the task database at" in found
        await _all_else_goes_on(one)
        refused = await ctl(one, "task", "submit", "--id", "T-late", "--cwd", ".", "in vain")
        assert refused.code == Exit.UNAVAILABLE
        assert "the task database at" in refused.err
        assert "tried again by itself" in refused.err
        await wait_for(lambda: "task_write_waits" in one.log() + other.log(), what="the end to wait for the database")
        assert sum(len(_of_tasks(machine)) for machine in fleet) == 3, "every child is there: the one that is done, too"
        server.start()
        for supervisor in (one, other):
            await wait_for_mended(supervisor)
        for gate in gates:
            gate.release()
        for number in range(3):
            task = await ended(other, f"T-{number}")
            assert (task.state, task.result.answer) == (tasks_pb2.TASK_STATE_DONE, f"answer {number}"), task
            assert (task.attempt, task.deaths, task.failures) == (1, 0, 0)
        waited = await finish(waiting)
        assert (waited.code, waited.out.count(" DONE in ")) == (Exit.OK, 3), waited
        assert stub_model.received == 4, "three tasks and an ask: nothing was asked twice"
        for supervisor in (one, other):
            assert "codex_supervisor_task_engine_up 1.0" in (await page(supervisor, "/metrics"))[1]
        done = await ctl(one, "task", "submit", "--id", "T-late", "--cwd", ".", "in vain")
        assert done.code == Exit.OK, done.err
        await ended(other, "T-late")
        with psycopg.connect(server.dsn) as connection:
            connection.execute(f"SET search_path = {DEFAULT_SCHEMA}")
            ends = connection.execute("SELECT count(*), count(DISTINCT id) FROM public.audit WHERE state = 'DONE'")
            assert ends.fetchone() == (4, 4)
        for machine in fleet:
            await wait_for(partial(_no_more_tasks, machine), 20, "the tasks' children to be gone")


def _of_tasks(machine: Machine) -> list[str]:
    return [name for name in machine.children() if name.startswith("task-")]


def _no_more_tasks(machine: Machine) -> bool:
    return not _of_tasks(machine)


async def _all_else_goes_on(supervisor: RunningSupervisor) -> None:
    """Sessions, health and readiness know nothing of it; doctor, the health page and the metrics tell."""
    assert (await supervisor.client.ask("and you?", "main")).outcome == outcome_pb2.OUTCOME_COMPLETED
    health = await ctl(supervisor, "health")
    assert health.code == Exit.OK
    assert health.out.startswith("serving\ntasks in postgresql: the task database at")
    code, sentence = await page(supervisor, "/healthz")
    assert code == 503
    assert "the task database at" in sentence
    metrics = (await page(supervisor, "/metrics"))[1]
    assert "codex_supervisor_task_engine_up 0.0" in metrics
    assert "codex_supervisor_degraded 1.0" in metrics
    doctor = (await ctl(supervisor, "doctor", "--json")).values[0]
    (check,) = (check for check in doctor if check["name"] == "tasks")
    assert check["status"] == "error"
    assert "the task database at" in check["found"]


async def test_an_outage_that_is_longer_than_every_lease_costs_no_attempt(
    server: PostgresqlServer, stub_model: StubModel, real_codex: Path
) -> None:
    gates = [stub_model.gate() for _ in range(2)]
    for number, gate in enumerate(gates):
        stub_model.script(gate, Text(f"answer {number}"), when=f"^task {number}$")
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        # The server's clock, as the tasks see it, can be set forward by a setting.
        connection.execute(f"CREATE SCHEMA {DEFAULT_SCHEMA}")
        connection.execute(
            f"CREATE FUNCTION {DEFAULT_SCHEMA}.now() RETURNS timestamptz LANGUAGE sql STABLE AS"
            " $$SELECT pg_catalog.now() + coalesce(current_setting('test.later', true), '0')::interval$$"
        )
    # Leases of 15 s: long enough for the one that is held up below.
    slower = {**QUICK, "heartbeat_interval": 5}
    busy, idle = slower, {**slower, "queues": ["night"]}
    async with machines(server.dsn, [busy, idle], model_url=stub_model.base_url, codex=real_codex) as fleet:
        await wait_for_tables(server.dsn)
        for number, gate in enumerate(gates):
            await submit(fleet[1].supervisor, f"task {number}", f"T-{number}")
            await gate.reached()
        server.stop()
        for machine in fleet:
            await wait_for_degraded(machine.supervisor)
        # The idle one is the first to be back, and could take what the other cannot have renewed yet.
        os.kill(fleet[0].supervisor.pid, signal.SIGSTOP)
        try:
            server.start({"test.later": "1 hour"})
            await wait_for_mended(fleet[1].supervisor)
        finally:
            os.kill(fleet[0].supervisor.pid, signal.SIGCONT)
        await wait_for_mended(fleet[0].supervisor)
        for gate in gates:
            gate.release()
        for number in range(2):
            task = await ended(fleet[1].supervisor, f"T-{number}")
            assert (task.state, task.attempt, task.deaths) == (tasks_pb2.TASK_STATE_DONE, 1, 0), task
        assert "task_lease_lost" not in fleet[0].supervisor.log()


async def test_a_stop_during_an_outage_takes_no_time_and_ends_no_task(
    server: PostgresqlServer, stub_model: StubModel, real_codex: Path
) -> None:
    stub_model.script(stub_model.gate())
    stub_model.script(Text("after all"))
    async with machines(server.dsn, [QUICK], model_url=stub_model.base_url, codex=real_codex) as (machine,):
        await wait_for_tables(server.dsn)
        await submit(machine.supervisor, "do it")
        await stub_model.wait_for_requests(1)
        server.stop()
        await wait_for_degraded(machine.supervisor)
        began = time.monotonic()
        assert await machine.supervisor.stop() == 0
        assert time.monotonic() - began < 8, "it does not wait for the database"
        assert machine.left_over() == [1, 1, 0], "the task is left to the next supervisor, without a child"
        server.start()
        await machine.supervisor.start()
        task = await ended(machine.supervisor)
        assert (task.state, task.result.answer, task.attempt) == (tasks_pb2.TASK_STATE_DONE, "after all", 1), task


async def test_a_task_whose_supervisor_was_killed_while_it_gave_it_back_is_not_cancelled(
    server: PostgresqlServer, stub_model: StubModel, real_codex: Path
) -> None:
    stub_model.script(stub_model.gate())
    stub_model.script(Text("after all"))
    async with machines(server.dsn, [QUICK], model_url=stub_model.base_url, codex=real_codex) as (machine,):
        supervisor = machine.supervisor
        await supervisor.stop()
        supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"] = "task-giving-back"
        await supervisor.start()
        await submit(supervisor, "do it")
        await stub_model.wait_for_requests(1)
        assert await supervisor.stop() == -signal.SIGKILL
        del supervisor.environment["CODEX_SUPERVISOR_FAILPOINT"]
        await supervisor.start()
        task = await ended(supervisor)
        assert (task.state, task.result.answer, task.attempt) == (tasks_pb2.TASK_STATE_DONE, "after all", 1), task
        assert task.deaths == 0


async def test_of_two_machines_with_one_name_the_second_runs_no_task_and_says_why(server: PostgresqlServer) -> None:
    same = {**QUICK, "worker": "same"}
    async with machines(server.dsn, [same, same]) as fleet:
        refused = await wait_for(lambda: _nameless(fleet), 20, "one of them to be refused")
        assert refused is not None
        (other,) = (machine for machine in fleet if machine is not refused)
        said = await degraded(refused.supervisor)
        assert "works under the name 'same'" in said
        assert str(other.supervisor.state_dir) in said
        assert "tasks.worker" in said
        # It takes tasks in all the same. A crash of the one that has the name does not lose it the name.
        await submit(refused.supervisor, "do it", cwd=str(other.supervisor.home.workspace))
        assert (await ended(refused.supervisor)).state == tasks_pb2.TASK_STATE_DONE
        await other.supervisor.restart()
        await submit(refused.supervisor, "do it", "T-2", cwd=str(other.supervisor.home.workspace))
        assert (await ended(refused.supervisor, "T-2")).state == tasks_pb2.TASK_STATE_DONE
        assert await degraded(refused.supervisor) == said
        await other.supervisor.stop()
        await wait_for_mended(refused.supervisor)


async def _nameless(fleet: Sequence[Machine]) -> Machine | None:
    for machine in fleet:
        if await degraded(machine.supervisor):
            return machine
    return None


async def test_a_machine_that_died_during_an_outage_gives_its_task_back(
    server: PostgresqlServer, stub_model: StubModel, real_codex: Path
) -> None:
    gate = stub_model.gate()
    stub_model.script(gate)
    stub_model.script(Text("after all"))
    night = {**QUICK, "queues": ["night"]}
    async with machines(server.dsn, [QUICK, night], model_url=stub_model.base_url, codex=real_codex) as fleet:
        await wait_for_tables(server.dsn)
        one, other = fleet
        await submit(other.supervisor, "do it", queue="night", cwd=str(one.supervisor.home.workspace))
        await gate.reached()
        holder, left = (one, other) if one.children() else (other, one)
        server.stop()
        await holder.die()
        gate.release()
        left.supervisor.configure({"codex": {"binary": str(real_codex)}, "tasks": _without_queues(left.supervisor)})
        assert (await ctl(left.supervisor, "reload")).code == Exit.OK
        server.start()
        task = await ended(left.supervisor)
        assert (task.state, task.result.answer, task.attempt) == (tasks_pb2.TASK_STATE_DONE, "after all", 2)


def _without_queues(supervisor: RunningSupervisor) -> dict[str, object]:
    import yaml

    tasks: dict[str, object] = yaml.safe_load(supervisor.config_file.read_text())["tasks"]
    return {**tasks, "queues": []}


# --- a full disk ------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(os.geteuid() != 0, reason="a disk of the server's own needs root")
async def test_on_a_full_disk_of_the_server_tasks_are_refused_and_running_ones_go_on(
    stub_model: StubModel, real_codex: Path
) -> None:
    if programs() is None:
        missing_server()
    gate = stub_model.gate()
    stub_model.script(gate, Text("a long answer " + "x" * 300_000))
    with running_server(disk="8m") as server:
        with psycopg.connect(server.dsn, autocommit=True) as connection:
            connection.execute(f"CREATE TABLESPACE small LOCATION '{server.small}'")
            connection.execute("ALTER DATABASE postgres SET default_tablespace = small")
        async with machines(server.dsn, [QUICK], model_url=stub_model.base_url, codex=real_codex) as (machine,):
            await wait_for_tables(server.dsn)
            supervisor = machine.supervisor
            await submit(supervisor, "before it was full")
            await gate.reached()
            ballast = server.small_from_here / "ballast"
            with pytest.raises(OSError, match="No space"):
                _fill(ballast)
            refused = await _refused(supervisor)
            assert refused.code == Exit.LIMIT
            assert "the disk of the task database is full" in refused.err
            assert "nothing that was accepted is lost" in refused.err
            gate.release()
            await wait_for(lambda: "task_write_waits" in supervisor.log(), what="the end to wait for space")
            assert (await supervisor.client.ask("and you?", "main")).outcome == outcome_pb2.OUTCOME_COMPLETED
            ballast.unlink()
            task = await ended(supervisor)
            assert (task.state, task.attempt, len(task.result.answer)) == (tasks_pb2.TASK_STATE_DONE, 1, 300_014)
            assert (await ctl(supervisor, "task", "submit", "--cwd", ".", "now")).code == Exit.OK


def _fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))


async def _refused(supervisor: RunningSupervisor) -> Done:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        # Random, so that the server cannot make it small; what is left in its last pages may take one or two.
        prompt = secrets.token_hex(200_000).encode()
        done = await ctl(supervisor, "task", "submit", "--after", "T-1", "--cwd", ".", "-", stdin=prompt)
        if done.code != Exit.OK:
            return done
    raise AssertionError("it was never refused")


# --- a database that lets nobody in -----------------------------------------------------------------------------------


def broken(kind: str, server: PostgresqlServer) -> tuple[str, str]:
    """Make the database unusable in one way; return the DSN and what is to be said of it."""
    own = f"host={server.dsn.partition('host=')[2].split()[0]} dbname=postgres"
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute(f"CREATE ROLE worker LOGIN PASSWORD '{PASSWORD}'")
        connection.execute("CREATE ROLE nobody LOGIN")
        match kind:
            case "password":
                server.demand_password("worker")
                connection.execute("SELECT pg_reload_conf()")
                return f"{own} user=worker password={PASSWORD}-wrong", "password authentication failed"
            case "database":
                return f"{server.dsn} dbname=missing password={PASSWORD}", 'database "missing" does not exist'
            case "host":
                return f"host=/nowhere user=worker password={PASSWORD}", "No such file or directory"
            case "rights":
                return f"{own} user=nobody password={PASSWORD}", "permission denied for database"
            case "newer":
                connection.execute(f"CREATE SCHEMA {DEFAULT_SCHEMA}")
                connection.execute(
                    f"CREATE TABLE {DEFAULT_SCHEMA}.schema_version AS"
                    " SELECT 99 AS tasks, '{99}'::int[] AS procrastinate"
                )
                return f"{server.dsn} password={PASSWORD}", "written by a newer codex-supervisor"
            case _:
                return f"postgresql//worker:{PASSWORD}@host/", "tasks.dsn cannot be read"


@pytest.mark.parametrize(
    ("kind", "step"),
    [
        ("password", "put the dsn right"),
        ("database", "put the dsn right"),
        ("host", "tried again by itself"),
        ("rights", "grant it to the role"),
        ("newer", "install the newer version here too"),
        ("nonsense", "write it as postgresql://"),
    ],
)
async def test_a_database_that_cannot_be_used_is_named_and_sessions_do_without(
    server: PostgresqlServer, kind: str, step: str
) -> None:
    dsn, why = broken(kind, server)
    # Its tables are not there to be waited for.
    async with machines(dsn, [QUICK]) as (machine,):
        supervisor = machine.supervisor
        found = await wait_for_degraded(supervisor)
        assert why in found
        refused = await ctl(supervisor, "task", "submit", "--cwd", ".", "do it")
        assert refused.code == (Exit.CONFIG if kind == "nonsense" else Exit.UNAVAILABLE), refused.err
        assert why in refused.err
        assert step in refused.err.lower()
        assert (await supervisor.client.ask("and you?", "main")).answer == "fake: and you?"
        assert (await ctl(supervisor, "health")).code == Exit.OK
        doctor = await ctl(supervisor, "doctor", "--json")
        (check,) = (check for check in doctor.values[0] if check["name"] == "tasks")
        assert why in check["found"]
        said = found + refused.out + refused.err + doctor.out + supervisor.log()
        said += (await page(supervisor, "/healthz"))[1] + (await ctl(supervisor, "config", "show")).out
        assert PASSWORD not in said
        assert supervisor.log().count("task_database_error") <= 1, "once, not at each try"


async def test_a_role_that_may_only_use_the_tables_is_enough(server: PostgresqlServer) -> None:
    async with machines(server.dsn, [QUICK]):
        await wait_for_tables(server.dsn)
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        connection.execute("CREATE ROLE worker LOGIN")
        connection.execute(f"GRANT USAGE ON SCHEMA {DEFAULT_SCHEMA} TO worker")
        for what in ("TABLES", "SEQUENCES", "FUNCTIONS"):
            connection.execute(f"GRANT ALL ON ALL {what} IN SCHEMA {DEFAULT_SCHEMA} TO worker")
    async with machines(server.dsn.replace("user=codex", "user=worker"), [QUICK]) as (machine,):
        await submit(machine.supervisor, "do it")
        assert (await ended(machine.supervisor)).state == tasks_pb2.TASK_STATE_DONE
