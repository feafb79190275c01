"""Supervisors on one PostgreSQL queue, each with a home and a state as on a machine of its own; and an auditor, who
looks into the database.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from codex_supervisor.task.encoding import event_from_bytes
from codex_supervisor.task.postgresql_engine import DEFAULT_SCHEMA
from codex_supervisor.task.records import EventKind, TaskEvent

from tests.support.codex_home import codex_home_below, short_private_dir
from tests.support.fake_codex.place import FakeCodex
from tests.support.supervisor import RunningSupervisor, supervisor_of
from tests.support.waiting import wait_for

DSN_VARIABLE = "TASKS_DSN"
NO_MODEL = "http://127.0.0.1:9/v1"

ENDS = (EventKind.COMPLETE, EventKind.ERROR)


@dataclass
class Machine:
    """One supervisor, and the stand-in that its children are, unless it has the real Codex."""

    name: str
    supervisor: RunningSupervisor
    fake: FakeCodex

    def children(self) -> dict[str, int]:
        """Pids of the children that its store knows, by instance."""
        return {
            child["instance"]: child["pid"]
            for child in (json.loads(row) for (row,) in self._rows("SELECT record FROM children"))
            if child.get("pid")
        }

    def left_over(self) -> list[int]:
        """How many instances, turns and children its store knows."""
        return [self._rows(f"SELECT count(*) FROM {name}")[0][0] for name in ("instances", "turns", "children")]

    async def die(self) -> list[int]:
        """Go at once with everything that runs there; return the pids of the children."""
        children = list(self.children().values())
        await self.supervisor.kill()
        for pid in children:
            with suppress(ProcessLookupError):
                os.killpg(pid, signal.SIGKILL)
        return children

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.supervisor.state_dir}/supervisor.db?mode=ro", uri=True)) as db:
            return db.execute(query).fetchall()


@asynccontextmanager
async def machines(
    dsn: str,
    tasks: Sequence[Mapping[str, object]],
    *,
    model_url: str = NO_MODEL,
    codex: Path | None = None,
    more: Mapping[str, object] | None = None,
) -> AsyncIterator[list[Machine]]:
    """A started supervisor w0, w1, … for each of `tasks`, the settings of its tasks; with the stand-in, or `codex`.

    Those that a test killed are started once more at the end, and stopped.
    """
    async with AsyncExitStack() as stack:
        made = []
        for number, own in enumerate(tasks):
            home = stack.enter_context(codex_home_below())
            home.configure(model_url)
            fake = FakeCodex(home.root / "bin", home.codex_home)
            settings = {
                "codex": {"binary": str(codex or fake.binary)},
                "tasks": {"engine": "postgresql", "dsn_env": DSN_VARIABLE, "worker": f"w{number}", **own},
                **(more or {}),
            }
            runtime_dir = stack.enter_context(short_private_dir())
            supervisor = await stack.enter_async_context(
                supervisor_of(home, runtime_dir, settings, **{DSN_VARIABLE: dsn})
            )
            made.append(Machine(f"w{number}", supervisor, fake))
        yield made


_AUDIT = """
CREATE TABLE public.audit (
  entry bigint GENERATED ALWAYS AS IDENTITY, id text, state text, token integer, attempt integer
);
CREATE FUNCTION public.audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  INSERT INTO public.audit (id, state, token, attempt) VALUES (NEW.id, NEW.state,
    coalesce((NULLIF(NEW.status, '')::json ->> 'token')::integer, 0),
    coalesce((NULLIF(NEW.status, '')::json ->> 'attempt')::integer, 0));
  RETURN NEW;
END $$;
"""


class Auditor:
    """Keeps every state that a task ever had, from inside the database."""

    def __init__(self, connection: psycopg.Connection[tuple[Any, ...]]) -> None:
        self._connection = connection

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a query over the tables of the tasks."""
        cursor = self._connection.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description is not None else []

    def holders(self) -> dict[str, str]:
        """The worker of each task that runs."""
        return dict(self.rows("SELECT id, lease_worker FROM tasks WHERE state = 'RUNNING'"))

    def with_thread(self, worker: str) -> list[str]:
        """The tasks that a worker runs and whose conversation is known."""
        query = (
            "SELECT id FROM tasks WHERE state = 'RUNNING' AND lease_worker = %s"
            " AND status::json ->> 'thread_worker' = %s"
        )
        return [name for (name,) in self.rows(query, worker, worker)]

    def events(self, task_id: str) -> list[TaskEvent]:
        """All events of a task."""
        query = "SELECT seq, payload FROM events WHERE task = (SELECT number FROM tasks WHERE id = %s) ORDER BY seq"
        return [event_from_bytes(seq, payload) for seq, payload in self.rows(query, task_id)]

    def texts(self, task_id: str) -> list[str]:
        """What the events say that tell of a change or an end."""
        return [event.event.text for event in self.events(task_id) if event.event.kind is EventKind.CHANGED]

    def expire(self, worker: str) -> None:
        """Have the leases of a worker run out now, and have everybody look."""
        with self._connection.transaction():
            self.rows(
                "UPDATE tasks SET lease_expires_ns = 1,"
                " status = jsonb_set(status::jsonb, '{lease,expires_ns}', '1')::text"
                " WHERE state = 'RUNNING' AND lease_worker = %s",
                worker,
            )
            self.look()

    def look(self) -> None:
        """Have every supervisor look for work."""
        told = {"changed": [], "cancels": [], "work": True}
        self.rows("SELECT pg_notify(%s, %s)", f"{DEFAULT_SCHEMA}_tasks", json.dumps(told))

    def check_ended_once(self, task_ids: Sequence[str]) -> None:
        """Each task has ended, once; what it was before went only forwards; and no work is left in the queue."""
        for task_id in task_ids:
            ((state, last_seq, answer),) = self.rows("SELECT state, last_seq, answer FROM tasks WHERE id = %s", task_id)
            assert state in ("DONE", "ERROR", "TIMEOUT"), (task_id, state)
            assert answer or state != "DONE", f"{task_id} has lost its answer"
            events = self.events(task_id)
            assert [event.seq for event in events] == list(range(1, last_seq + 1)), task_id
            ends = [event.seq for event in events if event.event.kind in ENDS]
            assert ends == [last_seq], f"{task_id} ended at {ends} of {last_seq}"
            attempts = [event.attempt for event in events]
            assert attempts == sorted(attempts), (task_id, attempts)
            turns = [(event.attempt, event.event.turn_seq) for event in events if event.event.turn_seq]
            assert len(turns) == len(set(turns)), f"an item of {task_id} came twice"
            was = self.rows("SELECT state, token, attempt FROM public.audit WHERE id = %s ORDER BY entry", task_id)
            tokens = [token for _state, token, _attempt in was]
            assert tokens == sorted(tokens), (task_id, tokens)
            counted = [attempt for _state, _token, attempt in was]
            assert counted == sorted(counted), (task_id, counted)
            final = [state for state, _token, _attempt in was if state not in ("PENDING", "RUNNING")]
            assert len(final) == 1, (task_id, final)
            assert was[-1][0] == state, (task_id, was)
        assert self.rows("SELECT id FROM procrastinate_jobs WHERE status IN ('todo', 'doing')") == []


@contextmanager
def auditing(dsn: str, *, again: bool = False) -> Iterator[Auditor]:
    """An auditor on the tables, which are there already; `again` to look at what an earlier one keeps."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(f"SET search_path = {DEFAULT_SCHEMA}")
        if not again:
            connection.execute(_AUDIT)
            connection.execute(
                "CREATE TRIGGER audit AFTER INSERT OR UPDATE ON tasks FOR EACH ROW EXECUTE FUNCTION public.audit()"
            )
        yield Auditor(connection)


async def wait_for_tables(dsn: str) -> None:
    """Wait until some supervisor has made the tables."""

    def made() -> bool:
        with psycopg.connect(dsn, autocommit=True) as connection:
            row = connection.execute(f"SELECT to_regclass('{DEFAULT_SCHEMA}.tasks')").fetchone()
            return row is not None and row[0] is not None

    await wait_for(made, 20, "the tables")


async def wait_for_empty(machine: Machine) -> None:
    """Wait until nothing of any task is left on a machine."""
    await wait_for(lambda: machine.left_over() == [0, 0, 0], 20, f"{machine.name} to have forgotten all")
